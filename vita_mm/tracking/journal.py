"""The journal of a run: everything MLflow shall know, on disk before it is sent.

A run has a folder of its own, ``<work_dir>/mlflow/<time>_<kind>_<id>/``:

- ``journal.jsonl``: the records, one a line, only ever appended to. The first is the
  header (``kind='run'``);
- ``sent.json``: how many of its bytes have arrived, and the id of the MLflow run;
- ``files/``: images, named by their records;
- ``lock``: held by the process that writes or sends this journal. The operating system
  frees it when the process ends in any way, so an unfinished journal whose lock is free
  belongs to a run that was killed.
"""
import errno
import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from mmengine.logging import print_log

RUNNING = 'RUNNING'


def now() -> int:
    """Milliseconds since the epoch, as MLflow counts time."""
    return int(time.time() * 1000)


class Journal:
    """The records of one run.

    Args:
        folder: the folder of the run, see :meth:`create` for a new one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / 'journal.jsonl'
        self._lock = self._file = None
        self._warned = False
        self._writing = threading.Lock()

    @classmethod
    def create(cls, root: Path, kind: str, **header) -> 'Journal':
        """Begin a journal under ``root`` and hold it.

        Args:
            root: ``<work_dir>/mlflow``.
            kind: what runs: ``train``, ``val``, ``test`` or ``run``.
            header: the fields ``experiment``, ``run_name``, ``run_id``, ``parent`` and
                ``uri``.
        """
        name = uuid.uuid4().hex
        stamp = time.strftime('%Y%m%d_%H%M%S')
        journal = cls(Path(root) / f'{stamp}_{kind}_{name[:8]}')
        journal.folder.mkdir(parents=True)
        journal.acquire()
        journal.write('run', id=name, what=kind, time=now(), **header)
        return journal

    @property
    def header(self) -> dict:
        """The first record; empty if its process died before writing it."""
        return next(self.read(), ({}, 0))[0]

    def acquire(self) -> bool:
        """Hold the journal; False if another process does, or it is another user's."""
        try:
            lock = open(self.folder / 'lock', 'w')
        except OSError:
            return False
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # A file system without locks answers with other errors: go on without.
            if error.errno in (errno.EACCES, errno.EAGAIN):
                lock.close()
                return False
        self._lock = lock
        return True

    def release(self) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                file.close()
        self._file = self._lock = None

    def write(self, kind: str, **fields) -> None:
        """Append a record. A full disk is said once and does not stop the caller."""
        line = json.dumps(dict(kind=kind, **fields)).encode() + b'\n'
        try:
            with self._writing:
                if self._file is None:
                    self._file = open(self.path, 'ab', buffering=0)
                    self._drop_torn_line()
                self._file.write(line)
        except OSError as error:
            if not self._warned:
                print_log(f'cannot write {self.path}, so MLflow misses records: '
                          f'{error}', 'current', logging.ERROR)
            self._warned = True

    def _drop_torn_line(self) -> None:
        """What is after the last newline was being written when its process died."""
        content = self.path.read_bytes()
        self._file.truncate(content.rfind(b'\n') + 1)

    def read(self, offset: int = 0) -> Iterator[tuple[dict, int]]:
        """Records from a byte offset on, each with the offset behind it."""
        if not self.path.exists():
            return
        with open(self.path, 'rb') as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b'\n'):  # torn, or still being written
                    return
                offset += len(line)
                try:
                    record = json.loads(line)
                except ValueError:  # a full disk tore it in the middle
                    continue
                yield record, offset

    def last_steps(self) -> dict[str, int]:
        """For each metric the greatest step in the journal."""
        steps = {}
        for record, _ in self.read():
            if record['kind'] == 'metrics':
                for key in record['values']:
                    steps[key] = max(record['step'], steps.get(key, record['step']))
        return steps

    def close_stale(self) -> None:
        """Note that the process of an unfinished run is gone."""
        status, moment = RUNNING, None
        for record, _ in self.read():
            status = record.get('status', status)
            moment = record.get('time', moment)
        if status == RUNNING:
            self.write('status', status='KILLED', time=moment)

    def sent(self) -> dict:
        """``run_id`` and ``bytes``: where and how far the journal has been sent."""
        try:
            return json.loads((self.folder / 'sent.json').read_text())
        except (OSError, ValueError):
            return dict(run_id=None, bytes=0)

    def note_sent(self, run_id: str, offset: int) -> None:
        part = self.folder / 'sent.json.part'
        part.write_text(json.dumps(dict(run_id=run_id, bytes=offset)))
        os.replace(part, self.folder / 'sent.json')

    def is_sent(self) -> bool:
        return next(self.read(self.sent()['bytes']), None) is None

    def count_unsent(self) -> int:
        return sum(1 for _ in self.read(self.sent()['bytes']))


def find_journals(work_dir) -> list[Journal]:
    """The journals of a work dir, oldest first."""
    folders = sorted(Path(work_dir, 'mlflow').glob('*/'))
    journals = [Journal(folder) for folder in folders]
    return sorted((journal for journal in journals if journal.header),
                  key=lambda journal: journal.header['time'])
