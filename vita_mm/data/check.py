"""Which videos of a dataset can be read: opens them all before a run has to.

What is found is appended at once to ``ANN.check.jsonl`` beside the annotation file
``ANN``, so that a check that was interrupted goes on where it stopped; the report is
``ANN.check.json``. For a dataset of several annotation files both lie beside the first,
and ANN is their names with ``+`` between. Where that folder cannot be written, both go to
a folder of their own below ``work_dirs/check``.
"""
import contextlib
import hashlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection
from pathlib import Path
from typing import IO, NamedTuple

from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from vita_mm.errors import UserError, printable
from vita_mm.io.files import write_json
from vita_mm.tracking.probes import annotation_files, digest_dataset

from .sampling import FittingSampleFrames

FAULTS = ('missing', 'empty', 'broken', 'hangs', 'crashes')
# -P: else modules of this folder could stand in the way of those that libraries import.
OPEN_VIDEO = (sys.executable, '-P', str(Path(__file__).with_name('open_video.py')))
TIMEOUT = 60  # seconds
RECORD = ('path', 'full', 'lenient', 'size', 'mtime_ns', 'frames')  # of the journal


class Finding(NamedTuple):
    """What became of opening a video: its number of frames, or one of ``FAULTS``."""
    frames: int | None = None
    fault: str | None = None
    reason: str | None = None


class Stamp(NamedTuple):
    """Whether a file has changed."""
    size: int
    mtime_ns: int


def find_datasets(config: Config, parts: list[str]) -> list:
    """The datasets of a config's dataloaders, those of the same annotations once.

    Args:
        parts: of ``train``, ``val`` and ``test``; those that the config does not have
            are passed over.

    Raises:
        UserError: if there are none, or one of them cannot be built.
    """
    init_default_scope(config.get('default_scope') or 'mmaction')
    found = {}
    for part in parts:
        loader = config.get(f'{part}_dataloader')
        if loader:
            dataset = build_dataset(loader.get('dataset'), part)
            found.setdefault(tuple(annotation_files(dataset)), dataset)
    if not found:
        raise UserError(f'{config.filename} has no dataset for {", ".join(parts)}')
    return list(found.values())


def build_dataset(settings: dict, part: str):
    """A dataset of videos, without wrappers such as ``RepeatDataset``.

    Raises:
        UserError: if it cannot be built, or is of something else.
    """
    try:
        dataset = DATASETS.build(settings)
    except (OSError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f'the dataset of {part}_dataloader does not build: {error}'
                        ) from error
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    if not annotation_files(dataset) or not len(dataset) \
            or 'filename' not in dataset.get_data_info(0):
        raise UserError(f'the dataset of {part}_dataloader has no annotation file that '
                        'names videos, so that there is nothing to open')
    return dataset


def check_dataset(dataset, full: bool = False, workers: int | None = None,
                  timeout: float = TIMEOUT,
                  command: tuple[str, ...] = OPEN_VIDEO, lenient: bool = False,
                  out: str | None = None) -> dict:
    """Open all videos of a dataset; those found readable by an earlier call are not.

    Args:
        full: decode all frames rather than the first, middle and last.
        workers: how many processes; None: as many as cores.
        timeout: seconds after which a video counts as one that hangs its decoder.
        command: runs a process that opens videos, see ``open_video.py``.
        lenient: take a damaged video that the decoder can conceal the damage of.
        out: the folder of journal and report, see :func:`find_place`.

    Returns:
        The report, which is also written to its ``file``, ``ANN.check.json``.

    Raises:
        UserError: if that or the journal cannot be written, or the command fails.
    """
    place = find_place(annotation_files(dataset), out)
    # A single annotation file may name a video twice.
    videos = list(dict.fromkeys(
        dataset.get_data_info(index)['filename'] for index in range(len(dataset))))
    # On a network file system each look is a round trip; take many at a time.
    with ThreadPoolExecutor(16) as pool:
        stamps = dict(zip(videos, pool.map(look_at, videos)))
    with contextlib.closing(Journal(f'{place}.check.jsonl')) as journal:
        findings = known_findings(stamps, journal.read(), full, lenient)
        rest = [video for video in videos if video not in findings]
        results = open_videos(rest, full, workers or os.cpu_count() or 1, timeout,
                              command, lenient)
        # Closed at once when Ctrl-C comes, else the processes would go on.
        with contextlib.closing(results), \
                show_progress(printable(os.path.basename(place)), len(videos)) as advance:
            advance(len(findings))
            for video, finding in results:
                stamp = stamps[video]
                assert stamp is not None  # of the missing, that is known without opening
                journal.append(video, stamp, full, lenient, finding)
                findings[video] = finding
                advance(1)
    report = make_report(dataset, {video: findings[video] for video in videos}, full,
                         lenient, f'{place}.check.json')
    write_report(report)
    return report


def find_place(files: list[str], out: str | None = None) -> str:
    """Where journal and report go, without their suffixes.

    Args:
        files: the annotation files.
        out: a folder; by default that of the first annotation file or, where it cannot
            be written, one below ``work_dirs/check`` that is named after them.

    Raises:
        UserError: if none of these can be written.
    """
    names = '+'.join(os.path.basename(file) for file in files)
    if out is not None:
        places = [os.path.join(out, names)]
    else:
        whole = '\n'.join(map(os.path.abspath, files))
        own = f'{names}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}'
        places = [os.path.join(os.path.dirname(files[0]), names),
                  os.path.join('work_dirs', 'check', own, names)]
    for place in places:
        try:
            probe(place)
        except OSError as error:
            fault = error
        else:
            if place != places[0]:
                folder = os.path.dirname(places[0]) or '.'
                print(printable(f'{folder} cannot be written: the report goes to '
                                f'{os.path.dirname(place)}'), flush=True)
            return place
    raise UserError(f'cannot write the report {place}.check.json: {fault.strerror}; name '
                    'another folder (--out DIR)')


def probe(place: str) -> None:
    """Raises OSError unless the journal and the report can be written there."""
    os.makedirs(os.path.dirname(place) or '.', exist_ok=True)
    with open(f'{place}.check.jsonl', 'ab'), open(f'{place}.check.json.part', 'ab'):
        pass
    os.remove(f'{place}.check.json.part')


def look_at(video: str) -> Stamp | None:
    """None if the file is missing."""
    try:
        status = os.stat(video)
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


def known_findings(stamps: dict[str, Stamp | None], records: dict[str, dict], full: bool,
                   lenient: bool) -> dict[str, Finding]:
    """What is known of videos without opening them.

    Those that had a fault are not among them: it may have been the disk's or the
    machine's. Nor are those of which not all frames were decoded, if they should be, or
    which were not opened with the same leniency.

    Args:
        records: of earlier checks, see :meth:`Journal.read`.
    """
    known = {}
    for video, stamp in stamps.items():
        record = records.get(video, {})
        if stamp is None:
            known[video] = Finding(fault='missing', reason='there is no such file')
        elif stamp.size == 0:
            known[video] = Finding(fault='empty', reason='the file has no bytes')
        elif record.get('frames') and (record['full'] or not full) \
                and record['lenient'] == lenient and stamp == (
                    record['size'], record['mtime_ns']):
            known[video] = Finding(record['frames'])
    return known


class Journal:
    """What opening videos showed, one line of JSON each, only ever appended to.

    Raises:
        UserError: if the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with writing(path):
            self._file = open(path, 'ab+', buffering=0)

    def close(self) -> None:
        self._file.close()

    def read(self) -> dict[str, dict]:
        """The last record of each video; also ends a torn last line."""
        self._file.seek(0)
        content = self._file.read()
        if content and not content.endswith(b'\n'):
            with writing(self.path):
                self._file.write(b'\n')  # else the next record would be lost too
        records = {}
        for line in content.split(b'\n'):
            # A torn line, or one that is not ours: the video is opened again.
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                record = json.loads(line)
                whole = {key: record[key] for key in RECORD}
                records[whole['path']] = whole
        return records

    def append(self, video: str, stamp: Stamp, full: bool, lenient: bool,
               finding: Finding) -> None:
        """Raises UserError if the disk is full."""
        record = dict(path=video, full=full, lenient=lenient, **stamp._asdict(),
                      **finding._asdict())
        with writing(self.path):
            self._file.write(json.dumps(record).encode() + b'\n')


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f'cannot write {path}: {error.strerror}') from error


def write_report(report: dict) -> None:
    with writing(report['file']):
        write_json(Path(report['file']), report)


@contextlib.contextmanager
def show_progress(name: str, total: int) -> Iterator:
    """Gives a function that is told of videos which are done, by their number."""
    columns = (TextColumn('{task.description}', markup=False), BarColumn(),
               MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(name, total=total)
        yield lambda count: progress.advance(task, count)


def make_report(dataset, findings: dict[str, Finding], full: bool, lenient: bool,
                file: str) -> dict:
    """The content of ``ANN.check.json``.

    Args:
        findings: of all videos, in the order of the dataset.
        file: where it goes.
    """
    span = clip_span(dataset)
    faults = [dict(path=video, fault=finding.fault, reason=finding.reason)
              for video, finding in findings.items() if finding.fault]
    short = [video for video, finding in findings.items()
             if finding.frames is not None and finding.frames < span]
    counts = {name: sum(fault['fault'] == name for fault in faults) for name in FAULTS}
    return dict(
        file=file, annotations=annotation_files(dataset), digest=digest_dataset(dataset),
        videos=len(findings), readable=len(findings) - len(faults), **counts,
        short=len(short), full=full, lenient=lenient, faults=faults, short_videos=short)


def clip_span(dataset) -> int:
    """Frames a video needs for its clip not to repeat any; 1 if there is no clip."""
    for transform in dataset.pipeline.transforms:
        if hasattr(transform, 'clip_len'):
            # A stride that is fitted to the video may be 1, and those that take a frame
            # of each part of it, or draw their stride, have none.
            interval = (1 if isinstance(transform, FittingSampleFrames)
                        else getattr(transform, 'frame_interval', 1))
            return (transform.clip_len - 1) * interval + 1
    return 1


def open_videos(videos: list[str], full: bool, workers: int, timeout: float,
                command: tuple[str, ...], lenient: bool = False
                ) -> Generator[tuple[str, Finding], None, None]:
    """Open videos in parallel; yields each with its finding, in the order they finish.

    Arguments and errors are those of :func:`check_dataset`.
    """
    waiting = deque(videos)
    openers = [Opener(command, timeout, full, lenient)
               for _ in range(min(workers, len(videos)))]
    try:
        for opener in openers:  # first all of them, for each takes a moment to start
            opener.start()
        for opener in openers:
            opener.give(waiting.popleft())
        while openers:
            for opener in wait_for_some(openers):
                yield opener.video, opener.finding()
                if waiting:
                    opener.give(waiting.popleft())
                else:
                    opener.stop()
                    openers.remove(opener)
    finally:
        for opener in openers:
            opener.stop()


def wait_for_some(openers: list['Opener']) -> list['Opener']:
    """Those that have an answer, have died, or are late."""
    left = min(opener.deadline for opener in openers) - time.monotonic()
    ready = connection.wait([opener.fileno() for opener in openers], max(left, 0))
    now = time.monotonic()
    return [opener for opener in openers
            if opener.fileno() in ready or opener.deadline <= now]


class Opener:
    """A process that opens videos one after the other; a new one where it dies.

    Args:
        command: what to run, see ``open_video.py``.
        timeout: seconds for each video.
        full, lenient: see :func:`check_dataset`.
    """

    def __init__(self, command: tuple[str, ...], timeout: float, full: bool,
                 lenient: bool) -> None:
        self.command = command
        self.timeout = timeout
        self.how = dict(full=full) | (dict(strict=False) if lenient else {})
        self.video = ''
        self.deadline = math.inf  # until it has a video
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def fileno(self) -> int:
        """Of the pipe of its answers."""
        return self._answers.fileno()

    def start(self) -> None:
        self._ready = False
        # In a group of its own, because Ctrl-C is for the main process alone.
        self._process = process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            process_group=0)
        assert process.stdin is not None and process.stdout is not None  # they are pipes
        self._requests: IO[bytes] = process.stdin
        self._answers: IO[bytes] = process.stdout

    def give(self, video: str) -> None:
        """Have it open a video.

        Raises:
            UserError: if the process does not start.
        """
        if self._process is None:
            self.start()
        if not self._ready:  # the time to start is not the video's
            self._ready = bool(self._answers.readline())
        if not self._ready:
            raise UserError('the process that opens videos does not start; to see why, '
                            f'run: {shlex.join(self.command)}')
        self.video, self.deadline = video, time.monotonic() + self.timeout
        request = json.dumps(dict(path=video, **self.how))
        with contextlib.suppress(BrokenPipeError):  # it has died: finding() will say so
            self._requests.write(request.encode() + b'\n')

    def finding(self) -> Finding:
        """What became of its video; if there is no answer yet, there will be none."""
        if not connection.wait([self.fileno()], 0):
            self.stop()
            return Finding(fault='hangs', reason=f'no end after {self.timeout:g} s')
        line = self._answers.readline()
        if line.endswith(b'\n'):
            return Finding(**json.loads(line))
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)  # it is ending by itself: how, is the reason
        return Finding(fault='crashes', reason=describe_exit(self.stop()))

    def stop(self) -> int | None:
        """Kill the process, if there is one; returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        self._requests.close()
        self._answers.close()
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:  # it waits for a network disk that is away
            return None


def describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f'the decoder died of {signal.Signals(-code).name}'
    return f'the decoder ended with exit code {code}'
