"""Which frames every system takes: of its own config's steps, against plain formulas of
what its authors' code does, for videos of many lengths; and that draws repeat."""
import random
from fractions import Fraction

import vita_mm  # noqa: F401  first, for it repairs imports of the libraries below
import numpy as np
import pytest
import torch
from mmaction.registry import TRANSFORMS
from vita_mm.data import (ClipDataset, FittingSampleFrames, SegmentSample,
                          TightSampleFrames)
from vita_mm.data.check import clip_span
from vita_mm.data.dataset import SampleKey
from vita_mm.engine.pipelines import find_sampling
from vita_mm.engine.runs import load_config
from vita_mm.engine.variants import Variants, apply_variants, pipeline_of
from vita_mm.errors import UserError
from vita_mm.harness.beside import FROZEN, Trained, zero_shot
from vita_mm.systems import SYSTEMS
from world import CLASSES, ROOT, write_video

LENGTHS = [*range(1, 40), 63, 64, 65, 99, 100, 112, 113, 114, 128, 129, 150, 240, 241,
           242, 250, 300, 511, 512, 600, 699, 700]
CLIP_LENS = (1, 8, 16, 32)
CONFIGS = {'vita_clip': 'released/vita_k400.py', 'evl': 'evl/k400.py',
           'xclip': 'xclip/k400.py', 'xclip_32f': 'xclip/k400_32f.py',
           'vifi_clip': 'vifi_clip/k400.py', 'vifi_clip_32f': 'vifi_clip/k400_32f.py',
           'actionclip': 'actionclip/k400.py', 'a5': 'efficient_prompt/a5.py',
           'b2': 'efficient_prompt/b2_ssv2.py', 'paper': 'vita_k400.py'}
STRIDED = ('vita_clip', 'evl')
LIKE_XCLIP = ('xclip', 'xclip_32f', 'vifi_clip', 'vifi_clip_32f')


@pytest.fixture(scope='module')
def step():
    """The sampling step of a system's config, built, with changes."""
    read = {}

    def build(system, loop='test', **changes):
        if system not in read:
            read[system] = load_config(ROOT / 'configs' / CONFIGS[system])
        return TRANSFORMS.build(
            dict(find_sampling(pipeline_of(read[system], loop)), **changes))

    return build


def take(transform, length):
    """Frames of the clips of a video, and what the sample says of them."""
    results = transform(dict(total_frames=length, start_index=0))
    assert results['total_frames'] == length
    frames = results['frame_inds']
    assert frames.dtype == np.int32 and 0 <= frames.min() <= frames.max() < length
    assert len(frames) == results['num_clips'] * results['clip_len']
    return frames.reshape(results['num_clips'], -1).tolist()


def seed(number):
    random.seed(number)
    np.random.seed(number)


# What the authors' codes do, written out


def at_stride(length, frames, stride, views):
    """Released Vita-CLIP and EVL in evaluation: the video is continued by its last frame
    up to the clip's span; views start evenly spread, a single one in the middle."""
    span = (frames - 1) * stride + 1
    video = [*range(length)] + [length - 1] * (span - length)
    room = len(video) - span
    starts = [room // 2] if views == 1 else [
        round(room / (views - 1) * view) for view in range(views)]
    return [video[start:start + span:stride] for start in starts]


def middles(length, frames):
    """X-CLIP and ViFi-CLIP in evaluation: the middle of each of equal parts, exactly."""
    return [Fraction(length, frames) * (2 * part + 1) / 2 for part in range(frames)]


def actionclip_middles(length, frames):
    if frames == 1:
        return [Fraction(length, 2)]
    part = Fraction(length, frames)
    if length <= frames:
        return [Fraction(number * length // frames) for number in range(frames)]
    return [part * number + (part - 1) / 2 for number in range(frames)]


def rounded_down(found, exact):
    """Whether frames are these, rounded down; of a whole number whose float may be just
    below it, the one before as well."""
    return len(found) == len(exact) and all(
        frame == place // 1 or frame + 1 == place for frame, place in zip(found, exact))


@pytest.mark.parametrize('frames', CLIP_LENS[1:])
def test_frames_at_a_stride_and_the_last_frame_behind_them(step, frames):
    for system in STRIDED:
        for views in (1, 3, 4):
            for stride in (1, 4, 16):
                transform = step(system, clip_len=frames, frame_interval=stride,
                                 num_clips=views)
                for length in LENGTHS:
                    assert take(transform, length) == at_stride(
                        length, frames, stride, views), (length, stride)


def test_the_paper_configs_repeat_the_last_frame_taken(step):
    """At as many lengths as their docs say."""
    paper, released = step('paper'), step('vita_clip', num_clips=1)
    assert take(paper, 100) == [[0, 16, 32, 48, 64, 80, 96, 96]]
    assert take(released, 100) == [[0, 16, 32, 48, 64, 80, 96, 99]]
    differing = [length for length in range(1, 700)
                 if take(paper, length) != take(released, length)]
    assert len(differing) == 105
    text = (ROOT / 'configs' / CONFIGS['paper']).read_text()
    assert f'{len(differing)} of the' in text


@pytest.mark.parametrize('frames', CLIP_LENS)
@pytest.mark.parametrize('system', STRIDED)
def test_a_training_clip_starts_anywhere_and_repeats_what_it_took(step, system, frames):
    transform = step(system, 'train', clip_len=frames)
    for length in LENGTHS:
        room = length - (frames - 1) * 16
        for number in range(3):
            seed(number)
            found, = take(transform, length)
            seed(number)
            start = np.random.randint(room) if room > 1 else 0
            taken = range(start, min(length, start + (frames - 1) * 16 + 1), 16)
            assert found == [*taken] + [taken[-1]] * (frames - len(taken))


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


@pytest.mark.parametrize('frames', CLIP_LENS)
def test_the_middle_of_each_part(step, frames):
    for length in LENGTHS:
        found = [take(step(system, clip_len=frames, num_clips=1), length)[0]
                 for system in LIKE_XCLIP]
        assert all(other == found[0] for other in found)
        assert rounded_down(found[0], middles(length, frames)), length
        found, = take(step('actionclip', clip_len=frames, num_clips=1), length)
        assert rounded_down(found, actionclip_middles(length, frames)), length


@pytest.mark.parametrize('frames', CLIP_LENS)
def test_a_frame_of_each_part_at_random(step, frames):
    for system in LIKE_XCLIP[::2]:
        transform = step(system, 'train', clip_len=frames)
        for length in LENGTHS:
            seed(length)
            found, = take(transform, length)
            seed(length)
            part = length // frames
            if part:
                shifts = np.random.randint(part, size=frames)
                expected = [number * part + shift for number, shift in enumerate(shifts)]
            else:  # in order, and round to the first
                expected = [round(number * (length / frames)) % length
                            for number in range(frames)]
            assert found == expected, length


@pytest.mark.parametrize('frames', CLIP_LENS)
def test_a_frame_of_each_part_of_the_whole_video_at_random(step, frames):
    transform = step('actionclip', 'train', clip_len=frames)
    for length in LENGTHS:
        seed(length)
        found, = take(transform, length)
        seed(length)
        if length <= frames:
            more = np.random.randint(length, size=frames - length).tolist()
            assert found == sorted([*range(length), *more])
            continue
        ends = [number * length // frames for number in range(frames + 1)]
        assert found == [start + np.random.randint(end - start)
                         for start, end in zip(ends, ends[1:])]


def random_rate(length, frames):
    """A5 in training and in evaluation."""
    if length <= frames:
        return [*range(length)] + [length - 1] * (frames - length)
    rate = random.choice([1, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 1 / 4])
    first, number = np.random.randint(1 / rate), round(rate * length)
    kept = [int(first + place * (length - 1 - first) / (number - 1))
            if number > 1 else first for place in range(number)]
    if number <= frames:
        kept = [*range(length)]
    start = np.random.randint(len(kept) - frames)
    return kept[start:start + frames]


@pytest.mark.parametrize('loop', ['train', 'val', 'test'])
def test_a_stride_that_is_drawn(step, loop):
    for system, frames in (('a5', 16), ('b2', 16), ('a5', 8)):
        transform = step(system, loop, clip_len=frames)
        for length in LENGTHS:
            seed(length)
            found = take(transform, length)
            assert len(found) == (5 if loop == 'test' else 1)
            seed(length)
            for clip in found:
                expected = random_rate(length, frames)
                assert np.abs(np.subtract(clip, expected)).max() <= 1  # of rounding down
                assert clip[0] == expected[0] or length > frames
    seed(0)
    strides = [np.diff(take(step('a5', 'train'), 1000)[0]).min() for _ in range(300)]
    assert {number: strides.count(number) > 0 for number in range(1, 6)} == {
        1: True, 2: True, 3: True, 4: True, 5: False}
    assert 100 < strides.count(3) < 200


@pytest.mark.parametrize('system, loop, changes, length, expected', [
    # By hand: parts of 12.5 frames, whose middles are 6.25, 18.75 ...
    ('xclip', 'test', {}, 100, [6, 18, 31, 43, 56, 68, 81, 93]),
    # Parts of 1.125: .5625, 1.6875, 2.8125, 3.9375, 5.0625, 6.1875, 7.3125, 8.4375.
    ('vifi_clip', 'test', dict(clip_len=8, num_clips=1), 9, [0, 1, 2, 3, 5, 6, 7, 8]),
    # Of five frames 16, at .3125 each, rounded: the last is the sixth, and so the first.
    ('xclip', 'train', dict(clip_len=16), 5,
     [0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 0]),
    # One frame less than a part, halved: 5.75, 18.25, 30.75 ...
    ('actionclip', 'test', dict(clip_len=8, num_clips=1), 100,
     [5, 18, 30, 43, 55, 68, 80, 93]),
    ('actionclip', 'test', dict(clip_len=8, num_clips=1), 5, [0, 0, 1, 1, 2, 3, 3, 4]),
    ('actionclip', 'train', dict(clip_len=8), 8, [0, 1, 2, 3, 4, 5, 6, 7]),
    # A span of 113 of 129: 16 are left.
    ('evl', 'test', dict(num_clips=1), 129, [8, 24, 40, 56, 72, 88, 104, 120]),
    ('vita_clip', 'test', dict(num_clips=1), 5, [0, 4, 4, 4, 4, 4, 4, 4]),
    ('vita_clip', 'train', {}, 40, [0, 16, 32, 32, 32, 32, 32, 32]),
    ('a5', 'train', {}, 5, [0, 1, 2, 3, 4] + [4] * 11)])
def test_by_hand(step, system, loop, changes, length, expected):
    assert take(step(system, loop, **changes), length) == [expected]


# Several clips


@pytest.mark.parametrize('frames', CLIP_LENS)
def test_several_clips_are_drawn_as_in_training(step, frames):
    for system in LIKE_XCLIP:
        drawn = step(system, clip_len=frames, num_clips=4, clips='drawn')
        training = step(system, 'train', clip_len=frames)
        for length in LENGTHS[::5]:
            seed(length)
            found = take(drawn, length)
            seed(length)
            assert found == [take(training, length)[0] for _ in range(4)]


def test_the_default_is_what_the_authors_did(step):
    clips = {system: step(system).clips for system in CONFIGS
             if hasattr(step(system), 'clips')}
    assert clips == dict.fromkeys((*LIKE_XCLIP, 'a5', 'b2'), 'drawn') | dict(
        actionclip='even')


def test_even_clips_are_the_middles_of_all_parts_dealt_out():
    for rule in ('xclip', 'actionclip'):
        for count in (1, 2, 4, 10):
            even = SegmentSample(8, rule, count, 'even', test_mode=True)
            for length in LENGTHS:
                clips = take(even, length)
                dealt = sorted(sum(clips, []))
                if rule == 'xclip':
                    assert rounded_down(dealt, middles(length, 8 * count)), length
                if length >= 8 * count:
                    assert rule == 'actionclip' or len(set(dealt)) == 8 * count
                if length > 16 * count:
                    assert len({tuple(clip) for clip in clips}) == count
    assert take(SegmentSample(2, num_clips=2, test_mode=True), 16) == [[2, 10], [6, 14]]


def test_even_clips_of_a_drawn_stride(step):
    """At stride 3, or the largest that fits."""
    even = step('a5', clips='even')
    for length in LENGTHS:
        stride = min(3, max(1, (length - 1) // 15))
        assert take(even, length) == at_stride(length, 16, stride, 5)


def test_the_largest_stride_that_fits():
    fitting = FittingSampleFrames(32, 16, out_of_bound_opt='last_frame', test_mode=True)
    for length, first, stride in ((20, 0, 1), (32, 0, 1), (62, 15, 1), (63, 0, 2),
                                  (94, 0, 3), (497, 0, 16), (700, 101, 16)):
        expected = [min(first + number * stride, length - 1) for number in range(32)]
        assert take(fitting, length) == [expected]
    assert fitting.frame_interval == 16  # of the step, whatever a video took


@pytest.mark.parametrize('sampling, frames', [
    (dict(type='SampleFrames', clip_len=8, frame_interval=4), 29),
    (dict(type='TightSampleFrames', clip_len=8, frame_interval=16), 113),
    (dict(type='FittingSampleFrames', clip_len=32, frame_interval=16), 32),
    (dict(type='UniformSample', clip_len=32), 32),
    (dict(type='SegmentSample', clip_len=32), 32),
    (dict(type='RandomStrideSample', clip_len=16, strides=(1, 2, 3, 3, 3, 4)), 16)])
def test_a_video_of_as_many_frames_is_not_short(videos, sampling, frames):
    assert clip_span(dataset(videos, sampling)) == frames


@pytest.mark.parametrize('broken, words', [
    (dict(type='SegmentSample', clip_len=8, rule='tsn'), 'rule is one of xclip, actionc'),
    (dict(type='SegmentSample', clip_len=8, clips='odd'), "clips is drawn or even, not"),
    (dict(type='RandomStrideSample', clip_len=8, strides=[1], clips='odd'), 'drawn or'),
    (dict(type='TightSampleFrames', clip_len=8, out_of_bound_opt='last'),
     'loop, repeat_last, last_frame')])
def test_an_unknown_value_is_refused(broken, words):
    with pytest.raises(UserError, match=words):
        TRANSFORMS.build(broken)


# Draws of an evaluation


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    for index in range(3):
        write_video(folder / f'{index}.mp4', 40 + index, colour=index)
    (folder / 'list.txt').write_text(
        ''.join(f'{index}.mp4 {index}\n' for index in range(3)))
    return folder


def dataset(videos, step, **options):
    pipeline = [dict(type='OpenVideo'), step]
    return ClipDataset(str(videos / 'list.txt'), pipeline, classes=CLASSES,
                       data_prefix=dict(video=str(videos)), **options)


@pytest.mark.parametrize('sampling', [
    dict(type='SegmentSample', clip_len=8, num_clips=4, clips='drawn', test_mode=True),
    dict(type='RandomStrideSample', clip_len=8, strides=[1, 2, 3], num_clips=4,
         test_mode=True)])
def test_an_evaluation_draws_the_same_again(videos, sampling):
    data = dataset(videos, sampling, test_mode=True)
    found = [data[index]['frame_inds'].tolist() for index in range(3)]
    assert len(set(map(tuple, found))) == 3  # of other samples, others
    seed(99)
    torch.manual_seed(99)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    # In another order, as another process would have it.
    assert [data[index]['frame_inds'].tolist() for index in (2, 0, 1)] == [
        found[2], found[0], found[1]]
    # A training goes on as if there had been no evaluation.
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    # Another seed, of a sampler that has one, draws others.
    other = data[SampleKey(0, 0, 7)]['frame_inds'].tolist()
    assert other != found[0] == data[SampleKey(0, 0, 0)]['frame_inds'].tolist()
    # In training nothing is seeded without a sampler that does it.
    free = dataset(videos, sampling)
    assert free[0]['frame_inds'].tolist() != free[0]['frame_inds'].tolist()


# Evaluations of other datasets


@pytest.mark.parametrize('name, expected', [
    ('xclip/k400_32f.py', dict(type='SegmentSample', clip_len=32, clips='drawn')),
    ('vifi_clip/k400_32f.py', dict(type='SegmentSample', clip_len=32, clips='drawn')),
    ('actionclip/k400.py', dict(type='SegmentSample', clip_len=32, rule='actionclip',
                                clips='even')),
    ('efficient_prompt/a5.py', dict(type='RandomStrideSample', clip_len=32,
                                    strides=(1, 2, 3, 3, 3, 4), clips='drawn')),
    ('vita_k400.py', dict(type='UniformSample', clip_len=32)),
    ('xclip/mini.py', dict(type='UniformSample', clip_len=32))])
def test_zero_shot_frames_are_taken_by_the_rule_of_the_authors(name, expected):
    found = apply_variants(load_config(ROOT / 'configs' / name),
                           Variants(dataset='hmdb51'))
    sampling = dict(find_sampling(pipeline_of(found, 'test')))
    assert sampling == dict(expected, test_mode=True)


def test_the_verb_does_so_and_leaves_frozen_clip_the_protocol():
    trained = Trained('k400_32f.py', load_config(ROOT / 'configs' / CONFIGS['xclip_32f']),
                      'xclip.pth', SYSTEMS['xclip'])
    passes = zero_shot('paper', trained, ['hmdb51'])
    assert {one.model: find_sampling(pipeline_of(one.config, 'test'))['type']
            for one in passes} == {FROZEN: 'UniformSample', 'xclip': 'SegmentSample'}
