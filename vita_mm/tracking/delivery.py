"""Sending journals to an MLflow tracking server, now or when it is back.

Every record may be sent twice, after a crash between sending and noting it: MLflow's
SQL store ignores a metric point that it has (same key, step, timestamp and value), and
the other kinds overwrite themselves.
"""
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmengine.logging import print_log

from .journal import RUNNING, Journal
from .values import TAG_LENGTH, cut, redact

BATCH = 1000  # metric points in one request; MLflow's limit
CHUNK = 100  # params or tags in one request; MLflow's limit
JOURNAL_TAG = 'vita_mm.journal'

# By default MLflow tries an absent server for minutes, prints the address of a run with
# its password, and reports its use to its makers.
CLIENT_SETTINGS = dict(
    MLFLOW_HTTP_REQUEST_MAX_RETRIES='1',
    MLFLOW_HTTP_REQUEST_TIMEOUT='10',
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT='true',
    MLFLOW_DISABLE_TELEMETRY='true')


class ServerAway(Exception):
    """The tracking server did not take the records; says why."""


class Delivery:
    """Sends one journal to one tracking server, always in order.

    Args:
        journal: held by this process.
        uri: the tracking URI.
    """

    def __init__(self, journal: Journal, uri: str) -> None:
        self.journal = journal
        self.uri = uri
        self.run_id = None
        self._client = None
        self._warned = False

    def send(self) -> int:
        """Send what is unsent.

        Returns:
            The number of records sent.

        Raises:
            ServerAway: if the server did not take them all; the rest stays unsent.
        """
        try:
            if self.journal.is_sent():
                return 0
            offset = self._connect()
            count = 0
            for records, offset in in_batches(self.journal.read(offset)):
                self._deliver(records)
                self.journal.note_sent(self.run_id, offset)
                count += len(records)
            return count
        except Exception as error:  # HTTP, SQL and file errors of many libraries
            lines = redact(str(error)).strip().splitlines() or ['']
            raise ServerAway(f'{type(error).__name__}: {lines[0][:200]}') from error

    def _connect(self) -> int:
        """Find or create the MLflow run; the offset to send from."""
        sent = self.journal.sent()
        if self.run_id is not None:
            return sent['bytes']
        for name, value in CLIENT_SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # late: the settings above must come first
        self._client = self._client or MlflowClient(self.uri)
        header = self.journal.header
        for run_id in filter(None, (sent['run_id'], header['run_id'])):
            if self._has_run(run_id):
                self.run_id = run_id
                return sent['bytes']
        # A server that does not know the run yet gets the whole journal.
        self.run_id = self._find_or_create_run(header)
        self.journal.note_sent(self.run_id, 0)
        return 0

    def _has_run(self, run_id: str) -> bool:
        from mlflow import MlflowException
        try:
            self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != 'RESOURCE_DOES_NOT_EXIST':
                raise
            print_log(f'MLflow at {redact(self.uri)} has no run {run_id}; the whole '
                      f'journal {self.journal.folder} goes to one of its own',
                      'current', logging.WARNING)
            return False
        return True

    def _find_or_create_run(self, header: dict) -> str:
        experiment = self._get_experiment(header['experiment'])
        # It is there if its process died before it could note the id.
        found = self._client.search_runs(
            [experiment], f"tags.`{JOURNAL_TAG}` = '{header['id']}'", max_results=1)
        if found:
            return found[0].info.run_id
        tags = {JOURNAL_TAG: header['id']}
        if header.get('parent'):
            tags['mlflow.parentRunId'] = self._find_parent(header['parent'])
        return self._client.create_run(
            experiment, start_time=header['time'], run_name=header['run_name'],
            tags=tags).info.run_id

    def _find_parent(self, header: dict) -> str:
        """The run of the parent's journal, whether or not any of it has been sent."""
        if header['run_id'] and self._has_run(header['run_id']):
            return header['run_id']
        return self._find_or_create_run(header)

    def _get_experiment(self, name: str) -> str:
        from mlflow import MlflowException
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return self._client.create_experiment(
                    name, artifact_location=artifact_location(self.uri))
            except MlflowException as error:  # another process was quicker
                if error.error_code != 'RESOURCE_ALREADY_EXISTS':
                    raise
                found = self._client.get_experiment_by_name(name)
        return found.experiment_id

    def _deliver(self, records: list[dict]) -> None:
        """Send records; what the server refuses for good must not hold up the rest."""
        from mlflow import MlflowException
        try:
            send = getattr(self, f'_send_{records[0]["kind"]}')
            send(records)
        except MlflowException as error:
            if error.error_code != 'INVALID_PARAMETER_VALUE':
                raise
            if len(records) > 1:
                for record in records:
                    self._deliver([record])
            else:
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            print_log(f'MLflow refused a record, which stays in {self.journal.path}: '
                      f'{redact(str(error))[:300]}', 'current', logging.WARNING)
        self._warned = True

    def _send_run(self, records: list[dict]) -> None:
        """The header: it was sent by creating the run."""

    def _send_metrics(self, records: list[dict]) -> None:
        from mlflow.entities import Metric
        points = [Metric(key, value, record['time'], record['step'])
                  for record in records for key, value in record['values'].items()]
        for chunk in chunks(points, BATCH):
            self._client.log_batch(self.run_id, metrics=chunk)

    def _send_tags(self, records: list[dict]) -> None:
        from mlflow.entities import RunTag
        tags = [RunTag(key, value) for key, value in records[0]['values'].items()]
        for chunk in chunks(tags, CHUNK):
            self._client.log_batch(self.run_id, tags=chunk)

    def _send_params(self, records: list[dict]) -> None:
        """MLflow never changes a param: the first value stays, a later one is a tag."""
        from mlflow.entities import Param
        known = self._client.get_run(self.run_id).data.params
        values = records[0]['values']
        params = [Param(key, value) for key, value in values.items()
                  if key not in known]
        for chunk in chunks(params, CHUNK):
            self._client.log_batch(self.run_id, params=chunk)
        changed = {f'changed.{key}'[:250]: cut(value, TAG_LENGTH)
                   for key, value in values.items() if known.get(key, value) != value}
        if changed:
            self._send_tags([dict(values=changed)])

    def _send_text(self, records: list[dict]) -> None:
        record = records[0]
        self._upload(self._client.log_text, record['text'], record['path'])

    def _send_file(self, records: list[dict]) -> None:
        record = records[0]
        self._upload(self._client.log_artifact,
                     str(self.journal.folder / 'files' / record['path']),
                     str(Path(record['path']).parent))

    def _upload(self, method, *args) -> None:
        """Store an artifact.

        Artifacts may be stored elsewhere than metrics. If only that place fails, it
        must not hold up the metrics.
        """
        try:
            method(self.run_id, *args)
        except Exception as error:
            self._client.get_run(self.run_id)  # raises if the server is away
            self._warn(error)

    def _send_dataset(self, records: list[dict]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag
        record = records[0]
        dataset = Dataset(name=record['name'], digest=record['digest'],
                          source_type='local',
                          source=json.dumps(dict(uri=record['source'])))
        tag = InputTag('mlflow.data.context', record['context'])
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, [tag])])

    def _send_model(self, records: list[dict]) -> None:
        """Register a file of the journal as a version of a model."""
        self._upload(self._register, records[0])

    def _register(self, run_id: str, record: dict) -> None:
        """Make no version that is there already, nor one that is like the last."""
        name, digest = record['name'], record['tags']['checkpoint.sha256']
        folder = str(Path(record['path']).parent)
        self._client.log_artifact(
            run_id, str(self.journal.folder / 'files' / record['path']), folder)
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        versions = sorted(self._client.search_model_versions(f"name = '{name}'"),
                          key=lambda version: int(version.version))
        known = [version for version in versions
                 if version.run_id == run_id or version is versions[-1]]
        if digest in [version.tags.get('checkpoint.sha256') for version in known]:
            return
        place = self._client.get_run(run_id).info.artifact_uri
        self._client.create_model_version(
            name, f'{place}/{folder}', run_id, tags=record['tags'])

    def _send_status(self, records: list[dict]) -> None:
        status, moment = records[0]['status'], records[0]['time']
        if status == RUNNING:
            self._client.update_run(self.run_id, status)
        else:
            self._client.set_terminated(self.run_id, status, moment)


def in_batches(records: Iterable[tuple[dict, int]]) -> Iterator[tuple[list[dict], int]]:
    """Group consecutive metric records; records of other kinds stay alone."""
    batch, size, end = [], 0, 0
    for record, offset in records:
        points = len(record['values']) if record['kind'] == 'metrics' else BATCH
        if batch and size + points > BATCH:
            yield batch, end
            batch, size = [], 0
        batch.append(record)
        size += points
        end = offset
    if batch:
        yield batch, end


def chunks(items: list, size: int) -> Iterator[list]:
    return (items[start:start + size] for start in range(0, len(items), size))


def default_uri() -> str:
    """``MLFLOW_TRACKING_URI``, else a database in the current folder."""
    return (os.environ.get('MLFLOW_TRACKING_URI')
            or f'sqlite:///{Path("mlflow.db").resolve()}')


def artifact_location(uri: str) -> str | None:
    """``mlartifacts`` beside an SQLite database; a server knows its own place."""
    if not uri.startswith('sqlite:///'):
        return None
    database = Path(uri.removeprefix('sqlite:///').split('?')[0])
    return str(database.resolve().parent / 'mlartifacts')


class Sender(threading.Thread):
    """Sends journals in the background, until :meth:`close`.

    Args:
        current: of the run that goes on in this process.
        older: of earlier runs, sent once after it and released.
        interval: seconds between two looks at the journal.
        retry: the same while the server is away.
    """

    def __init__(self, current: Delivery, older: Iterable[Delivery] = (),
                 interval: float = 2, retry: float = 20) -> None:
        super().__init__(name='mlflow-sender', daemon=True)
        self.current = current
        self.older = list(older)
        self.interval = interval
        self.retry = retry
        self.away = False
        self.tried = threading.Event()
        self._closing = threading.Event()

    def run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.is_set()  # first: one more look once it is set
            self._attempt()
            self.tried.set()
            self._closing.wait(self.retry if self.away else self.interval)

    def _attempt(self) -> None:
        try:
            self.current.send()
            while self.older:
                self.older[0].send()
                self.older.pop(0).journal.release()
        except ServerAway as error:
            if not self.away:
                print_log(
                    f'MLflow server {redact(self.current.uri)} does not answer; '
                    'training goes on, records are kept in '
                    f'{self.current.journal.folder} and are sent when it is back '
                    f'({error})', 'current', logging.WARNING)
            self.away = True
        else:
            if self.away:
                print_log(f'MLflow server {redact(self.current.uri)} answers again; '
                          'the records it missed are sent', 'current')
            self.away = False

    def close(self, timeout: float) -> None:
        """Send what is left within ``timeout`` seconds and release the journals."""
        self._closing.set()
        self.join(timeout)
        unsent = self.current.journal.count_unsent()
        if unsent:
            print_log(
                f'{unsent} records in {self.current.journal.folder} have not reached '
                'MLflow; the next run in this work dir sends them, or '
                'tools/mlflow_sync.py', 'current', logging.WARNING)
        if not self.is_alive():
            for delivery in (self.current, *self.older):
                delivery.journal.release()


def sync(journal: Journal) -> int | None:
    """Send what is left of a journal of an ended process.

    Returns:
        The number of records sent; None if a living process writes and sends it.

    Raises:
        ServerAway: if the server does not answer.
    """
    if not journal.acquire():
        return None
    try:
        journal.close_stale()
        return Delivery(journal, sync_uri(journal)).send()
    finally:
        journal.release()


def sync_uri(journal: Journal) -> str:
    """``MLFLOW_TRACKING_URI``, else where the run sent to (without its password)."""
    return os.environ.get('MLFLOW_TRACKING_URI') or journal.header['uri']
