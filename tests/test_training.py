"""Training through the real tools: distributed, killed, resumed, mixed precision."""
import json

import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer

from world import kill_when, run, start, write_world


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'))


@pytest.fixture(scope='module')
def one_process(config):
    """Work dir of a run that nothing disturbed."""
    return train(config, 'one')


@pytest.fixture(scope='module')
def two_processes(config):
    """Work dir of the same run on two processes, at the same global batch."""
    work_dir = config.parent / 'two'
    done = run(*on_two_processes(config, work_dir), cwd=config.parent)
    assert done.returncode == 0, done.stdout
    return work_dir


def train(config, name, *options):
    work_dir = config.parent / name
    done = run('tools/train.py', config, '--work-dir', work_dir, *options,
               cwd=config.parent)
    assert done.returncode == 0, done.stdout
    return work_dir


def on_two_processes(config, work_dir):
    return ('tools/dist_train.sh', config, 2, '--work-dir', work_dir, '--resume',
            '--cfg-options', 'train_dataloader.batch_size=4')


def read(checkpoint):
    return torch.load(checkpoint, weights_only=True)


def losses(work_dir):
    """Loss by step, of the newest log."""
    log = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    rows = map(json.loads, log.read_text().splitlines())
    return {row['step']: row['loss'] for row in rows if 'loss' in row}


def assert_same(ours, theirs):
    """Equal bit for bit, at any depth."""
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for pair in zip(ours, theirs):
            assert_same(*pair)
    else:
        assert ours == theirs


def test_two_processes_follow_the_loss_of_one(one_process, two_processes):
    one, two = losses(one_process), losses(two_processes)
    assert len(one) == 9 and one.keys() == two.keys()
    for step in one:
        assert two[step] == pytest.approx(one[step], rel=1e-4)


def test_a_killed_run_resumes_to_the_same_bits(config, two_processes):
    work_dir = config.parent / 'killed'
    command = on_two_processes(config, work_dir)
    kill_when(start(*command, cwd=config.parent), 'Epoch(train) [2][2/3]')
    # A kill in the middle of saving leaves a file that is cut off.
    whole = (work_dir / 'epoch_1.pth').read_bytes()
    (work_dir / 'epoch_2.pth').write_bytes(whole[:len(whole) // 2])
    done = run(*command, cwd=config.parent)
    assert done.returncode == 0, done.stdout
    assert 'epoch_2.pth is not a readable checkpoint' in done.stdout
    assert 'resumed epoch: 1' in done.stdout
    ours, theirs = read(work_dir / 'epoch_3.pth'), read(two_processes / 'epoch_3.pth')
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_same(ours[part], theirs[part])


def test_checkpoints_hold_trained_tensors_only_and_one_is_the_best(one_process):
    checkpoint = read(one_process / 'epoch_3.pth')
    assert not [key for key in checkpoint['state_dict'] if 'tower' in key]
    assert len(list(one_process.glob('best_acc_top1_epoch_*.pth'))) == 1
    trained = len(checkpoint['state_dict']) - 1  # but for what names the CLIP
    assert len(checkpoint['optimizer']['state']) == trained
    assert len(checkpoint['optimizer']['param_groups'][0]['params']) == trained


def test_evaluation_of_a_checkpoint_repeats_on_two_processes(config, one_process):
    for processes in (1, 2):
        done = run('tools/dist_test.sh', config, one_process / 'epoch_3.pth', processes,
                   '--work-dir', config.parent / f'test{processes}', cwd=config.parent)
        assert done.returncode == 0, done.stdout
    results = [sorted((config.parent / f'test{n}').glob('*/*.json'))[-1].read_text()
               for n in (1, 2)]
    accuracy = [json.loads(result)['acc/top1'] for result in results]
    assert accuracy[0] == accuracy[1]


def test_mixed_precision_trains(config):
    work_dir = train(config, 'amp', '--amp', '--cfg-options', 'train_cfg.max_epochs=1')
    assert all(torch.tensor(list(losses(work_dir).values())).isfinite())


def test_mmaction_apis_load_the_checkpoint_and_classify_a_file(config, one_process):
    model = init_recognizer(str(config), str(one_process / 'epoch_3.pth'), device='cpu')
    result = inference_recognizer(model, str(config.parent / 'val' / '0.mp4'))
    assert result.pred_score.shape == (3, )
    assert result.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
