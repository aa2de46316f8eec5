"""Sending journals to an MLflow tracking server, now or when it is back.

Every record may be sent twice, after a crash between sending and noting it: MLflow's
SQL store ignores a metric point that it has (same key, step, timestamp and value), and
the other kinds overwrite themselves.

What fails is told apart by a harmless write to the run. If that fails too the server is
away and all waits; if the run was deleted it is restored; else the record alone is at
fault: MLflow refuses it for good, or it waits, as an artifact does whose store is away.
"""
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmengine.logging import print_log

from .journal import RUNNING, FileRefused, Journal
from .records import ARTIFACTS, still_wanted
from .store import ServerAway, away, get_experiment, open_client, restore_experiment
from .values import TAG_LENGTH, cut, one_line, redact

if TYPE_CHECKING:  # it takes seconds
    from mlflow import MlflowClient

BATCH = 1000  # metric points in one request; MLflow's limit
CHUNK = 100  # params or tags in one request; MLflow's limit
WAITING = 'records wait'
JOURNAL_TAG = 'vita_mm.journal'
FOLDER_TAG = 'vita_mm.journal_folder'
PATIENCE = 10  # seconds that failing records of one pass may take the others
MOST_WARNINGS = 20  # of one journal
# One thread at a time looks for a run and creates it, its parent included: those that
# send a run and its parts would each find no parent, and each make one.
CREATING = threading.RLock()


class RunGone(Exception):
    """The run is deleted for good."""


class Entry(NamedTuple):
    """A record and the offset where its line starts."""
    record: dict
    start: int


class Delivery:
    """Sends one journal to one tracking server, in order.

    Args:
        journal: held by this process.
        uri: the tracking URI.
        arrived: called for records that arrived, with their number.
    """

    def __init__(self, journal: Journal, uri: str,
                 arrived: Callable[[int], None] = lambda count: None) -> None:
        self.journal = journal
        self.uri = uri
        self.run_id: str | None = None
        self.arrived = arrived
        self.tried = False
        self.client: MlflowClient | None = None
        self._lost = 0.  # seconds that records took in vain in this pass
        self._told = set()

    def send(self, late: bool = True) -> int:
        """Send what is unsent. Records that fail alone wait for another call.

        Args:
            late: send those too that have waited.

        Returns:
            The number of records that arrived.

        Raises:
            ServerAway: if the server did not take them; the rest stays unsent.
        """
        self.tried = True
        try:
            if self.client is None and self.journal.is_sent():
                return 0
            try:
                return self._send_all(late)
            except RunGone:
                self._forget_run()
                return self._send_all(late)
        except ServerAway:
            raise
        except Exception as error:  # HTTP, SQL and file errors of many libraries
            raise away(self.uri, error) from error

    def _send_all(self, late: bool) -> int:
        self._connect()
        self._lost = 0.
        sent = self.journal.sent()
        before = sent['waiting']
        waiting, count = list(before), 0
        for entries, end in in_batches(self.journal, sent['bytes']):
            unsent = self._deliver(entries)
            waiting += unsent
            self.journal.note_sent(self.run_id, end, waiting)
            count += self._count(len(entries) - len(unsent))
        for start in before if late else ():
            if self._deliver_late(start):
                waiting.append(start)  # at the end: it must not keep the others waiting
            else:
                count += self._count(1)
            waiting.remove(start)
            self.journal.note_sent(self.run_id, self.journal.sent()['bytes'], waiting)
        if not waiting:
            self._told.discard(WAITING)
        return count

    def _count(self, count: int) -> int:
        if count:
            self.arrived(count)
        return count

    def _deliver_late(self, start: int) -> bool:
        """Send a record that has waited; whether it is to wait on."""
        records = (record for record, _ in self.journal.read(start))
        record = next(records, None)
        record = record and still_wanted(record, records)
        return bool(record and self._deliver([Entry(record, start)]))

    def _connect(self) -> None:
        """Find or create the MLflow run."""
        if self.run_id is not None:
            return
        self.client = self.client or open_client(self.uri)
        sent, header = self.journal.sent(), self.journal.header
        for run_id in filter(None, (sent['run_id'], header['run_id'])):
            if self._has_run(run_id):
                self.run_id = run_id
                break
        else:
            # A server that does not know the run yet gets the whole journal.
            self.run_id = self._find_or_create_run(header)
            self.journal.note_sent(self.run_id, 0)
        self._mark_run()

    def _mark_run(self) -> None:
        """Say where its journal is, so that others can close it, see
        :func:`vita_mm.tracking.sender.close_dead_runs`."""
        known = self._server.get_run(self._run).data.tags
        wanted = {JOURNAL_TAG: self.journal.header['id'],
                  FOLDER_TAG: str(self.journal.folder.resolve())}
        # The run of MLFLOW_RUN_ID may hold several journals: the first marks it.
        if known.get(JOURNAL_TAG, wanted[JOURNAL_TAG]) == wanted[JOURNAL_TAG]:
            for key, value in wanted.items():
                if known.get(key) != value:
                    self._server.set_tag(self._run, key, value)

    def _has_run(self, run_id: str) -> bool:
        """Whether there is this run, restored if it was deleted."""
        from mlflow import MlflowException
        try:
            run = self._server.get_run(run_id)
        except MlflowException as error:
            if error.error_code != 'RESOURCE_DOES_NOT_EXIST':
                raise
            self._tell(f'MLflow at {redact(self.uri)} has no run {run_id}; the whole '
                       f'journal {self.journal.folder} goes to one of its own')
            return False
        self._restore(run)
        return True

    def _restore(self, run) -> bool:
        """Bring a deleted run back; whether it was one."""
        if run.info.lifecycle_stage != 'deleted':
            return False
        restore_experiment(
            self._server, self._server.get_experiment(run.info.experiment_id))
        if self._server.get_run(run.info.run_id).info.lifecycle_stage == 'deleted':
            self._server.restore_run(run.info.run_id)
        self._tell(f'MLflow run {run.info.run_id} was deleted while records for it were '
                   'to come: it is restored')
        return True

    def _mend_run(self) -> bool:
        """Restore the run if it was deleted; whether that was so.

        Raises:
            RunGone: if it is deleted for good.
            Exception: what a server that is away raises.
        """
        from mlflow import MlflowException
        try:
            run = self._server.get_run(self._run)
        except MlflowException as error:
            if error.error_code != 'RESOURCE_DOES_NOT_EXIST':
                raise
            raise RunGone from error
        if self._restore(run):
            return True
        self._server.set_tag(  # as it is: this asks whether anything can be written
            self._run, JOURNAL_TAG,
            run.data.tags.get(JOURNAL_TAG, self.journal.header['id']))
        return False

    @property
    def _server(self) -> 'MlflowClient':
        """What :meth:`_connect` has opened."""
        assert self.client is not None
        return self.client

    @property
    def _run(self) -> str:
        """The id that :meth:`_connect` has found."""
        assert self.run_id is not None
        return self.run_id

    def _forget_run(self) -> None:
        self._tell(f'MLflow run {self.run_id} is deleted for good; the whole journal '
                   f'{self.journal.folder} goes to a new one')
        self.run_id = None
        self.journal.note_sent(None, 0)

    def _find_or_create_run(self, header: dict) -> str:
        with CREATING:
            experiment = get_experiment(self._server, header, self._tell)
            return (self._found_run(experiment, header)
                    or self._created_run(experiment, header))

    def _found_run(self, experiment: str, header: dict) -> str | None:
        """The run is there if its process died before it could note the id."""
        from mlflow.entities import ViewType
        found = self._server.search_runs(
            [experiment], f"tags.`{JOURNAL_TAG}` = '{header['id']}'",
            run_view_type=ViewType.ALL, max_results=1)
        if not found:
            return None
        self._restore(found[0])
        return found[0].info.run_id

    def _created_run(self, experiment: str, header: dict) -> str:
        tags = {JOURNAL_TAG: header['id']}
        if header['parent']:
            tags['mlflow.parentRunId'] = self._find_parent(header['parent'])
        return self._server.create_run(
            experiment, start_time=header['time'], run_name=header['run_name'],
            tags=tags).info.run_id

    def _find_parent(self, header: dict) -> str:
        """The run of the parent's journal, whether or not any of it has been sent."""
        if header['run_id'] and self._has_run(header['run_id']):
            return header['run_id']
        return self._find_or_create_run(header)

    def _deliver(self, entries: list[Entry]) -> list[int]:
        """Send records; returns the starts of those that have to wait.

        What the server refuses for good must not hold up the rest, nor what only the
        artifact store does not take.
        """
        if self._lost > PATIENCE:
            return [entry.start for entry in entries]
        records = [entry.record for entry in entries]
        began = time.monotonic()
        error = self._attempt(records)
        if error is None:
            return []
        if len(entries) > 1:
            return [start for entry in entries for start in self._deliver([entry])]
        record, start = entries[0]
        if is_refused(error):
            self._tell(f'MLflow refused {name(record)}, which stays in '
                       f'{self.journal.folder}: {one_line(error)}')
            return []
        self._lost += time.monotonic() - began
        store = 'the artifact store of ' if record['kind'] in ARTIFACTS else ''
        self._tell(f'{store}MLflow does not take {name(record)} now; it is kept in '
                   f'{self.journal.folder} and sent when that is over: '
                   f'{type(error).__name__}: {one_line(error)}', WAITING)
        return [start]

    def _attempt(self, records: list[dict]) -> Exception | None:
        """Send records of one kind; what is wrong with them, the server being there."""
        while True:
            try:
                getattr(self, f'_send_{records[0]["kind"]}')(records)
                return None
            except Exception as error:
                if not self._mend_run():
                    return error

    def _tell(self, message: str, key: str | None = None) -> None:
        """Warn, once of each thing."""
        key = key or message
        if key not in self._told and len(self._told) < MOST_WARNINGS:
            self._told.add(key)
            print_log(message, 'current', logging.WARNING)

    def _send_run(self, records: list[dict]) -> None:
        """The header: it was sent by creating the run."""

    def _send_metrics(self, records: list[dict]) -> None:
        from mlflow.entities import Metric
        points = [Metric(key, value, record['time'], record['step'])
                  for record in records for key, value in record['values'].items()]
        for chunk in chunks(points, BATCH):
            self._server.log_batch(self._run, metrics=chunk)

    def _send_tags(self, records: list[dict]) -> None:
        from mlflow.entities import RunTag
        tags = [RunTag(key, value) for key, value in records[0]['values'].items()]
        for chunk in chunks(tags, CHUNK):
            self._server.log_batch(self._run, tags=chunk)

    def _send_params(self, records: list[dict]) -> None:
        """MLflow never changes a param: the first value stays, a later one is a tag."""
        from mlflow.entities import Param
        known = self._server.get_run(self._run).data.params
        values = records[0]['values']
        params = [Param(key, value) for key, value in values.items()
                  if key not in known]
        for chunk in chunks(params, CHUNK):
            self._server.log_batch(self._run, params=chunk)
        changed = {f'changed.{key}'[:250]: cut(value, TAG_LENGTH)
                   for key, value in values.items() if known.get(key, value) != value}
        if changed:
            self._send_tags([dict(values=changed)])

    def _send_text(self, records: list[dict]) -> None:
        self._server.log_text(self._run, records[0]['text'], records[0]['path'])

    def _send_file(self, records: list[dict]) -> None:
        self._upload(records[0]['path'])

    def _upload(self, path: str) -> None:
        folder = str(Path(path).parent)
        self._server.log_artifact(self._run, str(self.journal.find_file(path)),
                                  folder if folder != '.' else None)

    def _send_dataset(self, records: list[dict]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag
        record = records[0]
        dataset = Dataset(name=record['name'], digest=record['digest'],
                          source_type='local',
                          source=json.dumps(dict(uri=record['source'])))
        tag = InputTag('mlflow.data.context', record['context'])
        self._server.log_inputs(self._run, [DatasetInput(dataset, [tag])])

    def _send_model(self, records: list[dict]) -> None:
        """Register a file of the journal as a version of a model.

        It makes no version that is there already, nor one that is like the last.
        """
        record, run_id = records[0], self._run
        name, digest = record['name'], record['tags']['checkpoint.sha256']
        self._upload(record['path'])
        if not self._server.search_registered_models(f"name = '{name}'"):
            self._server.create_registered_model(name)
        versions = sorted(self._server.search_model_versions(f"name = '{name}'"),
                          key=lambda version: int(version.version))
        known = [version for version in versions
                 if version.run_id == run_id or version is versions[-1]]
        if digest in [version.tags.get('checkpoint.sha256') for version in known]:
            return
        place = self._server.get_run(run_id).info.artifact_uri
        self._server.create_model_version(
            name, f'{place}/{Path(record["path"]).parent}', run_id, tags=record['tags'])

    def _send_status(self, records: list[dict]) -> None:
        status, moment = records[0]['status'], records[0]['time']
        if status == RUNNING:
            self._server.update_run(self._run, status)
        else:
            self._server.set_terminated(self._run, status, moment)


def is_refused(error: Exception) -> bool:
    """Whether a record will never be taken, whoever is asked and when."""
    from mlflow import MlflowException
    if isinstance(error, MlflowException):
        return error.error_code == 'INVALID_PARAMETER_VALUE'
    return isinstance(error, FileRefused)


def name(record: dict) -> str:
    return f'{record["kind"]} {record.get("path", "")}'.strip()


def in_batches(journal: Journal, offset: int) -> Iterator[tuple[list[Entry], int]]:
    """Group consecutive metric records; records of other kinds stay alone.

    Yields the records and the offset behind them.
    """
    batch, size, start = [], 0, offset
    for record, end in journal.read(offset):
        points = len(record['values']) if record['kind'] == 'metrics' else BATCH
        if batch and size + points > BATCH:
            yield batch, start
            batch, size = [], 0
        batch.append(Entry(record, start))
        size += points
        start = end
    if batch:
        yield batch, start


def chunks(items: list, size: int) -> Iterator[list]:
    return (items[start:start + size] for start in range(0, len(items), size))
