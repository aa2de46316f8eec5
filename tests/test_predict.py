"""A trained model on any video file, from its checkpoint alone; and frozen CLIP."""
import json
import logging
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from conftest import CLASSES, scatter
from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from vita_mm.cli.main import run
from vita_mm.description import describe
from vita_mm.engine import DescriptionHook
from vita_mm.errors import UserError
from vita_mm.inference import Predictor, parse_clip
from vita_mm.models.common.description import KEY
from vita_mm.systems import SYSTEMS
from wings import ARCH, PIPELINE, build_tiny, model_of, write_config
from world import CLASSES as BARS
from world import write_video, write_world


def save(path, model, config):
    """A checkpoint as a training with our hooks writes it."""
    runner = SimpleNamespace(cfg=config, model=model, logger=logging.getLogger('runner'))
    content = dict(state_dict=model.state_dict(), meta={})
    hook = DescriptionHook()
    hook.before_train(runner)
    hook.before_save_checkpoint(runner, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return str(path)


# Every system


@pytest.fixture(scope='module')
def clip_file(tiny_weights):
    return tiny_weights(ARCH)


@pytest.fixture(scope='module')
def clip_video(tmp_path_factory):
    path = tmp_path_factory.mktemp('video') / 'clip.mp4'
    write_video(path, num_frames=23)
    return str(path)


@pytest.mark.parametrize('name', SYSTEMS)
def test_it_says_what_the_model_says_of_one_view(name, clip_file, clip_video, tmp_path):
    own = model_of(name, clip_file)
    config = write_config(tmp_path / 'own.py', own)
    model = build_tiny(own)
    checkpoint = save(tmp_path / 'epoch_1.pth', model, Config.fromfile(config))
    batch = pseudo_collate([Compose(PIPELINE)(
        dict(filename=clip_video, start_index=0, modality='RGB'))])
    with torch.no_grad():
        expected = model.test_step(batch)[0].pred_score.tolist()
    found = dict(Predictor(checkpoint)(clip_video))
    names = model.cls_head.classes
    assert [found[name] for name in names] == pytest.approx(expected, abs=1e-6)
    assert max(expected) - min(expected) > 1e-3
    described = json.loads(torch.load(checkpoint, weights_only=True)['meta'][KEY])
    assert described['system'] == name
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'silent.pth')
    by_config = Predictor(tmp_path / 'silent.pth', config=config)(clip_video)
    assert dict(by_config) == found


@pytest.mark.parametrize('name', SYSTEMS)
def test_zero_shot_of_every_system(name, clip_file, clip_video, tmp_path):
    own = model_of(name, clip_file)
    model = build_tiny(own)
    checkpoint = save(tmp_path / 'model.pth', model, Config(dict(
        model=own, test_dataloader=dict(dataset=dict(pipeline=PIPELINE)))))
    others = ['surfing', 'a red bar']
    if name == 'evl':
        with pytest.raises(UserError, match='zero-shot: EVL has .* no text side'):
            Predictor(checkpoint, others)
        return
    found = Predictor(checkpoint, others)(clip_video)
    assert sorted(name for name, _ in found) == sorted(others)
    # With the classes of the training it is what it was, but for learned contexts in
    # whose place there are manual prompts.
    same = Predictor(checkpoint, CLASSES)(clip_video)
    assert (dict(same) == dict(Predictor(checkpoint)(clip_video))) == (
        name != 'vita_clip')
    if name == 'efficient_prompt':
        with pytest.raises(UserError, match='no templates'):
            Predictor(checkpoint, others, 'a video of {}.')
    else:
        assert Predictor(checkpoint, others, 'a video of {}.')(clip_video) != found


def test_a_description_names_a_system_of_ours(clip_file, tmp_path):
    own = model_of('evl', clip_file)
    checkpoint = save(tmp_path / 'model.pth', MODELS.build(own), Config(dict(
        model=own, test_dataloader=dict(dataset=dict(pipeline=PIPELINE)))))
    for system in ('os', ['evl'], None):
        hostile = rewrite(checkpoint, tmp_path / 'hostile.pth',
                          lambda _, description, system=system: description.update(
                              system=system))
        with pytest.raises(UserError, match='system is none of frozen_clip, vita_clip'):
            Predictor(hostile)
    for system, sentence in (('xclip', 'there is no backbone.num_layers'),
                             ('vifi_clip', 'there is no backbone.num_frames')):
        hostile = rewrite(checkpoint, tmp_path / 'hostile.pth',
                          lambda _, description, system=system: description.update(
                              system=system))
        with pytest.raises(UserError, match=sentence):
            Predictor(hostile)


@pytest.mark.parametrize('name, part, changed', [
    ('xclip', 'cls_head', dict(num_layers=10**6)),
    ('xclip', 'cls_head', dict(alpha=float('inf'))),
    ('evl', 'backbone', dict(num_layers=True)),
    ('actionclip', 'backbone', dict(temporal=dict(num_positions=4))),
    ('actionclip', 'backbone', dict(temporal=dict(
        num_positions=4, num_layers=2, eps=1e-5, type='os.system'))),
    ('efficient_prompt', 'cls_head', dict(temperature=0)),
    ('efficient_prompt', 'backbone', dict(temporal=dict(
        num_positions=10**9, num_layers=1))),
    ('vifi_clip', 'cls_head', dict(context='csc')),
    ('frozen_clip', 'backbone', dict(trained=True))])
def test_no_field_of_any_system_is_trusted(name, part, changed, clip_file, tmp_path):
    own = model_of(name, clip_file)
    description = describe(own, PIPELINE)
    description[part].update(changed)
    torch.save(dict(state_dict={}, meta={KEY: json.dumps(description)}),
               tmp_path / 'hostile.pth')
    field = f'{part}.{next(iter(changed))}'
    with pytest.raises(UserError, match=f'({field} cannot be|there is no {field})'):
        Predictor(tmp_path / 'hostile.pth')


@pytest.mark.parametrize('sampler, view', [
    (dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=10),
     dict(type='SampleFrames', clip_len=4, frame_interval=2)),
    (dict(type='TightSampleFrames', clip_len=4, frame_interval=2),
     dict(type='SampleFrames', clip_len=4, frame_interval=2)),
    (dict(type='DenseSampleFrames', clip_len=4, frame_interval=2, sample_range=8,
          num_sample_positions=11),
     dict(type='SampleFrames', clip_len=4, frame_interval=2)),
    (dict(type='UniformSample', clip_len=4, num_clips=3),
     dict(type='UniformSample', clip_len=4)),
    (dict(type='TightSampleFrames', clip_len=4, frame_interval=16, num_clips=3,
          out_of_bound_opt='last_frame'),
     dict(type='TightSampleFrames', clip_len=4, frame_interval=16,
          out_of_bound_opt='last_frame')),
    (dict(type='FittingSampleFrames', clip_len=4, frame_interval=16),
     dict(type='FittingSampleFrames', clip_len=4, frame_interval=16)),
    (dict(type='SegmentSample', clip_len=4, rule='actionclip', num_clips=3,
          clips='even'), dict(type='SegmentSample', clip_len=4, rule='actionclip')),
    (dict(type='RandomStrideSample', clip_len=4, strides=[1, 3, 3], num_clips=5,
          clips='even'),
     dict(type='FittingSampleFrames', clip_len=4, frame_interval=3,
          out_of_bound_opt='last_frame'))])
def test_the_view_of_every_sampler_is_its_centre(sampler, view, clip_file):
    pipeline = [dict(sampler, test_mode=True)]
    described = describe(model_of('xclip', clip_file), pipeline)['sampling']
    assert described == view
    frames = dict(total_frames=40, start_index=0)
    views = Compose(pipeline)(dict(frames))['frame_inds'].reshape(-1, 4)
    centre = Compose([dict(described, test_mode=True)])(dict(frames))['frame_inds']
    if len(views) % 2:  # else the centre lies between two
        assert centre.tolist() == views[len(views) // 2].tolist()


def test_a_plug_in_that_is_not_ours_needs_its_config(clip_file):
    own = dict(model_of('evl', clip_file), cls_head=dict(type='TSNHead'))
    with pytest.raises(UserError, match='EVLVisionTransformer with a TSNHead is of no'):
        describe(own, PIPELINE)


def test_old_names_of_global_prompts_load(clip_file, tmp_path):
    """Of a state dict, and of a file as MMEngine loads it."""
    from mmengine.runner import load_checkpoint
    own = model_of('vita_clip', clip_file)
    model = build_tiny(own)
    old = {key.replace('.global_prompts.', '.shared.'): value
           for key, value in model.state_dict().items()}
    assert sum('.shared.' in key for key in old) == 3
    again, third = (MODELS.build(own) for _ in range(2))
    again.load_state_dict(old)
    torch.save(dict(state_dict=old), tmp_path / 'old.pth')
    load_checkpoint(third, str(tmp_path / 'old.pth'), map_location='cpu')
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
        assert torch.equal(third.state_dict()[key], value)
    # By itself, in a recognizer of others.
    third.backbone.load_state_dict({key.removeprefix('backbone.'): value
                                    for key, value in old.items()
                                    if key.startswith('backbone.')})


# Frozen CLIP, without a checkpoint


def test_frozen_clip_needs_no_checkpoint(clip_file, clip_video, tmp_path, capsys):
    (tmp_path / 'arch.json').write_text(json.dumps(ARCH))
    clip = f'{tmp_path}/arch.json:{clip_file}'
    assert run('predict', [clip_video, '--system', 'frozen_clip', '--classes',
                           'surfing, yoga', '--clip', clip, '--frames', '4',
                           '--json']) == 0
    said, = json.loads(capsys.readouterr().out)
    found = [(row['class'], row['score']) for row in said['predictions']]
    assert found == Predictor(system='frozen_clip', classes=['surfing', 'yoga'],
                              clip=clip, num_frames=4)(clip_video)
    own = model_of('frozen_clip', clip_file)
    pixels = {name: [255 * part for part in parts] for name, parts in (
        ('mean', (0.48145466, 0.4578275, 0.40821073)),
        ('std', (0.26862954, 0.26130258, 0.27577711)))}
    own.update(data_preprocessor=dict(own['data_preprocessor'], **pixels))
    config = write_config(tmp_path / 'frozen.py', own)
    by_config = Predictor(config=config, classes=['surfing', 'yoga'], templates='{}')
    assert by_config(clip_video) == found


def test_what_only_a_trained_system_can_do_is_refused(clip_file, tmp_path):
    config = write_config(tmp_path / 'xclip.py', model_of('xclip', clip_file))
    for options, sentence in (
            (dict(system='xclip', classes=['a']), 'X-CLIP needs weights'),
            (dict(system='resnet', classes=['a']), "no system 'resnet'; .* frozen_clip"),
            (dict(system='frozen_clip'), 'frozen CLIP has no classes of its own'),
            (dict(config=config), 'X-CLIP needs weights'),
            ({}, 'there is no model')):
        with pytest.raises(UserError, match=sentence):
            Predictor(**options)


@pytest.mark.parametrize('arguments, sentence', [
    ([], 'give --checkpoint, or --system frozen_clip'),
    (['--system', 'frozen_clip', '--checkpoint', 'a.pth'], 'is in place of'),
    (['--checkpoint', 'a.pth', '--frames', '4'], '--frames is a number')])
def test_arguments_that_do_not_go_together(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        run('predict', ['clip.mp4', *arguments])
    assert caught.value.code == 2 and sentence in capsys.readouterr().err


def test_how_a_clip_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a:b.pt').touch()
    assert parse_clip('a:b.pt') == dict(pretrained='a:b.pt')
    assert parse_clip('gone.pt') == dict(pretrained='gone.pt')
    assert parse_clip('ViT-B-16:openai') == dict(arch='ViT-B-16', pretrained='openai')
    assert parse_clip('b.json:b.pt') == dict(arch='b.json', pretrained='b.pt')


# Vita-CLIP, in every detail


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), num_train=1, num_val=2)


@pytest.fixture(scope='module')
def checkpoint(config):
    """Of a model that was trained to nothing in particular."""
    loaded = Config.fromfile(config)
    model = MODELS.build(loaded.model)
    scatter(model, seed=1)
    return save(config.parent / 'work' / 'epoch_1.pth', model, loaded)


@pytest.fixture
def video(config):
    return str(config.parent / 'val' / '1.mp4')


def test_it_says_what_mmactions_own_api_says(config, checkpoint, video):
    model = init_recognizer(str(config), checkpoint, device='cpu')
    expected = inference_recognizer(model, video).pred_score.tolist()
    found = dict(Predictor(checkpoint)(video))
    assert list(found) == sorted(found, key=found.get, reverse=True)
    assert [found[name] for name in BARS] == pytest.approx(expected, abs=1e-6)
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
    assert [found[name] for name in BARS] == pytest.approx(expected, abs=1e-6)


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
    assert [found[name] for name in BARS] == pytest.approx(expected, abs=1e-6)


def test_zero_shot_on_any_classes(checkpoint, video):
    found = Predictor(checkpoint, ['surfing', 'a red bar', 'juggling'])(video)
    assert sorted(name for name, _ in found) == ['a red bar', 'juggling', 'surfing']
    assert sum(score for _, score in found) == pytest.approx(1, abs=1e-5)
    other = Predictor(checkpoint, ['surfing', 'a red bar', 'juggling'], 'a video of {}.')
    assert other(video) != found


def test_the_verb_prints_json_and_goes_on_after_a_bad_video(config, checkpoint, video,
                                                            monkeypatch, capsys):
    monkeypatch.chdir(config.parent)
    (config.parent / 'bad.mp4').write_text('no video')
    assert run('predict', ['bad.mp4', video, 'gone.mp4', '--checkpoint', checkpoint,
                           '--dataset', 'ucf101', '--topk', '2', '--json']) == 2
    said = capsys.readouterr()
    for sentence in ('error: the video bad.mp4 cannot be decoded',
                     'error: the video gone.mp4 does not exist'):
        assert said.err.count(sentence) == 1
    row, = json.loads(said.out)
    assert row['video'] == video and len(row['predictions']) == 2
    expected = Predictor(checkpoint, 'ucf101')(video)[:2]
    assert [(found['class'], found['score']) for found in row['predictions']] == expected


def test_the_verb_prints_a_table(checkpoint, video, capsys):
    assert run('predict', [video, '--checkpoint', checkpoint, '--classes',
                           'red bar, blue bar']) == 0
    said = capsys.readouterr().out
    assert 'probability' in said and 'blue bar' in said


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
    (lambda model, sampler: model.backbone.update(type='Other'), 'a Other with a Vita'),
    (lambda model, sampler: model.data_preprocessor.update(to_float32=True),
     'no data_preprocessor.to_float32'),
    (lambda model, sampler: model.cls_head.update(classes='/gone.txt'), 'gone.txt')])
def test_what_cannot_be_described_is_not_described_wrongly(config, change, sentence):
    config = Config.fromfile(config)
    change(config.model, config.test_dataloader.dataset.pipeline[1])
    with pytest.raises(UserError, match=sentence):
        describe(config.model, config.test_dataloader.dataset.pipeline)


def test_a_run_that_cannot_be_described_goes_on(config, caplog):
    config = Config.fromfile(config)
    config.test_dataloader.dataset.pipeline[1].update(target_fps=15)
    head = SimpleNamespace(classes=BARS)
    runner = SimpleNamespace(cfg=config, model=SimpleNamespace(cls_head=head),
                             logger=logging.getLogger('runner'))
    checkpoint = dict(meta={})
    hook = DescriptionHook()
    hook.before_train(runner)
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint == dict(meta={})
    assert 'no sampling.target_fps' in caplog.text
