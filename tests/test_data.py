"""Sampling and augmentation: reproducible, and the same for all frames of a clip."""
import random

import numpy as np
import pytest
import torch

from vita_mm.data import (ClipDataset, ClipRandAugment, SeededSampler,
                          TightSampleFrames)
from vita_mm.data.dataset import SampleKey
from vita_mm.errors import UserError
from world import CLASSES, write_video

PIPELINE = [dict(type='OpenVideo'),
            dict(type='SampleFrames', clip_len=4, frame_interval=2),
            dict(type='DecodeFrames'),
            dict(type='ClipRandAugment', policy='rand-m7-n4-mstd0.5-inc1'),
            dict(type='RandomResizedCrop'),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW')]


def test_rand_augment_draws_once_for_a_clip():
    augment = ClipRandAugment('rand-m9-n4-mstd0.5-inc1')
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    results = []
    for seed in range(12):
        random.seed(seed)
        np.random.seed(seed)
        frames = augment(dict(imgs=[frame] * 3))['imgs']
        assert all(np.array_equal(frames[0], other) for other in frames)
        assert frames[0].shape == frame.shape and frames[0].dtype == np.uint8
        results.append(frames[0].tobytes())
    assert len(set(results)) > 6  # and from clip to clip it draws anew


@pytest.mark.parametrize('options', [dict(policy='trivial'),
                                     dict(policy='rand-m7', interpolation='cubist')])
def test_an_unknown_augmentation_is_refused(options):
    with pytest.raises(UserError, match='ClipRandAugment'):
        ClipRandAugment(**options)


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


def test_a_tight_clip_starts_anywhere_its_frames_fit():
    """8 frames at stride 16 are 113; MMAction2 would reserve 128."""
    sample = TightSampleFrames(clip_len=8, frame_interval=16)
    starts = set()
    for seed in range(200):
        np.random.seed(seed)
        frames = sample(dict(total_frames=117, start_index=0))['frame_inds']
        assert list(np.diff(frames)) == [16] * 7 and frames[-1] < 117
        starts.add(int(frames[0]))
    assert starts == {0, 1, 2, 3, 4}
