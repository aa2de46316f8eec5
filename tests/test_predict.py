"""A trained model on any video file, from its checkpoint alone."""
import json
import logging
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.config import Config
from vita_mm.engine import DescriptionHook
from vita_mm.errors import UserError
from vita_mm.inference import Predictor
from vita_mm.models.common.description import KEY, describe
from world import CLASSES, run, write_world


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), num_train=8, num_val=3)


@pytest.fixture(scope='module')
def checkpoint(config):
    """Of a short training by the tool."""
    done = run('tools/train.py', config, '--work-dir', config.parent / 'work',
               '--cfg-options', 'train_cfg.max_epochs=1', cwd=config.parent)
    assert done.returncode == 0, done.stdout
    return str(config.parent / 'work' / 'epoch_1.pth')


@pytest.fixture
def video(config):
    return str(config.parent / 'val' / '1.mp4')


def test_it_says_what_mmactions_own_api_says(config, checkpoint, video):
    model = init_recognizer(str(config), checkpoint, device='cpu')
    expected = inference_recognizer(model, video).pred_score.tolist()
    found = dict(Predictor(checkpoint)(video))
    assert list(found) == sorted(found, key=found.get, reverse=True)
    assert [found[name] for name in CLASSES] == pytest.approx(expected, abs=1e-6)
    # A work dir stands for its last weights.
    assert dict(Predictor(config.parent / 'work')(video)) == found


def test_a_short_video_is_filled_up_as_in_the_config(config, checkpoint, video):
    lasting = config.with_name('lasting.py')
    lasting.write_text(config.read_text().replace(
        'frame_interval=4, test_mode=True',
        "frame_interval=16, test_mode=True, out_of_bound_opt='repeat_last'"))
    model = init_recognizer(str(lasting), checkpoint, device='cpu')
    expected = inference_recognizer(model, video).pred_score.tolist()
    found = dict(Predictor(checkpoint, config=str(lasting))(video))
    assert [found[name] for name in CLASSES] == pytest.approx(expected, abs=1e-6)


def test_frames_need_not_be_square(config, checkpoint):
    video = str(config.parent / 'wide.mp4')
    with av.open(video, 'w') as container:
        stream = container.add_stream('libx264', rate=15)
        stream.width, stream.height, stream.pix_fmt = 96, 50, 'yuv420p'
        frames = np.random.default_rng(0).integers(0, 255, (40, 50, 96, 3), np.uint8)
        for frame in [*map(av.VideoFrame.from_ndarray, frames), None]:
            container.mux(stream.encode(frame))
    model = init_recognizer(str(config), checkpoint, device='cpu')
    expected = inference_recognizer(model, video).pred_score.tolist()
    found = dict(Predictor(checkpoint)(video))
    assert [found[name] for name in CLASSES] == pytest.approx(expected, abs=1e-6)


def test_zero_shot_on_any_classes(checkpoint, video):
    found = Predictor(checkpoint, ['surfing', 'a red bar', 'juggling'])(video)
    assert sorted(name for name, _ in found) == ['a red bar', 'juggling', 'surfing']
    assert sum(score for _, score in found) == pytest.approx(1, abs=1e-5)
    other = Predictor(checkpoint, ['surfing', 'a red bar', 'juggling'], 'a video of {}.')
    assert other(video) != found


def test_the_tool_prints_json_and_goes_on_after_a_bad_video(config, checkpoint, video):
    (config.parent / 'bad.mp4').write_text('no video')
    done = run('tools/predict.py', 'bad.mp4', video, 'gone.mp4', '--checkpoint',
               checkpoint, '--dataset', 'ucf101', '--topk', 2, '--json',
               cwd=config.parent)
    assert done.returncode == 2 and 'Traceback' not in done.stdout
    for sentence in ('error: the video bad.mp4 cannot be decoded',
                     'error: the video gone.mp4 does not exist'):
        assert done.stdout.count(sentence) == 1
    row, = json.loads(done.stdout[done.stdout.index('\n[\n'):])
    assert row['video'] == video and len(row['predictions']) == 2
    expected = Predictor(checkpoint, 'ucf101')(video)[:2]
    assert [(found['class'], found['score']) for found in row['predictions']] == expected


def test_the_tool_prints_a_table(config, checkpoint, video):
    done = run('tools/predict.py', video, '--checkpoint', checkpoint, '--classes',
               'red bar, blue bar', cwd=config.parent)
    assert done.returncode == 0, done.stdout
    assert 'probability' in done.stdout and 'blue bar' in done.stdout


def rewrite(checkpoint, path, change):
    content = torch.load(checkpoint, weights_only=True)
    description = json.loads(content['meta'][KEY])
    change(content, description)
    if KEY in content['meta']:
        content['meta'][KEY] = json.dumps(description)
    torch.save(content, path)
    return str(path)


def test_a_checkpoint_that_says_nothing_needs_its_config(config, checkpoint, video,
                                                         tmp_path):
    silent = rewrite(checkpoint, tmp_path / 'silent.pth',
                     lambda content, _: content['meta'].pop(KEY))
    with pytest.raises(UserError, match='silent.pth does not say what model'):
        Predictor(silent)
    assert Predictor(silent, config=str(config))(video) == Predictor(checkpoint)(video)


def test_clip_weights_that_moved_are_given_by_hand(config, checkpoint, video, tmp_path):
    def move(content, description):
        description['clip']['pretrained'] = '/elsewhere/clip.pt'

    moved = rewrite(checkpoint, tmp_path / 'moved.pth', move)
    with pytest.raises(UserError, match='/elsewhere/clip.pt.*--clip FILE'):
        Predictor(moved)
    found = Predictor(moved, clip=str(config.parent / 'clip.pt'))(video)
    assert found == Predictor(checkpoint)(video)


@pytest.mark.parametrize('part, changed, sentence', [
    ('backbone', dict(type='os.system'), 'there is no backbone.type'),
    ('backbone', dict(num_global=True), 'backbone.num_global cannot be True'),
    ('backbone', dict(num_frames=10**12), 'backbone.num_frames cannot be 1000'),
    ('sampling', dict(type='os.system'), 'sampling.type is none of'),
    ('sampling', dict(type=['os.system']), 'sampling.type is none of'),
    ('sampling', dict(type='UniformSample'), 'there is no sampling.frame_interval'),
    ('sampling', dict(clip_len=0), 'sampling.clip_len cannot be 0'),
    ('cls_head', dict(type='os.system'), 'there is no cls_head.type'),
    ('cls_head', dict(classes=[{}]), 'cls_head.classes cannot be'),
    ('cls_head', dict(templates='../secret'), 'cls_head.templates cannot be'),
    ('clip', dict(arch='/etc/arch.json'), 'clip.arch cannot be'),
    ('data_preprocessor', dict(mean=['a', 'b', 'c']), 'data_preprocessor.mean cannot'),
    ('data_preprocessor', dict(std=[0, 0, 0]), 'data_preprocessor.std cannot'),
    ('command', dict(rm=1), 'it must have clip, ')])
def test_a_description_is_not_trusted(checkpoint, tmp_path, part, changed, sentence):
    hostile = rewrite(
        checkpoint, tmp_path / 'hostile.pth',
        lambda _, description: description.setdefault(part, {}).update(changed))
    with pytest.raises(UserError, match=f'not understood .*{sentence}'):
        Predictor(hostile)


@pytest.mark.parametrize('change, sentence', [
    (lambda description: description.update(backbone=[1]), 'backbone cannot be'),
    (lambda description: description['clip'].pop('arch'), 'clip lacks arch'),
    (lambda description: description['clip']['arch'].update(vision_cfg=5),
     'does not build'),
    (lambda description: description['clip']['arch']['vision_cfg'].update(width=0),
     'does not build')])
def test_what_is_no_description_is_no_traceback(checkpoint, tmp_path, change, sentence):
    broken = rewrite(checkpoint, tmp_path / 'broken.pth',
                     lambda _, description: change(description))
    with pytest.raises(UserError, match=sentence):
        Predictor(broken)


def test_a_foreign_checkpoint_is_refused(config, tmp_path):
    torch.save(dict(weights={}), tmp_path / 'foreign.pth')
    with pytest.raises(UserError, match='no state_dict'):
        Predictor(str(tmp_path / 'foreign.pth'), config=str(config))


def test_an_unknown_device_is_refused(checkpoint):
    with pytest.raises(UserError, match="device='abacus' cannot be used"):
        Predictor(checkpoint, device='abacus')


@pytest.mark.parametrize('change, sentence', [
    (lambda model, sampler: sampler.update(target_fps=15), 'no sampling.target_fps'),
    (lambda model, sampler: sampler.update(type='Other'), 'sampling.type is none'),
    (lambda model, sampler: model.backbone.update(type='Other'), 'backbone is a Other'),
    (lambda model, sampler: model.data_preprocessor.update(to_rgb=True),
     'no data_preprocessor.to_rgb'),
    (lambda model, sampler: model.cls_head.update(classes='/gone.txt'), 'gone.txt')])
def test_what_cannot_be_described_is_not_described_wrongly(config, change, sentence):
    config = Config.fromfile(config)
    change(config.model, config.test_dataloader.dataset.pipeline[1])
    with pytest.raises(UserError, match=sentence):
        describe(config.model, config.test_dataloader.dataset.pipeline)


def test_a_run_that_cannot_be_described_goes_on(config, caplog):
    config = Config.fromfile(config)
    config.test_dataloader.dataset.pipeline[1].update(target_fps=15)
    head = SimpleNamespace(classes=CLASSES)
    runner = SimpleNamespace(cfg=config, model=SimpleNamespace(cls_head=head),
                             logger=logging.getLogger('runner'))
    checkpoint = dict(meta={})
    hook = DescriptionHook()
    hook.before_train(runner)
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint == dict(meta={})
    assert 'no sampling.target_fps' in caplog.text
