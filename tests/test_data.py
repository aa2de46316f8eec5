"""Sampling and augmentation: reproducible, and the same for all frames of a clip."""
import random

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import RandomResizedCrop
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from vita_mm.data import ClipDataset, RandAugmentCrop, SeededSampler
from vita_mm.data.dataset import SampleKey
from vita_mm.errors import UserError
from world import CLASSES, write_video

PIPELINE = [dict(type='OpenVideo'),
            dict(type='SampleFrames', clip_len=4, frame_interval=2),
            dict(type='DecodeFrames'),
            dict(type='RandAugmentCrop', policy='rand-m7-n4-mstd0.5-inc1'),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW')]


FRAMES = list(np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8))


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)


def plainly(policy, interpolation, frames):
    """Every frame wholly augmented by timm, with the same draws; then cropped."""
    augment = rand_augment_transform(policy, dict(
        translate_const=int(0.45 * min(frames[0].shape[:2])),
        interpolation=getattr(Image.Resampling, interpolation.upper())))
    states = random.getstate(), np.random.get_state()
    whole = []
    for frame in frames:
        random.setstate(states[0])
        np.random.set_state(states[1])
        whole.append(np.asarray(augment(Image.fromarray(frame))))
    return RandomResizedCrop()(dict(imgs=whole, img_shape=frames[0].shape[:2]))['imgs']


@pytest.mark.parametrize('policy', ['rand-m7-n4-mstd0.5-inc1', 'rand-m9-n2',
                                    'rand-m10-n6-mstd3-p1'])
@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear', 'nearest'])
def test_the_crop_of_an_augmented_clip(policy, interpolation):
    transform = RandAugmentCrop(policy, interpolation)
    results = set()
    for seed in range(60):
        seed_all(seed)
        expected = plainly(policy, interpolation, FRAMES)
        following = random.random(), np.random.random()
        seed_all(seed)
        given = transform(dict(imgs=FRAMES))
        assert given['img_shape'] == expected[0].shape[:2]
        for one, other in zip(given['imgs'], expected, strict=True):
            assert np.array_equal(one, other), seed
        assert (random.random(), np.random.random()) == following
        results.add(given['imgs'][0].tobytes())
    assert len(results) == 60


@pytest.mark.parametrize('options', [dict(policy='trivial'),
                                     dict(policy='rand-m7', interpolation='cubist')])
def test_an_unknown_augmentation_is_refused(options):
    with pytest.raises(UserError, match='RandAugmentCrop'):
        RandAugmentCrop(**options)


@pytest.fixture
def dataset(tmp_path):
    for index in range(6):
        write_video(tmp_path / f'{index}.mp4', 20 + index, colour=index % 3)
    (tmp_path / 'list.txt').write_text(
        ''.join(f'{index}.mp4 {index % 3}\n' for index in range(6)))
    return ClipDataset(str(tmp_path / 'list.txt'), PIPELINE, classes=CLASSES,
                       data_prefix=dict(video=str(tmp_path)))


def test_a_sample_depends_on_seed_and_epoch_alone(dataset):
    key = SampleKey(index=2, epoch=1, seed=5)
    first = dataset[key]['imgs']
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    dataset[SampleKey(index=0, epoch=0, seed=0)]
    assert np.array_equal(dataset[key]['imgs'], first)
    assert not np.array_equal(dataset[key._replace(epoch=2)]['imgs'], first)
    assert not np.array_equal(dataset[key._replace(seed=6)]['imgs'], first)


def test_the_sampler_hands_on_seed_and_epoch(dataset):
    sampler = SeededSampler(dataset, seed=3)
    sampler.set_epoch(4)
    keys = list(sampler)
    assert sorted(key.index for key in keys) == list(range(6))
    assert {(key.epoch, key.seed) for key in keys} == {(4, 3)}
