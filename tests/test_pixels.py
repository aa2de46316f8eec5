"""From decoded frames to the input of each system: sizes, corners, boxes, grey levels and
draws, against formulas and libraries called here.

The formulas say what the authors' code does, at the commits that docs/systems.md names.
"""
import math
import random
from itertools import product

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms as tv
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from vita_mm.data import FrameRandAugment, FrameTransform, RandAugmentCrop
from vita_mm.data.dataset import SampleKey, seed_random
from vita_mm.data.frame_augment import OPERATIONS
from vita_mm.data.view_steps import find_pixels, with_pixels_of
from vita_mm.description import describe
from vita_mm.engine.pipelines import find_sampling
from vita_mm.engine.runs import keep_trained_pixels, load_config, use_trained_model
from vita_mm.engine.variants import Variants, apply_variants, pipeline_of
from vita_mm.errors import UserError
from vita_mm.models.common.description import (KEY, check_fields, evaluation_pipeline,
                                               view_pipeline)
from vita_mm.models.frozen_clip.model import frozen_model
from vita_mm.systems import SYSTEMS
from world import ROOT, write_video

CONFIGS = dict(
    released='released/vita_k400.py', evl='evl/k400.py', xclip='xclip/k400.py',
    vifi='vifi_clip/k400.py', actionclip='actionclip/k400.py',
    a5='efficient_prompt/a5.py')
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALISED = dict.fromkeys(CONFIGS, CLIP) | dict(xclip=IMAGENET, vifi=IMAGENET)
SHORT = dict(released=224, evl=224, xclip=256, vifi=256, actionclip=256, a5=224)
# Among them frames whose longer side is a fraction of a half, and what is left an odd
# number, of 3 modulo 4 too.
SIZES = [(320, 256), (340, 256), (342, 254), (426, 240), (240, 426), (455, 256),
         (224, 224), (1280, 720), (301, 224), (227, 224), (176, 144)]


def config(system, **variants):
    return apply_variants(load_config(ROOT / 'configs' / CONFIGS[system]),
                          Variants(**variants))


def frames_of(width, height, number=2, seed=0):
    """Smooth pictures with some noise, uint8."""
    noise = np.random.default_rng(seed)
    small = noise.integers(256, size=(number, 5, 7, 3), dtype=np.uint8)
    big = [cv2.resize(frame, (width, height)) for frame in small]
    return [np.uint8(np.clip(frame + noise.normal(0, 9, frame.shape), 0, 255))
            for frame in big]


def given(frames):
    return dict(imgs=list(frames), img_shape=frames[0].shape[:2])


def steps_of(found):
    pipeline = pipeline_of(found, 'test')
    return [Compose([step]) for step in pipeline[find_pixels(pipeline)]]


def size_and_corners(found, width, height):
    """Of the resized frame, and of each view in it."""
    resize, crop = steps_of(found)
    results = resize(given([np.zeros((height, width, 3), np.uint8)]))
    height, width = results['imgs'][0].shape[:2]
    assert tuple(results['img_shape']) == (height, width)
    left, top = np.meshgrid(range(width), range(height))
    places = np.stack([left, top, top], axis=-1)
    views = crop(dict(results, imgs=[places]))['imgs']
    assert {view.shape for view in views} == {(224, 224, 3)}
    return (width, height), [tuple(view[0, 0, :2]) for view in views]


# Evaluation


@pytest.mark.parametrize('system', CONFIGS)
def test_sizes_and_corners_of_one_view(system):
    found = config(system, views='1x1')
    for width, height in SIZES:
        short, side = SHORT[system], min(width, height)
        if system in ('xclip', 'vifi'):  # mmcv rounds
            size = tuple(int(part * (short / side) + 0.5) for part in (width, height))
        else:
            size = width * short // side, height * short // side
        left, top = ((part - 224) / 2 for part in size)
        whole = round if system in ('actionclip', 'a5') else math.floor  # torchvision's
        assert size_and_corners(found, width, height) == (
            size, [(whole(left), whole(top))]), (width, height)


@pytest.mark.parametrize('system', CONFIGS)
def test_sizes_and_corners_of_three_views(system):
    found = config(system, views='1x3')
    for width, height in SIZES:
        side = min(width, height)
        rounded = 0.5 if system in ('xclip', 'vifi') else 0
        size = tuple(int(part * (224 / side) + rounded + 1e-9) for part in (
            width, height))
        over = max(size) - 224
        ends = [0, over // 2, over] if system in ('released', 'evl') else [
            0, 2 * (over // 2), over // 2]
        corners = [(end, 0) if width > height else (0, end) for end in ends]
        assert size_and_corners(found, width, height) == (size, corners)


def plain_view(system, frame):
    """The normalised centre of a frame, (3, 224, 224), as the authors' libraries make
    it."""
    height, width = frame.shape[:2]
    mean, std = (torch.tensor(part)[:, None, None] for part in NORMALISED[system])
    scale = SHORT[system] / min(height, width)
    if system in ('released', 'evl'):
        pixels = (torch.from_numpy(frame).permute(2, 0, 1) / 255 - mean) / std
        pixels, = torch.nn.functional.interpolate(
            pixels[None], size=(int(height * scale + 1e-9), int(width * scale + 1e-9)),
            mode='bilinear', align_corners=False)
        top, left = ((side - 224) // 2 for side in pixels.shape[1:])
        return pixels[:, top:top + 224, left:left + 224]
    if system in ('xclip', 'vifi'):
        size = int(width * scale + 0.5), int(height * scale + 0.5)
        pixels = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
        top, left = ((side - 224) // 2 for side in pixels.shape[:2])
        pixels = torch.from_numpy(pixels[top:top + 224, left:left + 224] / 255)
        return ((pixels.permute(2, 0, 1) - mean) / std).float()
    return tv.Compose([
        tv.Resize(SHORT[system], interpolation=tv.InterpolationMode.BICUBIC),
        tv.CenterCrop(224), tv.ToTensor(), tv.Normalize(*NORMALISED[system])])(
            Image.fromarray(frame))


@pytest.mark.parametrize('system', CONFIGS)
@pytest.mark.parametrize('width, height', [(342, 254), (200, 350)])
def test_grey_levels_of_one_view(system, width, height):
    found, frames = config(system, views='1x1'), frames_of(width, height)
    pipeline = pipeline_of(found, 'test')
    packed = Compose(pipeline[find_pixels(pipeline).start:])(dict(
        given(frames), num_clips=1, clip_len=len(frames), label=0))
    batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
    seen = MODELS.build(found.model.data_preprocessor)(batch)['inputs'][0, 0]
    expected = torch.stack([plain_view(system, frame) for frame in frames], dim=1)
    assert seen.shape == expected.shape and seen.dtype == torch.float32
    # A grey level is 0.015 or more.
    assert (seen - expected).abs().max() < 2e-5


def test_red_and_blue_are_exchanged_where_it_is_asked_for():
    """As A5's features have them, the mean staying where it was."""
    found = config('a5').model.data_preprocessor
    frame = torch.randint(256, (1, 3, 2, 4, 4), dtype=torch.uint8)
    outputs = [MODELS.build(dict(found, **swap))(dict(inputs=[pixels], data_samples=[]))[
        'inputs'] for swap, pixels in ((dict(to_rgb=True), frame),
                                       ({}, frame.flip(1)))]
    assert torch.equal(*outputs)
    assert 'to_rgb=True' in (ROOT / 'configs' / CONFIGS['a5']).read_text()


# Training


def boxes_of(width, height, places):
    """All crops (left, top, right, bottom) of four scales, neighbours at most, at
    five or thirteen places."""
    sides = [int(min(width, height) * scale) for scale in (1, 0.875, 0.75, 0.66)]
    sides = [224 if abs(side - 224) < 3 else side for side in sides]
    quarters = {5: [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]}
    quarters[13] = quarters[5] + [(0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1),
                                  (1, 3), (3, 3)]
    found = set()
    for (i, w), (j, h) in product(enumerate(sides), repeat=2):
        for right, down in quarters[places] if abs(i - j) < 2 else ():
            left, top = (width - w) // 4 * right, (height - h) // 4 * down
            found.add((left, top, left + w, top + h))
    return found


@pytest.mark.parametrize('system, places', [('xclip', 5), ('vifi', 5),
                                            ('actionclip', 13)])
@pytest.mark.parametrize('width, height', [(340, 256), (256, 454), (291, 227)])
def test_boxes_that_training_draws(system, places, width, height):
    step, = (step for step in pipeline_of(config(system), 'train')
             if step['type'] == 'MultiScaleCrop')
    crop, frame = Compose([step]), np.zeros((height, width, 3), np.uint8)
    random.seed(1)
    expected = boxes_of(width, height, places)
    drawn = {tuple(crop(given([frame]))['crop_bbox'].tolist())
             for _ in range(30 * len(expected))}
    assert drawn == expected


@pytest.mark.parametrize('system, kind', [
    ('released', 'float'), ('evl', 'float'), ('xclip', 'cv2'), ('vifi', 'cv2'),
    ('actionclip', 'PIL')])
def test_a_crop_becomes_the_size_of_the_model(system, kind):
    """The last resizing of a training: of any ratio, to a square."""
    step = [step for step in pipeline_of(config(system), 'train')
            if 'Resize' in step['type']][-1]
    frame, = frames_of(192, 168, number=1)
    found, = Compose([step])(given([frame]))['imgs']
    if kind == 'float':
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(frame).permute(2, 0, 1)[None].float(), size=(224, 224),
            mode='bilinear', align_corners=False)[0].permute(1, 2, 0).numpy()
    elif kind == 'cv2':
        expected = cv2.resize(frame, (224, 224), interpolation=cv2.INTER_LINEAR)
    else:
        expected = np.asarray(Image.fromarray(frame).resize(
            (224, 224), Image.Resampling.BILINEAR))
    assert found.dtype == expected.dtype and np.array_equal(found, expected)


def test_the_order_of_what_training_does():
    def kinds(system):
        return [step.get('op', step['type']) for step in pipeline_of(
            config(system), 'train')[3:-2]]
    colours = ['Flip', 'ColorJitter', 'Grayscale']
    assert kinds('xclip') == kinds('vifi') == [
        'Resize', 'MultiScaleCrop', 'Resize', *colours]
    assert kinds('actionclip') == [
        'FrameRandAugment', 'MultiScaleCrop', 'PILResize', *colours]
    assert kinds('released') == kinds('evl') == ['RandAugmentCrop', 'FloatResize']
    assert kinds('a5') == ['PILResize', 'RoundedCenterCrop']


def test_a_crop_that_does_not_fit():
    """Ten draws in vain: the largest that is allowed, or the largest square."""
    def draw(boxes, height, width):
        return RandAugmentCrop('rand-m7-n1', area_range=(1., 1.), boxes=boxes).draw_box(
            height, width)
    assert draw('torchvision', 30, 100) == (30, 0, 70, 30)
    assert draw('torchvision', 100, 30) == (0, 30, 30, 70)
    assert tuple(draw('mmaction', 30, 100)) == (35, 0, 65, 30)
    for system in ('released', 'evl'):
        step = pipeline_of(config(system), 'train')[3]
        assert (step['type'], step['boxes']) == ('RandAugmentCrop', 'torchvision')


def test_boxes_of_any_area_and_ratio():
    """Within its ranges, whichever library draws."""
    for boxes in ('torchvision', 'mmaction'):
        crop = RandAugmentCrop('rand-m7-n1', boxes=boxes)
        for seed in range(200):
            seed_random(SampleKey(seed, 0, 0))
            left, top, right, bottom = crop.draw_box(256, 340)
            assert 0 <= left < right <= 340 and 0 <= top < bottom <= 256
            width, height = right - left, bottom - top
            assert 0.07 < width * height / (340 * 256) <= 1
            assert 0.72 < width / height < 1.38


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp('video') / 'clip.mp4'
    write_video(path, num_frames=40)
    return str(path)


@pytest.mark.parametrize('system', CONFIGS)
def test_a_whole_pipeline_on_a_video(system, video):
    found = config(system)
    number = find_sampling(pipeline_of(found, 'val'))['clip_len']
    for loop in ('train', 'val'):
        seed_random(SampleKey(0, 0, 0))
        packed = Compose(pipeline_of(found, loop))(dict(
            filename=video, start_index=0, modality='RGB', label=0))
        inputs = packed['inputs']
        assert inputs.shape == (1, 3, number, 224, 224)
        assert inputs.dtype == (
            torch.float32 if system in ('released', 'evl') else torch.uint8)
        assert 0 <= inputs.min() and 20 < inputs.float().mean() < inputs.max() < 255.01


# Draws for each frame, or for a clip


AUGMENTATIONS = dict(
    jitter=lambda draws: FrameTransform(
        'ColorJitter', draws, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
    randaugment=lambda draws: FrameRandAugment(2, 9, draws))


@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_draws_of_a_clip_are_those_of_its_first_frame(name):
    """And the next clip has others."""
    frame, = frames_of(40, 30, number=1)
    clips = {}
    for draws in ('frame', 'clip'):
        seed_random(SampleKey(3, 0, 0))
        augment = AUGMENTATIONS[name](draws)
        clips[draws] = [augment(given([frame] * 4))['imgs'] for _ in range(2)]
    looks = {draws: [{one.tobytes() for one in clip} for clip in found]
             for draws, found in clips.items()}
    assert [len(one) for one in looks['clip']] == [1, 1]
    assert looks['clip'][0] != looks['clip'][1]
    assert min(len(one) for one in looks['frame']) > 1
    assert np.array_equal(clips['clip'][0][0], clips['frame'][0][0])


def test_colours_are_torchvisions_of_pil_images():
    frames = frames_of(40, 30, number=3)
    torch.manual_seed(5)
    found = FrameTransform('ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2,
                           hue=0.1)(given(frames))['imgs']
    torch.manual_seed(5)
    jitter = tv.ColorJitter(0.4, 0.4, 0.2, 0.1)
    for one, frame in zip(found, frames, strict=True):
        assert np.array_equal(one, np.asarray(jitter(Image.fromarray(frame))))


def test_a_clip_is_changed_whole_or_not_at_all():
    """Grey is of all frames of a clip, in a fifth of them, as in the configs."""
    step, = (step for step in pipeline_of(config('xclip'), 'train')
             if step.get('op') == 'Grayscale')
    grey, frames = Compose([step]), frames_of(12, 8, number=3)
    random.seed(0)
    changed = []
    for _ in range(400):
        found = grey(given(frames))['imgs']
        flat = {bool((one == one[..., :1]).all()) for one in found}
        assert len(flat) == 1
        changed += flat
    assert 50 < sum(changed) < 110
    assert found[0].shape == frames[0].shape
    jitter = {step['prob'] for system in ('xclip', 'vifi', 'actionclip')
              for step in pipeline_of(config(system), 'train')
              if step.get('op') == 'ColorJitter'}
    assert jitter == {0.8}


# ActionCLIP's RandAugment, magnitude 9 of 30


def affine(sign, *coefficients):
    return lambda image: image.transform(
        image.size, Image.Transform.AFFINE, [sign * part if place in (1, 2, 3, 5)
                                             else part for place, part in enumerate(
                                                 coefficients)])


def by_level(change):
    return lambda image: Image.fromarray(change(np.asarray(image).astype(int)).astype(
        np.uint8))


def brightened(levels):
    levels = np.minimum(levels + 33, 255)
    return np.where(levels < 128, levels, 255 - levels)


EXPECTED = {
    'auto_contrast': [ImageOps.autocontrast], 'equalize': [ImageOps.equalize],
    'invert': [by_level(lambda levels: 255 - levels)],
    'rotate': [lambda image: image.rotate(9), lambda image: image.rotate(-9)],
    'posterize': [by_level(lambda levels: levels // 128 * 128)],
    'solarize': [by_level(lambda levels: np.where(levels < 76.8, levels, 255 - levels))],
    'solarize_add': [by_level(brightened)],
    **{name: [lambda image, kind=kind: kind(image).enhance(0.64)] for name, kind in dict(
        color=ImageEnhance.Color, contrast=ImageEnhance.Contrast,
        brightness=ImageEnhance.Brightness, sharpness=ImageEnhance.Sharpness).items()},
    'shear_x': [affine(sign, 1, 0.09, 0, 0, 1, 0) for sign in (1, -1)],
    'shear_y': [affine(sign, 1, 0, 0, 0.09, 1, 0) for sign in (1, -1)],
    'translate_x': [affine(sign, 1, 0, 30, 0, 1, 0) for sign in (1, -1)],
    'translate_y': [affine(sign, 1, 0, 0, 0, 1, 30) for sign in (1, -1)]}


@pytest.mark.parametrize('name', EXPECTED)
def test_an_operation(name):
    image = Image.fromarray(frames_of(90, 70, number=1)[0])
    expected = {change(image).tobytes() for change in EXPECTED[name]}
    act, least, most = OPERATIONS[name]
    random.seed(2)
    found = {act(image, 9 / 30 * (most - least) + least).tobytes() for _ in range(20)}
    assert found == expected
    assert image.tobytes() not in expected


def test_a_square_is_cut_out():
    image = Image.fromarray(frames_of(90, 70, number=1)[0])
    before = np.asarray(image).copy()
    random.seed(2)
    seen = set()
    for _ in range(60):
        state = random.getstate()
        found = np.asarray(OPERATIONS['cut_out'][0](image, 12.))
        changed = np.argwhere((found != before).any(-1))
        top, left = changed.min(0)
        bottom, right = changed.max(0)
        seen.add((left, top))
        random.setstate(state)
        x, y = (int(max(0, random.uniform(1, side) - 6)) for side in (90, 70))
        expected = image.copy()
        ImageDraw.Draw(expected).rectangle((x, y, min(90, x + 12), min(70, y + 12)),
                                           (125, 123, 114))
        assert np.array_equal(found, np.asarray(expected))
        assert bottom - top < 13 and right - left < 13
        assert (found[top, left] == (125, 123, 114)).all()
    assert len(seen) > 50 and np.array_equal(before, np.asarray(image))


def test_two_operations_always_each_as_likely(monkeypatch):
    counted = {name: 0 for name in OPERATIONS}

    def count(name):
        def act(image, level):
            counted[name] += 1
            return image
        return act
    monkeypatch.setattr('vita_mm.data.frame_augment.OPERATIONS', {
        name: (count(name), least, most) for name, (_, least, most)
        in OPERATIONS.items()})
    step = pipeline_of(config('actionclip'), 'train')[3]
    assert step == dict(type='FrameRandAugment', num_ops=2, magnitude=9, draws='frame')
    random.seed(0)
    Compose([step])(given(frames_of(4, 4, number=1) * 800))
    assert len(counted) == 16 and sum(counted.values()) == 1600
    assert 70 < min(counted.values()) and max(counted.values()) < 135


@pytest.mark.parametrize('step, words', [
    (dict(type='FrameTransform', op='Colourjitter'), "op='Colourjitter'"),
    (dict(type='FrameTransform', op='ColorJitter', tint=1), 'tint'),
    (dict(type='FrameTransform', op='Grayscale', draws='video'), "draws='video'"),
    (dict(type='FrameRandAugment', magnitude=31), 'from 0 to 30'),
    (dict(type='PILResize', scale=(-1, 224), interpolation='cubist'), 'cubist'),
    (dict(type='PILResize', scale=(224, 224)), 'SHORTER_SIDE'),
    (dict(type='FloatResize', scale=(-1, 224), keep_ratio=False), 'SHORTER_SIDE'),
    (dict(type='RandAugmentCrop', policy='rand-m7', boxes='timm'), "'timm'")])
def test_a_step_that_cannot_be_is_refused(step, words):
    with pytest.raises(UserError, match=words):
        Compose([step])


def test_three_crops_that_do_not_cover_the_frame_are_refused():
    crop = Compose([dict(type='ThreeCropToEnds', crop_size=8)])
    with pytest.raises(UserError, match='do not cover frames of 12x9'):
        crop(given([np.zeros((9, 12, 3), np.uint8)]))


# Variants


def test_draws_are_a_variant_of_a_training():
    for system in ('xclip', 'vifi', 'actionclip'):
        plain = config(system)
        found = config(system, draws='clip')
        kinds = {one.filename: [step['draws'] for step in pipeline_of(one, 'train')
                                if 'draws' in step] for one in (plain,)}
        assert set(kinds[plain.filename]) == {'frame'}
        changed = [step['draws'] for step in pipeline_of(found, 'train')
                   if 'draws' in step]
        assert changed == ['clip'] * len(kinds[plain.filename])
        assert found.train_pipeline == found.train_dataloader.dataset.pipeline
        assert config(system, draws='frame').train_dataloader == plain.train_dataloader


def test_the_shorter_side_is_a_variant_of_an_evaluation():
    found = config('xclip', resize=224)
    assert size_and_corners(found, 340, 256) == ((298, 224), [(37, 0)])
    assert found.val_dataloader == config('xclip').val_dataloader
    small = config('a5', resize=256)
    assert size_and_corners(small, 342, 254) == ((344, 256), [(60, 16)])
    assert find_sampling(pipeline_of(small, 'test'))['num_clips'] == 5


@pytest.mark.parametrize('name, variants, words', [
    ('vita_k400.py', dict(draws='clip'), 'draws once for a clip'),
    ('xclip/mini.py', dict(draws='frame'), 'draws once for a clip'),
    ('xclip/k400.py', dict(draws='clip', dataset='hmdb51'), 'nothing is trained'),
    ('zero_shot/hmdb51.py', dict(draws='clip'), 'nothing is trained'),
    ('vifi_clip/k400.py', dict(resize=256), 'is for one crop'),
    ('xclip/k400.py', dict(views='4x3', resize=256), 'is for one crop'),
    ('xclip/k400.py', dict(resize=223), 'a crop of 224 pixels does not fit')])
def test_what_has_no_meaning_is_refused(name, variants, words):
    with pytest.raises(UserError, match=words) as raised:
        apply_variants(load_config(ROOT / 'configs' / name), Variants(**variants))
    assert Variants(**variants).words() in str(raised.value)


@pytest.mark.parametrize('variants, words', [
    (dict(draws='video'), "frame or clip, not 'video'"), (dict(resize=0), 'from 1')])
def test_what_cannot_be_meant_is_said(variants, words):
    with pytest.raises(ValueError, match=words):
        Variants(**variants)


# Zero-shot: the dataset's frames, the system's pixels


@pytest.mark.parametrize('system', [name for name in CONFIGS if name != 'evl'])
def test_zero_shot_evaluations_have_the_pixels_of_the_system(system):
    found = config(system, dataset='hmdb51')
    width, height = 342, 254
    one = size_and_corners(config(system, views='1x1'), width, height)
    assert size_and_corners(found, width, height) == one
    assert found.test_pipeline == found.test_dataloader.dataset.pipeline
    assert found.model.data_preprocessor == config(system).model.data_preprocessor
    # As where the evaluation is named and the model is given to it.
    named = load_config(ROOT / 'configs' / 'zero_shot' / 'hmdb51.py')
    use_trained_model(named, config(system))
    assert named.test_dataloader == found.test_dataloader


def test_the_miniature_keeps_its_small_frames():
    for system in SYSTEMS.values():
        if 'zero-shot' in system.refusals:
            continue
        trained = load_config(ROOT / system.config)
        found = apply_variants(trained, Variants(dataset='mini_ucf101'))
        own = load_config(ROOT / 'configs' / 'zero_shot' / 'mini_ucf101.py')
        assert found.test_dataloader == own.test_dataloader, system.name


def test_a_suites_evaluation_has_them(tmp_path):
    from vita_mm.harness.run.plan import Plan
    from vita_mm.harness.spec.suite import read_suite
    path = tmp_path / 'suite.yaml'
    path.write_text("""
title: one
tables:
  t:
    title: Table
    columns:
      ucf101: {title: UCF101, dataset: ucf101, metric: name/acc/top1}
      hmdb51: {title: H, test: configs/zero_shot/hmdb51.py, metric: name/acc/top1}
    rows:
      plain: {label: X, train: configs/xclip/k400_32f.py}
      small: {label: X, train: configs/xclip/k400_32f.py, resize: 224, draws: clip}
""")
    places = Plan(read_suite(str(path)), tmp_path, seeds=1, trust_data=True).places
    assert [(place.row.name, size_and_corners(place.run.config, 340, 256)[0])
            for place in places] == [*[('plain', (340, 256))] * 2,
                                     *[('small', (298, 224))] * 2]
    small = places[-1]
    steps = pipeline_of(small.run.trained.config, 'train')
    assert {step['draws'] for step in steps if 'draws' in step} == {'clip'}


def test_three_crops_stay_three():
    for system, kind in (('released', 'ThreeCropToEnds'), ('xclip', 'ThreeCrop')):
        wide = load_config(ROOT / 'configs' / 'zero_shot' / 'hmdb51.py')
        wide = apply_variants(wide, Variants(views='2x3'))
        use_trained_model(wide, config(system))
        assert size_and_corners(wide, 340, 256) == size_and_corners(
            config(system, views='1x3'), 340, 256)
        assert kind in str(pipeline_of(wide, 'test'))


def test_pipelines_of_another_kind_keep_their_pixels():
    squeezed = [dict(type='DecodeFrames'),
                dict(type='Resize', scale=(32, 32), keep_ratio=False)]
    own = [dict(type='Resize', scale=(-1, 8)), dict(type='CenterCrop', crop_size=8)]
    assert with_pixels_of(squeezed, own) == squeezed
    assert with_pixels_of(own, squeezed) == own


# Checkpoints


@pytest.mark.parametrize('system', CONFIGS)
def test_a_checkpoint_says_how_its_frames_are_resized(system):
    """One centre view is as in the validation of its config."""
    found = config(system)
    found.model.cls_head.classes = ['yoga', 'surfing']
    description = describe(found.model, evaluation_pipeline(found))
    assert json_like(description)
    view = view_pipeline(description, 224, 224)
    one = pipeline_of(config(system, views='1x1'), 'test')
    seen = Config(dict(test_dataloader=dict(dataset=dict(pipeline=view))))
    assert [step['type'] for step in view[find_pixels(view)]] == [
        step['type'] for step in one[find_pixels(one)]]
    for width, height in SIZES[:4]:
        assert size_and_corners(seen, width, height) == size_and_corners(
            config(system, views='1x1'), width, height)
    assert description['data_preprocessor']['mean'] == pytest.approx(
        [255 * part for part in NORMALISED[system][0]])


def json_like(value):
    return isinstance(value, (str, int, float, type(None))) or all(map(
        json_like, value.values() if isinstance(value, dict) else value))


def test_a_checkpoint_of_the_papers_recipe_says_nothing_of_it():
    found = load_config(ROOT / 'configs' / 'vita_k400.py')
    found.model.cls_head.classes = ['yoga', 'surfing']
    description = describe(found.model, evaluation_pipeline(found))
    assert 'resize' not in description
    assert view_pipeline(description, 224, 224)[3:5] == [
        dict(type='Resize', scale=(-1, 224)),
        dict(type='CenterCrop', crop_size=(224, 224))]


@pytest.mark.parametrize('resize, words', [
    (dict(type='os.system'), 'resize.type cannot be'), (dict(type=[1]), 'resize.type'),
    (dict(short_side=256), 'resize lacks type'), ([1], 'resize cannot be'),
    (dict(type='Resize', short_side=10**9), 'resize.short_side cannot be'),
    (dict(type='Resize', scale=3), 'there is no resize.scale')])
def test_what_a_checkpoint_says_is_not_trusted(resize, words):
    found = config('xclip')
    found.model.cls_head.classes = ['yoga']
    description = describe(found.model, evaluation_pipeline(found))
    description.pop('system')
    parts = SYSTEMS['xclip'].parts
    check_fields(description, parts)
    with pytest.raises(ValueError, match=words):
        check_fields(dict(description, resize=resize), parts)


def test_a_model_sees_frames_normalised_as_in_its_training(caplog):
    """One that was trained with CLIP's mean before, X-CLIP's config having ImageNet's."""
    import json
    new, old = config('xclip'), config('xclip')
    mean, std = ([255 * part for part in parts] for parts in CLIP)
    old.model.data_preprocessor.update(mean=mean, std=std)
    old.model.cls_head.classes = ['yoga']
    meta = {KEY: json.dumps(describe(old.model, evaluation_pipeline(old)))}

    def mean_after(meta, **options):
        found = config('xclip')
        keep_trained_pixels(found, dict(meta=meta), options)
        return found.model.data_preprocessor.mean

    own = new.model.data_preprocessor.mean
    assert mean_after(meta) == mean
    assert mean_after({}) == mean_after({KEY: '{}'}) == own
    # A checkpoint of its authors was converted by an older config.
    assert mean_after(dict(meta, converted_from='xclip.pth')) == own
    assert mean_after(meta, **{'model.data_preprocessor.mean': own}) == own


def test_frozen_clip_beside_sees_what_clip_was_trained_on():
    found = frozen_model(config('xclip').model)['data_preprocessor']
    assert found['mean'] == pytest.approx([255 * part for part in CLIP[0]])
    assert found['std'] == pytest.approx([255 * part for part in CLIP[1]])
    other = dict(config('xclip').model, data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6]))
    assert frozen_model(other)['data_preprocessor']['mean'] == [1, 2, 3]
