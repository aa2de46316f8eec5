"""Copies of videos with a shorter side of fewer pixels."""
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path, PurePosixPath

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from vita_mm.data.readers import Video, turn_of
from vita_mm.errors import UserError
from vita_mm.io.files import replacing

# Few enough not to fill the memory with jobs, many enough to keep all workers busy.
JOBS_AT_ONCE = 1000
DEFAULT_RATE = 25
COLOURS = 'color_range', 'colorspace', 'color_primaries', 'color_trc'


class BrokenVideo(Exception):
    """Why a video cannot be decoded."""


def copy_path(video: str) -> str:
    """Where the copy of a video lies: the same path, but always an mp4."""
    return str(PurePosixPath(video).with_suffix('.mp4'))


def resize_videos(videos: list[str], root: Path, folder: Path, short_side: int,
                  workers: int, strict: bool = True) -> dict[str, str]:
    """Write the copies that are not there yet.

    Interrupted at any moment, it leaves whole copies and perhaps some ``.part``, which
    the next call overwrites.

    Args:
        videos: paths relative to ``root``.
        root: the dataset's folder.
        folder: where the copies go, see :func:`copy_path`.
        short_side: pixels of the shorter side; a smaller video stays as it is.
        workers: how many processes.
        strict: take what is seen to be damaged for broken; else it is copied as FFmpeg
            shows it.

    Returns:
        Videos that cannot be decoded, which have no copy, with the reasons.

    Raises:
        UserError: if a copy cannot be written.
    """
    # FFmpeg takes what stands before a colon in a relative path for a protocol.
    root, folder = root.absolute(), folder.absolute()
    missing = [video for video in videos if not (folder / copy_path(video)).is_file()]
    for parent in {(folder / video).parent for video in missing}:
        parent.mkdir(parents=True, exist_ok=True)
    jobs = [(root / video, folder / copy_path(video), short_side, strict)
            for video in missing]
    columns = (TextColumn('resizing'), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())
    broken = {}
    # Closed at once when Ctrl-C comes, else the jobs would go on.
    with contextlib.closing(run_jobs(jobs, workers)) as results, \
            Progress(*columns) as progress:
        task = progress.add_task('', total=len(videos),
                                 completed=len(videos) - len(missing))
        for video, reason in zip(missing, results):
            if reason is not None:
                broken[video] = reason
            progress.advance(task)
    return broken


def run_jobs(jobs: list[tuple], workers: int
             ) -> Generator[str | None, None, None]:
    """Results of :func:`resize_video`, in order."""
    if not jobs:
        return
    context = start_server()
    pool = ProcessPoolExecutor(workers, context, begin_worker)
    try:
        for first in range(0, len(jobs), JOBS_AT_ONCE):
            yield from pool.map(resize_video, *zip(*jobs[first:first + JOBS_AT_ONCE]))
    except BrokenProcessPool as error:
        raise UserError('a process that resizes videos was killed, perhaps for want of '
                        'memory: run again with fewer --workers') from error
    finally:
        # After Ctrl-C the workers finish the videos in hand.
        pool.shutdown(cancel_futures=True)


def start_server() -> ForkServerContext:
    """Start the process that workers are forked from.

    It and they are born deaf to Ctrl-C, which is for the main process alone.
    """
    context = multiprocessing.get_context('forkserver')
    forkserver.set_forkserver_preload([__name__])  # else every worker imports it anew
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)
    # Wait for its imports with a process that does nothing: a worker whose parent is
    # interrupted meanwhile would complain.
    idle = context.Process(target=int)
    idle.start()
    idle.join()
    return context


def begin_worker() -> None:
    """End with the main process, even if it is killed."""
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def resize_video(source: Path, target: Path, short_side: int,
                 strict: bool = True) -> str | None:
    """Write one copy; returns why the video is broken, or None.

    The copy is there whole or not at all.

    Raises:
        UserError: if the copy cannot be written.
    """
    try:
        video = open_video(source, strict)
        with replacing(target) as partial:
            write_frames(decode(video), video.stream.average_rate or DEFAULT_RATE,
                         partial, short_side)
    except BrokenVideo as fault:
        return str(fault)
    except (OSError, FFmpegError) as error:
        raise UserError(f'cannot write {target}: {describe(error)}') from error
    return None


def open_video(path: Path, strict: bool) -> Video:
    try:
        return Video(str(path), strict=strict)
    except (OSError, FFmpegError, ValueError) as error:
        raise BrokenVideo(describe(error)) from error


def decode(video: Video) -> Iterator[av.VideoFrame]:
    """All frames; those without a time of their own have ``pts`` None."""
    # An avi has a rate and no times; those that FFmpeg makes up are wrong if some
    # frames are decoded out of order.
    has_times = video.stream.container.format.name != 'avi'
    frames = video.decode()
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            return
        except (OSError, FFmpegError, ValueError) as error:
            raise BrokenVideo(describe(error)) from error
        if not has_times:
            frame.pts = None
        yield frame


def write_frames(frames: Iterator[av.VideoFrame], rate: Fraction | int, path: Path,
                 short_side: int) -> None:
    """Encode every frame once, turned, at its own time after the first."""
    first = next(frames, None)
    if first is None or first.time_base is None:
        raise BrokenVideo('it has no frames')
    size = copy_size(first.width, first.height, short_side)
    shown = scaled_and_turned(first, size)
    width, height = shown.width, shown.height
    with av.open(str(path), 'w', format='mp4') as container:
        # A key frame every 30 frames lets a reader seek without decoding much.
        stream = container.add_stream('libx264', rate=rate, options={
            'preset': 'veryfast', 'crf': '18', 'g': '30'})
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = first.time_base
        for name in COLOURS:  # as they are: without their names they look otherwise
            setattr(stream.codec_context, name, getattr(first, name))
        step = max(1, round(1 / (rate * first.time_base)))
        start, time = first.pts or 0, -step
        for frame in itertools.chain([first], frames):
            given = None if frame.pts is None else frame.pts - start
            # Some files have a frame without a time, or two at the same time.
            time = given if given is not None and given > time else time + step
            copy = scaled_and_turned(frame, size)
            if (copy.width, copy.height) != (width, height):
                raise BrokenVideo('its display matrix changes')
            copy.pts, copy.time_base = time, first.time_base
            copy.pict_type = PictureType.NONE  # else x264 obeys it
            container.mux(stream.encode(copy))
        container.mux(stream.encode())


def scaled_and_turned(frame: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
    """A copy of a width and height, then turned as the container of the frame says.

    The copy's own container need not say anything.
    """
    turn = turn_of(frame)
    # Turned with all of its colours, for those of yuv420p are halved both ways.
    form = 'yuv444p' if turn else 'yuv420p'
    copy = frame.reformat(*size, form, interpolation='BICUBIC', threads=1)
    if turn:
        planes = turn.of(np.moveaxis(copy.to_ndarray(), 0, -1))
        copy = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(np.moveaxis(planes, -1, 0)), 'yuv444p')
        copy = copy.reformat(format='yuv420p', threads=1)
    return copy


def copy_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Even sizes in the same proportion, not larger than they are."""
    shorter = min(width, height)
    side = min(short_side, shorter)
    return (max(2, width * side // shorter // 2 * 2),
            max(2, height * side // shorter // 2 * 2))


def describe(error: Exception) -> str:
    return f'{type(error).__name__}: {getattr(error, "strerror", None) or error}'
