"""What a record of a journal may be: journals are untrusted, and one line that MLflow
cannot take must not hold up the others.

The kinds: ``run`` (the header), ``status``, ``metrics``, ``params``, ``tags``,
``dataset``, ``text``, ``file`` (below ``files/``) and ``model`` (such a file, to be
registered).
"""
import posixpath
import re
from collections.abc import Callable, Iterable

# Those that go to the artifact store, which may be away when the server is not.
ARTIFACTS = ('text', 'file', 'model')
STATES = ('RUNNING', 'FINISHED', 'FAILED', 'KILLED')
LARGEST = 2 ** 63 - 1  # of the integers of a database
NESTED = 4  # runs that are part of each other


def check_record(record) -> dict:
    """A record as it may be sent; strings that no database takes are mended.

    Raises:
        ValueError: saying what is wrong.
    """
    if not isinstance(record, dict):
        raise ValueError('it is no JSON object')
    kind = record.get('kind')
    if not isinstance(kind, str) or kind not in FIELDS:
        raise ValueError(f'its kind {str(kind)[:40]!r} is unknown')
    return {**record, 'kind': kind, **check_fields(record, FIELDS[kind])}


def check_sent(found) -> dict:
    """The bookkeeping of a journal: ``run_id``, ``bytes`` and ``waiting``.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(found, dict):
        raise ValueError('it is no JSON object')
    return check_fields(found, SENT)


def check_fields(record: dict, fields: dict[str, Callable]) -> dict:
    found = {}
    for name, check in fields.items():
        try:
            found[name] = check(record.get(name))
        except (TypeError, ValueError, OverflowError) as error:
            place = name if name in record else f'{name}, which is missing,'
            raise ValueError(f'{place} {error}') from None
    return found


def text(value) -> str:
    """Without what databases refuse: lone surrogates and NUL."""
    if not isinstance(value, str):
        raise TypeError('is no string')
    return value.encode('utf-8', 'replace').decode().replace('\0', '\ufffd')


def optional_text(value) -> str | None:
    return None if value is None else text(value)


def identity(value) -> str:
    """It stands in filters of MLflow searches."""
    if not isinstance(value, str) or not re.fullmatch(r'[\w-]{1,64}', value, re.ASCII):
        raise ValueError('is no id')
    return value


def optional_identity(value) -> str | None:
    return None if value is None else identity(value)


def integer(value) -> int:
    if type(value) is not int or not -LARGEST <= value <= LARGEST:
        raise ValueError('is no integer of 64 bits')
    return value


def moment(value) -> int:
    if integer(value) < 0:
        raise ValueError('is negative')
    return value


def count(value) -> int:
    return moment(value or 0)


def places(value) -> list[int]:
    return [moment(item) for item in value or []]


def number(value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError('is no number')
    return float(value)


def state(value) -> str:
    if value not in STATES:
        raise ValueError(f'is none of {", ".join(STATES)}')
    return value


def named(check: Callable) -> Callable[[dict], dict]:
    """A check of a dict of names to values."""

    def check_all(values) -> dict:
        if not isinstance(values, dict):
            raise TypeError('is no JSON object')
        return {text(key): check(value) for key, value in values.items()}

    return check_all


def inner_path(value) -> str:
    """A path that stays below the folder it starts from."""
    value = text(value)
    if (value != posixpath.normpath(value) or value.startswith(('/', '..'))
            or value == '.' or '\\' in value):
        raise ValueError('is no path below the folder')
    return value


def model_name(value) -> str:
    if re.search(r'''['"/:]''', text(value)):
        raise ValueError('is no name of a model')
    return value


def model_tags(values) -> dict:
    values = named(text)(values)
    if 'checkpoint.sha256' not in values:
        raise ValueError('have no checkpoint.sha256')
    return values


def parent(value, depth: int = 1) -> dict | None:
    """The header of the journal of the run that another is part of."""
    if value is None:
        return None
    if not isinstance(value, dict) or depth > NESTED:
        raise ValueError('is no header of a journal')
    fields = dict(HEADER, parent=lambda inner: parent(inner, depth + 1))
    return {**value, **check_fields(value, fields)}


HEADER = dict(id=identity, time=moment, experiment=optional_text, run_name=optional_text,
              run_id=optional_identity, parent=parent, uri=text,
              experiment_id=optional_identity, number=count)
SENT = dict(run_id=optional_identity, bytes=moment, waiting=places)
FIELDS = dict(
    run=dict(HEADER, what=text),
    status=dict(status=state, time=moment),
    metrics=dict(step=integer, time=moment, values=named(number)),
    params=dict(values=named(text)),
    tags=dict(values=named(text)),
    dataset=dict(name=text, digest=text, context=text, source=text),
    text=dict(path=inner_path, text=text),
    file=dict(path=inner_path),
    model=dict(path=inner_path, name=model_name, tags=model_tags))


def still_wanted(record: dict, later: Iterable[dict]) -> dict | None:
    """What of a record that had to wait is to be sent after the ``later`` ones.

    Each tag, state and artifact is as the last record has it.
    """
    kind = record['kind']
    if kind not in ('tags', 'status', 'text', 'file'):
        return record
    values = dict(record.get('values', {}))
    for other in later:
        if kind == other['kind'] == 'tags':
            for key in other['values']:
                values.pop(key, None)
        elif kind == other['kind'] == 'status':
            return None
        elif kind in ('text', 'file') and other['kind'] in ('text', 'file') \
                and other['path'] == record['path']:
            return None
    if kind == 'tags':
        return dict(record, values=values) if values else None
    return record
