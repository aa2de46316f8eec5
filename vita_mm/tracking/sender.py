"""Sending journals in the background, at the end of a run, and for others."""
import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from mmengine.logging import print_log

from .delivery import FOLDER_TAG, JOURNAL_TAG, Delivery
from .journal import Journal
from .store import ServerAway, default_uri, resolve_uri
from .values import one_line, redact

PATIENCE = 60  # seconds without any record arriving that the end of a run waits
TELL = 5  # seconds between two words on what is left


class Sender(threading.Thread):
    """Sends journals in the background, until :meth:`close`.

    Args:
        current: of the run that goes on in this process.
        older: of earlier runs, sent after it and released.
        interval: seconds between two looks at the journal.
        retry: the same while the server is away, and between two attempts with what
            waits for the artifact store.
    """

    def __init__(self, current: Delivery, older: Iterable[Delivery] = (),
                 interval: float = 2, retry: float = 20) -> None:
        super().__init__(name='mlflow-sender', daemon=True)
        self.current = current
        self.older = list(older)
        for delivery in (current, *self.older):
            delivery.arrived = self._note_progress
        self.interval = interval
        self.retry = retry
        self.away = False
        self.tried = threading.Event()
        self._closing = threading.Event()
        self._last_late = self._progress = time.monotonic()

    def run(self) -> None:
        closing = False
        looked = False
        while not closing:
            closing = self._closing.is_set()  # first: one more look once it is set
            self._attempt(closing)
            self.tried.set()
            if not self.away and not looked:
                looked = True
                close_dead_runs(self.current.client, self.current.uri)
            self._closing.wait(self.retry if self.away else self.interval)

    def _note_progress(self, count: int) -> None:
        self._progress = time.monotonic()

    def _attempt(self, closing: bool) -> None:
        late = closing or time.monotonic() - self._last_late >= self.retry
        if late:
            self._last_late = time.monotonic()
        try:
            self.current.send(late)
            self._send_older(late)
        except ServerAway as error:
            if not self.away:
                print_log(
                    f'MLflow {error.clause}; training goes on, records are kept in '
                    f'{self.current.journal.folder} and are sent when it is back '
                    f'({error.why})', 'current', logging.WARNING)
            self.away = True
        else:
            if self.away:
                print_log(f'MLflow server {redact(self.current.uri)} answers again; '
                          'the records it missed are sent', 'current')
            self.away = False

    def _send_older(self, late: bool) -> None:
        for delivery in list(self.older):
            if late or not delivery.tried:
                delivery.send(late)
                if delivery.journal.is_sent():
                    self.older.remove(delivery)
                    delivery.journal.release()

    def close(self, patience: float = PATIENCE) -> None:
        """Send what is left and release the journals.

        It takes as long as records arrive, and ends when the server is away, or none
        has arrived for ``patience`` seconds. Ctrl-C leaves what is left in the journal.
        """
        self._progress = told = time.monotonic()
        self._closing.set()
        try:
            while self.is_alive() and time.monotonic() - self._progress < patience:
                self.join(min(1, patience))
                if self.is_alive() and time.monotonic() - told >= TELL:
                    told = time.monotonic()
                    print_log(f'{self.current.journal.count_unsent()} records are still '
                              'on their way to MLflow', 'current')
        finally:
            self._tell_unsent()
        if not self.is_alive():
            for delivery in (self.current, *self.older):
                delivery.journal.release()

    def _tell_unsent(self) -> None:
        unsent = self.current.journal.count_unsent()
        if unsent:
            print_log(
                f'{unsent} records in {self.current.journal.folder} have not reached '
                'MLflow; the next run in this work dir sends them, or '
                'tools/mlflow_sync.py', 'current', logging.WARNING)


def sync(journal: Journal, surely: bool = False) -> int | None:
    """Send what is left of a journal of an ended process, and close its run.

    Args:
        surely: close it only if it is certain that its process is gone, which it is
            not on a file system without locks.

    Returns:
        The number of records that arrived; None if a living process writes and sends
        it.

    Raises:
        ServerAway: if the server does not take them.
    """
    if not journal.acquire():
        return None
    try:
        if journal.is_locked or not surely:
            journal.close_stale()
        return Delivery(journal, sync_uri(journal)).send()
    finally:
        journal.release()


def sync_uri(journal: Journal) -> str:
    """``MLFLOW_TRACKING_URI``, else where the run sent to (without its password)."""
    if os.environ.get('MLFLOW_TRACKING_URI'):
        return default_uri()
    return resolve_uri(journal.header['uri'])


def close_dead_runs(client, uri: str) -> None:
    """Close what MLflow takes for running although its process on this machine is gone.

    A process that was killed cannot say so. Its run names the folder of its journal,
    whose lock is free then. What fails is left to the next run.

    Args:
        client: an ``MlflowClient``.
        uri: its address.
    """
    try:
        experiments = [found.experiment_id for found in client.search_experiments()]
        for run in client.search_runs(
                experiments, "attributes.status = 'RUNNING' and "
                             f"tags.`{FOLDER_TAG}` LIKE '/%'"):
            close_if_dead(client, uri, run)
    except Exception as error:  # HTTP and SQL errors of many libraries
        print_log(f'MLflow was not searched for runs that were killed: {one_line(error)}',
                  'current', logging.DEBUG)


def close_if_dead(client, uri: str, run) -> None:
    journal = Journal(Path(run.data.tags[FOLDER_TAG]))
    if not is_own(journal.folder) or not journal.header or (
            journal.header['id'] != run.data.tags.get(JOURNAL_TAG)):
        return
    if not journal.acquire():
        return
    try:
        if not journal.is_locked:
            return
        journal.close_stale()
        if journal.sent()['run_id'] == run.info.run_id and not journal.is_sent():
            Delivery(journal, uri).send()
        else:  # it has gone to another server since
            client.set_terminated(run.info.run_id, *journal.last_state())
    except ServerAway as error:
        print_log(f'run {run.info.run_id} was killed and stays open: {error}', 'current',
                  logging.DEBUG)
    finally:
        journal.release()


def is_own(folder: Path) -> bool:
    """Whether a folder, which a tag names, is there and the user's own."""
    try:
        return folder.stat().st_uid == os.getuid()
    except (OSError, ValueError):
        return False
