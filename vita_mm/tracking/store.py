"""Where runs are recorded: the tracking address, its database and its experiments."""
import contextlib
import fcntl
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mmengine.logging import print_log

from vita_mm.errors import UserError

from .records import identity
from .values import one_line, redact

if TYPE_CHECKING:  # its settings, see below, must come first
    from mlflow import MlflowClient

EXPERIMENT = 'vita_mm'  # unless another is named
SECRET_URI = 'VITA_MM_TRACKING_URI'
FILE_STORE = 'MLFLOW_ALLOW_FILE_STORE'

# By default MLflow tries an absent server for minutes, prints the address of a run with
# its password, and reports its use to its makers.
CLIENT_SETTINGS = dict(
    MLFLOW_HTTP_REQUEST_MAX_RETRIES='1',
    MLFLOW_HTTP_REQUEST_TIMEOUT='10',
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT='true',
    MLFLOW_DISABLE_TELEMETRY='true')


class ServerAway(Exception):
    """MLflow did not take the records.

    Args:
        clause: what is wrong, as the predicate of "MLflow …".
        why: the error behind it.
    """

    def __init__(self, clause: str, why: str = '') -> None:
        super().__init__(f'{clause} ({why})' if why else clause)
        self.clause = clause
        self.why = why


def default_uri() -> str:
    """``MLFLOW_TRACKING_URI``, else a database in the current folder."""
    return resolve_uri(os.environ.get('MLFLOW_TRACKING_URI') or 'sqlite:///mlflow.db')


def resolve_uri(uri: str) -> str:
    """The address with the password that was taken out of it, see
    :func:`hide_credentials`, and with the whole path of a database.

    Raises:
        UserError: if it is a folder, which MLflow no longer writes.
    """
    secret = os.environ.get(SECRET_URI, '')
    if uri == redact(secret):
        uri = secret
    scheme = uri.split(':')[0] if ':' in uri else ''
    allowed = os.environ.get(FILE_STORE, '').lower() in ('true', '1')
    if scheme in ('', 'file') and not uri.startswith('databricks') and not allowed:
        raise UserError(
            f'{redact(uri)!r} is a file store, which MLflow does not take any more: name '
            'a database, such as MLFLOW_TRACKING_URI=sqlite:///mlflow.db (or set '
            f'{FILE_STORE}=true)')
    database = database_file(uri)
    if database is None:
        return uri
    question = uri.partition('?')[1:]
    return f'sqlite:///{database}{"".join(question)}'


def database_file(uri: str) -> Path | None:
    """The file of an SQLite database; None where there is no such file."""
    scheme, _, rest = uri.partition(':///')
    path = rest.split('?')[0]
    if scheme != 'sqlite' or path in ('', ':memory:') or path.startswith('file:'):
        return None
    return Path(path).absolute()


def artifact_location(uri: str) -> str | None:
    """``mlartifacts`` beside an SQLite database; a server knows its own place."""
    database = database_file(uri)
    return database and str(database.resolve().parent / 'mlartifacts')


def hide_credentials(config) -> None:
    """Take user names and passwords out of the ``tracking_uri`` of a config, which
    MMEngine prints and writes to several files.

    The whole address goes to an environment variable, for this process and those that
    it starts.

    Args:
        config: with ``visualizer.vis_backends``, or without; changed in place.
    """
    backends = (config.get('visualizer') or {}).get('vis_backends') or []
    for backend in backends:
        uri = backend.get('tracking_uri')
        if isinstance(uri, str) and redact(uri) != uri:
            os.environ[SECRET_URI] = uri
            backend['tracking_uri'] = redact(uri)


def read_environment() -> dict[str, str | None]:
    """The experiment of new runs, as fields of a header.

    As in MLflow a name counts more than an id.

    Raises:
        UserError: if the id is none.
    """
    name = os.environ.get('MLFLOW_EXPERIMENT_NAME') or None
    number = read_id('MLFLOW_EXPERIMENT_ID')
    return dict(experiment=name or (None if number else EXPERIMENT),
                experiment_id=number)


def read_id(variable: str) -> str | None:
    """An id of MLflow from the environment.

    Raises:
        UserError: if it is none.
    """
    value = os.environ.get(variable) or None
    try:
        return value and identity(value)
    except ValueError as error:
        raise UserError(f'{variable}={value!r} {error} of MLflow') from None


def open_client(uri: str) -> 'MlflowClient':
    """An ``MlflowClient``. Of several processes that open a new SQLite database one
    makes it, and the file is there only once it is whole.

    Raises:
        ServerAway: if the database is damaged.
        Exception: what MLflow raises if it is away.
    """
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # late: the settings above must come first
    database = database_file(uri)
    if database is None:
        return MlflowClient(uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    with locked(database.with_name(f'{database.name}.lock')):
        if not database.exists() or not database.stat().st_size:
            part = database.with_name(f'.{database.name}.{uuid.uuid4().hex}.part')
            try:
                MlflowClient(f'sqlite:///{part}')
                os.replace(part, database)
            finally:
                part.unlink(missing_ok=True)
        check_database(database)
        return MlflowClient(uri)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for a lock and hold it; without one where the place cannot have it."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            # Not lockf: it would not keep the threads of a process apart.
            fcntl.flock(stack.enter_context(open(path, 'a')), fcntl.LOCK_EX)
        yield


def check_database(path: Path) -> None:
    """Say at once what MLflow would try for minutes.

    Raises:
        ServerAway: if it cannot be read.
    """
    try:
        with contextlib.closing(sqlite3.connect(f'file:{quote(str(path))}?mode=ro',
                                                uri=True, timeout=20)) as connection:
            connection.execute('PRAGMA schema_version').fetchone()
    except sqlite3.Error as error:
        raise ServerAway(f'database {path} cannot be read', str(error)) from error


def get_experiment(client, header: dict, tell: Callable[[str], None]) -> str:
    """The id of the experiment of a journal, which is made or restored if need be.

    Raises:
        ServerAway: if it was deleted and cannot be restored.
        Exception: what MLflow raises if it is away.
    """
    from mlflow import MlflowException
    name, number = header['experiment'], header['experiment_id']
    found = None
    if not name and number:
        try:
            found = client.get_experiment(number)
        except MlflowException as error:
            if error.error_code not in ('RESOURCE_DOES_NOT_EXIST',
                                        'INVALID_PARAMETER_VALUE'):
                raise
            tell(f'MLflow has no experiment {number}, which MLFLOW_EXPERIMENT_ID names; '
                 f'the run goes to the experiment {EXPERIMENT}')
    name = name or EXPERIMENT
    found = found or find_experiment(client, name)
    if header['experiment'] and number not in (None, found.experiment_id):
        tell(f'MLFLOW_EXPERIMENT_ID={number} is not the experiment {name}; the run goes '
             'to the one of that name')
    restore_experiment(client, found)
    return found.experiment_id


def find_experiment(client, name: str):
    """The experiment of a name, made if there is none."""
    from mlflow import MlflowException
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found
    try:
        return client.get_experiment(client.create_experiment(
            name, artifact_location=artifact_location(client.tracking_uri)))
    except MlflowException as error:  # another process was quicker
        if error.error_code != 'RESOURCE_ALREADY_EXISTS':
            raise
        return client.get_experiment_by_name(name)


def restore_experiment(client, experiment) -> None:
    """Bring an experiment back if it was deleted.

    Raises:
        ServerAway: if it cannot be restored.
    """
    from mlflow import MlflowException
    if experiment.lifecycle_stage != 'deleted':
        return
    try:
        client.restore_experiment(experiment.experiment_id)
    except MlflowException as error:
        raise ServerAway(
            f'experiment {experiment.name!r} is deleted and cannot be restored from '
            'here: restore it in MLflow, or delete it for good by "mlflow gc"',
            one_line(error, 200)) from error
    print_log(f'MLflow experiment {experiment.name!r} was deleted: it is restored with '
              'its runs, for records are to go there', 'current', logging.WARNING)


def away(uri: str, error: Exception) -> ServerAway:
    """What is wrong with a server or database that raised this error."""
    why = f'{type(error).__name__}: {one_line(error, 200)}'
    if not uri.startswith('http'):
        return ServerAway(f'store {redact(uri)} cannot be used', why)
    answered = 'RestException' in why or 'with error code' in str(error) \
        or 'error responses' in str(error)
    what = 'answers with an error' if answered else 'does not answer'
    return ServerAway(f'server {redact(uri)} {what}', why)
