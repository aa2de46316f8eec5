"""From datasets as distributed to a zero-shot number, as a user types it."""
import json

import open_clip
import pytest
import torch
from conftest import tiny_clip_config
from layouts import write_raw
from world import ROOT, run

CONFIG = """
_base_ = '{root}/configs/vita_k400.py'
model = dict(clip=dict(arch='arch.json', pretrained='clip.pt'))
train_dataloader = dict(batch_size=2, num_workers=1, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=1, persistent_workers=False)
train_cfg = dict(max_epochs=1)
"""


@pytest.mark.slow
def test_prepare_check_train_zero_shot(tmp_path):
    arch = tiny_clip_config(vision=dict(image_size=224, patch_size=112))
    (tmp_path / 'arch.json').write_text(json.dumps(arch))
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**arch).state_dict(), tmp_path / 'clip.pt')
    (tmp_path / 'vita_small.py').write_text(CONFIG.format(root=ROOT))

    def call(*command, code=0):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == code, done.stdout
        return done.stdout

    for name in ('kinetics400', 'hmdb51'):
        write_raw(name, tmp_path / 'raw' / name)
        call('tools/prepare_dataset.py', name, f'raw/{name}')
    call('tools/check_dataset.py', 'vita_small.py')
    report = json.loads((tmp_path / 'data/kinetics400/train.txt.check.json').read_text())
    assert (report['videos'], report['readable'], report['short']) == (3, 3, 0)
    call('tools/train.py', 'vita_small.py')
    checkpoint = 'work_dirs/vita_small/epoch_1.pth'
    said = call('tools/zero_shot.py', 'vita_small.py', checkpoint, '--datasets', 'hmdb51',
                '--long-clips', 'frame_windows', '--cfg-options',
                'test_dataloader.num_workers=1')
    assert 'hmdb51' in said and '±' in said
    results = json.loads(
        (tmp_path / 'work_dirs/zero_shot/vita_small/results.json').read_text())
    videos = sum(len(line) > 0 for line in (
        tmp_path / 'data/hmdb51/test_split1.txt').read_text().splitlines())
    for row in results['rows']:
        assert row['splits'][0]['videos_read'] == videos
    assert len(results['rows']) == 4  # two prompts, of Vita-CLIP and of frozen CLIP
