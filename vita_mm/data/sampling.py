"""Which frames are taken: what MMAction2 cannot sample as the systems' authors do.

All transforms here have the keys of MMAction2's ``SampleFrames``: ``total_frames`` (n)
and ``start_index`` in, ``frame_inds`` (num_clips * clip_len,) int32, ``clip_len``,
``frame_interval`` and ``num_clips`` out. They draw from the generators of ``random`` and
``numpy.random``, in the order in which the authors' code draws. In evaluation a
:class:`vita_mm.data.dataset.ClipDataset` seeds them for each sample.
"""
import copy
import random
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from mmaction.datasets.transforms import SampleFrames
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from vita_mm.errors import UserError

CLIPS = ('drawn', 'even')


@TRANSFORMS.register_module()
class TightSampleFrames(SampleFrames):
    """Frames at a stride; a training clip starts at any place where its frames fit.

    MMAction2's ``SampleFrames`` reserves clip_len * frame_interval frames in training,
    128 where the last of 8 frames at stride 16 is the 113th; the released codes of EVL
    and Vita-CLIP reserve 113, as all do in evaluation.

    Args:
        clip_len: frames of a clip.
        out_of_bound_opt: what continues a video that is shorter than its clip:
            ``loop`` and ``repeat_last`` (the last frame *taken*, again) as in MMAction2,
            or ``last_frame``, the video's last, as the released codes do in evaluation.
        **kwargs: as in ``SampleFrames``.
    """

    def __init__(self, clip_len: int, *args, out_of_bound_opt: str = 'loop', **kwargs
                 ) -> None:
        known = ('loop', 'repeat_last', 'last_frame')
        if out_of_bound_opt not in known:
            raise UserError(f'{type(self).__name__}: out_of_bound_opt is one of '
                            f'{", ".join(known)}, not {out_of_bound_opt!r}')
        self.pads = out_of_bound_opt == 'last_frame'
        super().__init__(
            clip_len, *args, **kwargs,
            out_of_bound_opt='repeat_last' if self.pads else out_of_bound_opt)

    def _get_ori_clip_len(self, fps_scale_ratio: float) -> float:
        return (self.clip_len - 1) * self.frame_interval + 1

    def transform(self, results: dict) -> dict:
        frames = results['total_frames']
        if self.pads:
            span = (self.clip_len - 1) * self.frame_interval + 1
            results['total_frames'] = max(frames, span)
        results = super().transform(results)
        if self.pads:
            results['total_frames'] = frames
            results['frame_inds'] = np.minimum(
                results['frame_inds'], results['start_index'] + frames - 1)
        return results


@TRANSFORMS.register_module()
class FittingSampleFrames(TightSampleFrames):
    """Frames at the largest stride at which the clip fits into the video.

    ``frame_interval`` is the largest that is taken. A video of fewer frames than the clip
    is continued as ``out_of_bound_opt`` says; the rest is as in its parent.
    """

    def transform(self, results: dict) -> dict:
        fits = (results['total_frames'] - 1) // max(self.clip_len - 1, 1)
        at = copy.copy(self)
        at.frame_interval = min(self.frame_interval, max(fits, 1))
        return super(FittingSampleFrames, at).transform(results)


def xclip_drawn(n: int, frames: int) -> np.ndarray:
    """A frame of each part, at random: parts are of n // frames frames, what remains at
    the end is in none. A video of fewer frames than the clip gives them in order, where
    the last may be the first again."""
    video = dict(total_frames=n, start_index=0)
    return SampleFrames(clip_len=1, num_clips=frames).transform(video)['frame_inds']


def xclip_placed(n: int, frames: int, place: float) -> np.ndarray:
    """The frame at this place of each part, from 0 to 1."""
    part = n / frames
    return (np.arange(frames) * part + part * place).astype(int)


def actionclip_drawn(n: int, frames: int) -> np.ndarray:
    """A frame of each part, at random: parts are as equal as whole frames allow. A video
    of at most as many frames as the clip gives each once, and some again."""
    if n <= frames:
        return np.sort(np.concatenate([
            np.arange(n), np.random.randint(n, size=frames - n)]))
    ends = [part * n // frames for part in range(frames + 1)]
    return np.array([start + np.random.randint(end - start)
                     for start, end in zip(ends, ends[1:])])


def actionclip_placed(n: int, frames: int, place: float) -> np.ndarray:
    """The frame at this place of each part; of a video of at most as many frames as the
    clip the first of each part."""
    if frames == 1:
        return np.array([int(n * place)])
    if n <= frames:
        return np.arange(frames) * n // frames
    return (np.arange(frames) * n / frames + (n / frames - 1) * place).astype(int)


# How one frame of each part is drawn, and how it is taken from a place in the part.
RULES: dict[str, tuple[Callable[[int, int], np.ndarray],
                       Callable[[int, int, float], np.ndarray]]] = dict(
    xclip=(xclip_drawn, xclip_placed), actionclip=(actionclip_drawn, actionclip_placed))


@TRANSFORMS.register_module()
class SegmentSample(BaseTransform):
    """One frame of each of ``clip_len`` equal parts of a video: a clip.

    At random in training, the middle of each part in evaluation. Several clips of a video
    are drawn as in training, or ``even``: each part is divided into as many, and the
    middles are dealt out, so that all clips together are of num_clips * clip_len equal
    parts.

    Args:
        clip_len: frames of a clip.
        rule: whose parts and rounding: ``xclip``, of X-CLIP's and ViFi-CLIP's code
            (``SampleFrames`` of MMAction2 with as many clips of one frame), or
            ``actionclip``.
        num_clips: clips of a video.
        clips: how several are taken in evaluation, ``drawn`` or ``even``.
        test_mode: whether this is an evaluation.
    """

    def __init__(self, clip_len: int, rule: str = 'xclip', num_clips: int = 1,
                 clips: str = 'even', test_mode: bool = False) -> None:
        if rule not in RULES:
            raise UserError(f'SegmentSample: rule is one of {", ".join(RULES)}, '
                            f'not {rule!r}')
        check_clips(clips, type(self).__name__)
        self.clip_len = clip_len
        self.rule = rule
        self.num_clips = num_clips
        self.clips = clips
        self.test_mode = test_mode

    def transform(self, results: dict) -> dict:
        n, frames, count = results['total_frames'], self.clip_len, self.num_clips
        draw, place = RULES[self.rule]
        if not self.test_mode or count > 1 and self.clips == 'drawn':
            found = [draw(n, frames) for _ in range(count)]
        else:
            found = [place(n, frames, (2 * clip + 1) / (2 * count))
                     for clip in range(count)]
        return with_frames(results, found)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(clip_len={self.clip_len}, rule={self.rule!r}, '
                f'num_clips={self.num_clips}, clips={self.clips!r}, '
                f'test_mode={self.test_mode})')


@TRANSFORMS.register_module()
class RandomStrideSample(BaseTransform):
    """Frames at a stride that is drawn for each clip, from a place that is drawn.

    Of A5 and A6 (Ju et al.), whose code does so in evaluation, too: there ``clips`` may
    be ``even`` instead, clips evenly spread at the likeliest stride or, in a shorter
    video, the largest that fits. A video of at most ``clip_len`` frames gives all and is
    continued by its last.

    Args:
        clip_len: frames of a clip.
        strides: one of these is drawn, each as likely as the others.
        num_clips: clips of a video.
        clips: how they are taken in evaluation, ``drawn`` or ``even``.
        test_mode: whether this is an evaluation.
    """

    def __init__(self, clip_len: int, strides: Sequence[int], num_clips: int = 1,
                 clips: str = 'drawn', test_mode: bool = False) -> None:
        check_clips(clips, type(self).__name__)
        self.clip_len = clip_len
        self.strides = tuple(strides)
        self.num_clips = num_clips
        self.clips = clips
        self.test_mode = test_mode
        self.even = FittingSampleFrames(
            clip_len, frame_interval=statistics.mode(strides), num_clips=num_clips,
            out_of_bound_opt='last_frame', test_mode=True)

    def transform(self, results: dict) -> dict:
        if self.test_mode and self.clips == 'even':
            return self.even.transform(results)
        n = results['total_frames']
        return with_frames(results, [self.draw(n) for _ in range(self.num_clips)])

    def draw(self, n: int) -> np.ndarray:
        frames = self.clip_len
        if n <= frames:
            return np.minimum(np.arange(frames), n - 1)
        stride = random.choice(self.strides)
        # As many frames as the stride leaves, from one of the first to the last: not
        # always at the stride, but evenly rounded down.
        thinned = np.linspace(np.random.randint(stride), n - 1, round(n / stride)
                              ).astype(int)
        if len(thinned) <= frames:
            thinned = np.arange(n)
        start = np.random.randint(len(thinned) - frames)
        return thinned[start:start + frames]

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(clip_len={self.clip_len}, '
                f'strides={self.strides}, num_clips={self.num_clips}, '
                f'clips={self.clips!r}, test_mode={self.test_mode})')


def check_clips(clips: str, name: str) -> None:
    """Raises UserError unless clips can be taken so."""
    if clips not in CLIPS:
        raise UserError(f'{name}: clips is {" or ".join(CLIPS)}, not {clips!r}')


def with_frames(results: dict, clips: list[np.ndarray]) -> dict:
    """A sample with the frames of its clips, each of which is of as many, counted from
    0."""
    frames = np.concatenate(clips) + results['start_index']
    results.update(frame_inds=frames.astype(np.int32), clip_len=len(clips[0]),
                   frame_interval=None, num_clips=len(clips))
    return results
