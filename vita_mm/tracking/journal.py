"""The journal of a run: everything MLflow shall know, on disk before it is sent.

A run has a folder of its own, ``<work_dir>/mlflow/<time>_<kind>_<id>/``:

- ``journal.jsonl``: the records, one a line, only ever appended to, see
  :mod:`vita_mm.tracking.records`. The first is the header (``kind='run'``);
- ``sent.json``: how many of its bytes have been dealt with, the offsets of the records
  among them that wait for the artifact store, and the id of the MLflow run;
- ``files/``: images and other files, named by their records;
- ``lock``: held by the process that writes or sends this journal. The operating system
  frees it when the process ends in any way, so an unfinished journal whose lock is free
  belongs to a run that was killed.

A journal may have come from elsewhere: links and pipes in its place are not followed.
"""
import errno
import fcntl
import json
import logging
import os
import stat
import threading
import time
import uuid
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mmengine.logging import print_log

from vita_mm.io.files import replacing

from .records import check_record, check_sent
from .values import one_line

RUNNING = 'RUNNING'
LINE_LENGTH = 16 * 2 ** 20  # bytes; no record of ours comes near
MOST_WARNINGS = 20  # of bad lines of a journal
TIMED = ('run', 'status', 'metrics')
# A lock is of a process: to open and close the file again would free it.
_HELD: 'weakref.WeakSet[Journal]' = weakref.WeakSet()
_HOLDING = threading.Lock()


def now() -> int:
    """Milliseconds since the epoch, as MLflow counts time."""
    return int(time.time() * 1000)


class FileRefused(Exception):
    """There is no file for a record, or it is not one of the journal's own."""


class Journal:
    """The records of one run.

    Args:
        folder: the folder of the run, see :meth:`create` for a new one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / 'journal.jsonl'
        self.is_locked = False
        self._lock: IO[bytes] | None = None
        self._file: IO[bytes] | None = None
        self._unwritten = b''
        self._warned = False
        self._skipped = set()
        self._header = {}
        self._writing = threading.Lock()

    @classmethod
    def create(cls, root: Path, kind: str, **header) -> 'Journal':
        """Begin a journal under ``root`` and hold it.

        Args:
            root: ``<work_dir>/mlflow``.
            kind: what runs: ``train``, ``val``, ``test`` or ``run``.
            header: the fields ``experiment``, ``run_name``, ``run_id``, ``parent`` and
                ``uri``; ``experiment_id`` and ``number``, by which the journals of a
                work dir are ordered, may be left out.
        """
        name = uuid.uuid4().hex
        stamp = time.strftime('%Y%m%d_%H%M%S')
        journal = cls(Path(root) / f'{stamp}_{kind}_{name[:8]}')
        journal.folder.mkdir(parents=True)
        journal.acquire()
        record = dict(id=name, what=kind, time=now(), **header)
        journal.write('run', **record)
        journal._header = check_record(dict(record, kind='run'))  # a disk may be full
        return journal

    @property
    def header(self) -> dict:
        """The first record; empty if it is none, as where its process died before it
        was written."""
        if not self._header:
            first = next(self.read(), ({}, 0))[0]
            self._header = first if first.get('kind') == 'run' else {}
        return self._header

    def is_headless(self) -> bool:
        """Whether there are lines, but no header that says where they belong."""
        return not self.header and next(self._lines(0), None) is not None

    def acquire(self) -> bool:
        """Hold the journal; False if another does, or it is another user's.

        On a file system without locks nobody can know: ``is_locked`` is False then.
        """
        with _HOLDING:
            if self._lock is not None:
                return True
            place = self.folder.resolve()
            if any(other.folder.resolve() == place for other in list(_HELD)):
                return False
            try:
                lock = open_plain(self.folder / 'lock', os.O_RDWR | os.O_CREAT)
            except OSError:
                return False
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                # A file system without locks answers with other errors: go on without.
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    lock.close()
                    return False
            else:
                self.is_locked = True
            self._lock = lock
            _HELD.add(self)
            return True

    def release(self) -> None:
        with self._writing:
            self._flush()
            if self._unwritten:
                print_log(f'the last {len(self._unwritten)} bytes of {self.path} could '
                          'not be written and are lost', 'current', logging.ERROR)
            self._unwritten = b''
            if self._file is not None:
                self._file.close()
            self._file = None
        with _HOLDING:
            _HELD.discard(self)
            if self._lock is not None:
                self._lock.close()
            self._lock = None
            self.is_locked = False

    def write(self, kind: str, **fields) -> None:
        """Append a record. A full disk is said once and does not stop the caller: what
        has no room waits in memory and is written when there is some again."""
        line = json.dumps(dict(kind=kind, **fields)).encode() + b'\n'
        with self._writing:
            self._unwritten += line
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unwritten:
                if self._file is None:
                    self._file = open_plain(
                        self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
                    self._drop_torn_line(self._file)
                # On a nearly full disk a part of it is written.
                count = self._file.write(self._unwritten)
                self._unwritten = self._unwritten[count:]
        except OSError as error:
            if not self._warned:
                print_log(f'cannot write {self.path}; records for MLflow are kept in '
                          f'memory until there is room: {error}', 'current',
                          logging.ERROR)
            self._warned = True

    def _drop_torn_line(self, journal: IO[bytes]) -> None:
        """What is after the last newline was being written when its process died."""
        end = 0
        with open_plain(self.path, os.O_RDONLY) as file:
            while part := file.read(LINE_LENGTH):
                if b'\n' in part:
                    end = file.tell() - len(part) + part.rfind(b'\n') + 1
        journal.truncate(end)

    def read(self, offset: int = 0) -> Iterator[tuple[dict, int]]:
        """Records from the start of a line on, each with the offset behind it.

        A line that is none is skipped, and named once.
        """
        start = offset
        for line, end in self._lines(offset):
            try:
                if not line.endswith(b'\n'):
                    raise ValueError(f'it is longer than {LINE_LENGTH} bytes')
                yield check_record(json.loads(line)), end
            except (ValueError, RecursionError) as error:
                self._skip(start, error)
            start = end

    def _lines(self, offset: int) -> Iterator[tuple[bytes, int]]:
        """Lines and the offsets behind them; the newline of one too long is missing."""
        try:
            file = open_plain(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return
        except OSError as error:
            self._skip(0, error)
            return
        with file:
            file.seek(offset)
            while line := file.readline(LINE_LENGTH):
                rest = line
                offset += len(rest)
                while len(rest) == LINE_LENGTH and not rest.endswith(b'\n'):
                    rest = file.readline(LINE_LENGTH)
                    offset += len(rest)
                if not rest.endswith(b'\n'):  # torn, or still being written
                    return
                yield line, offset

    def _skip(self, start: int, error: Exception) -> None:
        if start in self._skipped or len(self._skipped) >= MOST_WARNINGS:
            return
        self._skipped.add(start)
        number = sum(end <= start for _, end in self._lines(0)) + 1 if start else 1
        more = ('; further bad lines are not named'
                if len(self._skipped) == MOST_WARNINGS else '')
        print_log(f'line {number} of {self.path} is skipped: {one_line(error)}{more}',
                  'current', logging.WARNING)

    def last_steps(self) -> dict[str, int]:
        """For each metric the greatest step in the journal."""
        steps = {}
        for record, _ in self.read():
            if record['kind'] == 'metrics':
                for key in record['values']:
                    steps[key] = max(record['step'], steps.get(key, record['step']))
        return steps

    def last_state(self) -> tuple[str | None, int | None]:
        """The last status, and the time of the last record that has one."""
        status = moment = None
        for record, _ in self.read():
            if record['kind'] == 'status':
                status = record['status']
            if record['kind'] in TIMED:
                moment = record['time']
        return status, moment

    def close_stale(self) -> None:
        """Note that the process of an unfinished run is gone."""
        status, moment = self.last_state()
        if status in (None, RUNNING):
            self.write('status', status='KILLED', time=moment or now())

    def sent(self) -> dict:
        """``run_id``, ``bytes`` and ``waiting``: to which run and how far the journal
        has been sent, and the starts of the records before that which are still to be.

        If that is unknown the whole journal is to be sent again, which changes nothing.
        """
        try:
            with open_plain(self.folder / 'sent.json', os.O_RDONLY) as file:
                sent = check_sent(json.load(file))
            ends = [sent['bytes'], *sent['waiting']]
            with open_plain(self.path, os.O_RDONLY) as file:
                for end in filter(None, ends):
                    file.seek(end - 1)
                    if end > sent['bytes'] or file.read(1) != b'\n':
                        raise ValueError('it fits another journal')
            return sent
        except (OSError, ValueError, RecursionError):
            return dict(run_id=None, bytes=0, waiting=[])

    def note_sent(self, run_id: str | None, offset: int, waiting: Sequence[int] = ()
                  ) -> None:
        content = dict(run_id=run_id, bytes=offset, waiting=list(waiting))
        # Were it lost with the power, all would be sent again, which changes nothing.
        with replacing(self.folder / 'sent.json') as part:
            part.write_text(json.dumps(content))

    def is_sent(self) -> bool:
        sent = self.sent()
        return not sent['waiting'] and next(self.read(sent['bytes']), None) is None

    def count_unsent(self) -> int:
        sent = self.sent()
        return len(sent['waiting']) + sum(1 for _ in self.read(sent['bytes']))

    def find_file(self, path: str) -> Path:
        """The file of a record.

        Raises:
            FileRefused: if there is none, or a link leads elsewhere.
        """
        file = self.folder.resolve() / 'files' / path
        if file.resolve() != file:
            raise FileRefused(f'{file} is a link, or below one')
        if not file.is_file():
            raise FileRefused(f'there is no file {file}')
        return file


def open_plain(path: Path, flags: int) -> IO[bytes]:
    """An unbuffered binary file; a link, a pipe or a device is an ``OSError``."""
    number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, 'this is no regular file', str(path))
    if flags & (os.O_WRONLY | os.O_RDWR):
        return os.fdopen(number, 'r+b' if flags & os.O_RDWR else 'wb', buffering=0)
    return os.fdopen(number, 'rb')


def find_folders(work_dir, below: bool = False) -> Iterator[Journal]:
    """What may be journals of a work dir and, if wanted, of all folders below it."""
    roots = [Path(work_dir)]
    if below:
        roots = []
        for folder, names, _ in os.walk(work_dir):
            if 'mlflow' in names:
                roots.append(Path(folder))
                names.remove('mlflow')
    for root in roots:
        for folder in (root / 'mlflow').glob('*/'):
            yield Journal(folder)


def find_journals(work_dir, below: bool = False) -> list[Journal]:
    """The journals of a work dir, oldest first; one without a header is told of.

    Args:
        work_dir: whose ``mlflow`` folder is looked into.
        below: those of all folders below it too.
    """
    journals = []
    for journal in find_folders(work_dir, below):
        if journal.header:
            journals.append(journal)
        elif journal.is_headless():
            print_log(f'{journal.path} has no header that can be read: its records '
                      'cannot be sent', 'current', logging.WARNING)
    return sorted(journals, key=lambda journal: (  # a clock may be set back
        journal.header['number'], journal.header['time']))
