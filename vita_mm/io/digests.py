"""Digests of files by what they hold, each read once for as long as it stays as it is.

What was read is remembered in ``digests.sqlite`` under ``VITA_MM_CACHE`` (by default
``~/.cache/vita_mm``), by path, size, inode and the times of the last changes. Whoever
knows that the videos have not changed spares even the first reading with
``VITA_MM_TRUST_DATA=1``: datasets are then told apart by the sizes and times of their
files, see :func:`digest_dataset`.
"""
import contextlib
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from mmengine.dist import is_main_process
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

TRUST = 'VITA_MM_TRUST_DATA'
TRUSTED = 'trusted:'  # before a digest of sizes and times
THREADS = 16  # a network file system answers many at a time
MOMENT = 200_000_000  # bytes that are read without a bar
FRESH = 2_000_000_000  # nanoseconds within which a second change may have the same time


def cache_folder() -> Path:
    """Where what can be had again is kept; it may not be there yet."""
    return Path(os.environ.get('VITA_MM_CACHE') or '~/.cache/vita_mm').expanduser()


def trusts_data() -> bool:
    """Whether the environment says that videos need not be read."""
    return os.environ.get(TRUST, '0') not in ('', '0')


def digest_dataset(dataset, trust: bool | None = None) -> str:
    """SHA-256 over the annotation files and the videos of a dataset, in their order.

    Args:
        dataset: of MMEngine, wrapped or not.
        trust: see :func:`digests_of`.
    """
    return digests_of(dataset, trust)[0]


def digests_of(dataset, trust: bool | None = None) -> tuple[str, str]:
    """Two digests of a dataset: by the contents of its videos, and by their looks.

    Args:
        dataset: of MMEngine, wrapped or not.
        trust: do not read the videos: sizes and times of change, of which the second
            digest is, stand for the first as well. None: as ``VITA_MM_TRUST_DATA`` says.

    Returns:
        The second, and where videos are trusted the first, begins with ``trusted:``.
    """
    lists, videos = [], []
    for part in parts_of(dataset):
        lists += annotation_files(part)
        videos += [part.get_data_info(index).get('filename')
                   for index in range(len(part))]
    videos = [os.fspath(video) for video in videos if video]
    seen = look_at(videos)
    looks = {path: f'{status.st_size} {status.st_mtime_ns}'
             for path, status in seen.items()}
    trusted = TRUSTED + digest_of(lists, videos, looks)
    if trusts_data() if trust is None else trust:
        return trusted, trusted
    return digest_of(lists, videos, digest_seen(seen)), trusted


def digest_of(lists: list[str], videos: list[str], found: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for file in lists:
        digest.update(Path(file).read_bytes())
    for video in videos:
        digest.update(f'{found.get(video, "missing")}\n'.encode())
    return digest.hexdigest()


def parts_of(dataset) -> Iterator:
    """The datasets within wrappers such as ``RepeatDataset`` and ``ConcatDataset``."""
    if hasattr(dataset, 'dataset'):
        yield from parts_of(dataset.dataset)
    elif hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from parts_of(part)
    else:
        yield dataset


def annotation_files(dataset) -> list[str]:
    """The one annotation file of most datasets, or the several of ``ClipDataset``."""
    files = getattr(dataset, 'ann_files', None) or [getattr(dataset, 'ann_file', None)]
    return [str(file) for file in files if file]


def digest_file(path: str | Path) -> str:
    """SHA-256 of a file, which is read whatever is remembered of it."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def digest_files(paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files, of which those are read that have changed since the last time.

    What is to be read is shown as a bar if that takes more than a moment. Missing and
    unreadable files are left out.
    """
    return digest_seen(look_at(paths))


def digest_seen(seen: dict[str, os.stat_result]) -> dict[str, str]:
    """:func:`digest_files` of files that were looked at."""
    found, unread = {}, {}
    with contextlib.closing(Memory()) as memory:
        for path, status in seen.items():
            digest = memory.recall(path, version_of(status))
            if digest is None:
                unread[path] = status.st_size
            else:
                found[path] = digest
        columns = (TextColumn('{task.description}', markup=False), BarColumn(),
                   DownloadColumn(), TimeRemainingColumn())
        size = sum(unread.values())
        with ThreadPoolExecutor(THREADS) as pool, \
                Progress(*columns, disable=size < MOMENT or not is_main_process()
                         ) as progress:
            task = progress.add_task('digests of the videos', total=size)
            jobs = {pool.submit(read_version, path): path for path in unread}
            try:
                for job in as_completed(jobs):
                    path = jobs[job]
                    progress.advance(task, unread[path])
                    digest, version = job.result()
                    if digest is not None:
                        found[path] = digest
                        if version is not None:
                            memory.keep(path, version, digest)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return found


def look_at(paths: Iterable[str]) -> dict[str, os.stat_result]:
    """The status of those paths that are files."""
    paths = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(paths, pool.map(status_of, paths)))
    return {path: status for path, status in found.items() if status is not None}


def status_of(path: str) -> os.stat_result | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # there is none, or it is no path at all
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def version_of(status: os.stat_result) -> str:
    """What changes with a file. A tool may set ``mtime`` back, but not ``ctime``."""
    return (f'{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} '
            f'{status.st_ino}')


def read_version(path: str) -> tuple[str | None, str | None]:
    """Digest of a file, and the version that it is of if that can be remembered.

    A file that was changed while it was read, or so lately that the next change might
    have the same time, is read again the next time.
    """
    try:
        with open(path, 'rb') as file:
            before, now = os.fstat(file.fileno()), time.time_ns()
            digest = hashlib.file_digest(file, 'sha256').hexdigest()
            after = os.fstat(file.fileno())
    except OSError:
        return None, None
    settled = max(before.st_mtime_ns, before.st_ctime_ns) < now - FRESH
    version = version_of(before)
    return digest, version if settled and version == version_of(after) else None


class Memory:
    """Digests of versions of files, on disk, for all processes of a user.

    It is a convenience: where it cannot be read or written, nothing is remembered.
    """

    def __init__(self) -> None:
        folder = cache_folder()
        self._fresh, self._saved, self._base = [], time.monotonic(), None
        file = folder / 'digests.sqlite'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(file, timeout=5)
            self._base.execute('CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, '
                               'version TEXT, digest TEXT) WITHOUT ROWID')
        except (OSError, sqlite3.OperationalError):
            self.close()
        except sqlite3.Error:  # it is damaged: the next call makes it anew
            self.close()
            with contextlib.suppress(OSError):
                file.unlink()

    def recall(self, path: str, version: str) -> str | None:
        try:
            row = self._base and self._base.execute(
                'SELECT digest FROM files WHERE path = ? AND version = ?',
                (os.fsencode(os.path.abspath(path)), version)).fetchone()
        except sqlite3.Error:
            return None
        return row[0] if row else None

    def keep(self, path: str, version: str, digest: str) -> None:
        self._fresh.append((os.fsencode(os.path.abspath(path)), version, digest))
        if time.monotonic() - self._saved > 1:  # not lost if it is interrupted
            self._save()

    def _save(self) -> None:
        """Write all at once: the base is locked for that moment only."""
        self._saved = time.monotonic()
        if self._base is None or not self._fresh:
            return
        with contextlib.suppress(sqlite3.Error), self._base:
            self._base.executemany('REPLACE INTO files VALUES (?, ?, ?)', self._fresh)
            self._fresh = []

    def close(self) -> None:
        self._save()
        if self._base is not None:
            self._base.close()
            self._base = None
