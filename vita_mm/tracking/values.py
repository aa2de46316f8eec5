"""Values as MLflow takes them: plain numbers, flat names, cut text, no secrets."""
import numbers
import re
from collections.abc import Iterator, Mapping

from vita_mm.errors import printable

PARAM_LENGTH = 6000
TAG_LENGTH = 5000


def to_number(value) -> float:
    """A Python number from a number, a NumPy scalar or a tensor of one element.

    Raises:
        TypeError: if it is none of these.
    """
    if hasattr(value, 'item') and getattr(value, 'size', None) != 0:
        try:
            value = value.item()
        except (RuntimeError, ValueError) as error:  # more than one element
            raise TypeError(f'a metric is one number, not {value!r}') from error
    if not isinstance(value, numbers.Real):
        raise TypeError(f'a metric is a number, not {value!r}')
    return float(value)


def only_numbers(metrics: Mapping) -> dict[str, float]:
    """The entries that are numbers; an evaluator may also give matrices or text."""
    found = {}
    for name, value in metrics.items():
        try:
            found[name] = to_number(value)
        except TypeError:
            continue
    return found


def to_key(name: str) -> str:
    """A name with only the characters that MLflow allows in keys."""
    return re.sub(r'[^\w.\-:/ ]', '_', str(name))[:250]


def cut(value, length: int) -> str:
    """The value as text without secrets; cut text ends in an ellipsis."""
    text = redact(str(value))
    return text if len(text) <= length else text[:length - 1] + '…'


def one_line(error, length: int = 300) -> str:
    """The first line of a foreign text, without secrets and control characters."""
    return printable((redact(str(error)).strip().splitlines() or [''])[0])[:length]


def redact(text: str) -> str:
    """Take user names and passwords out of the addresses in a text."""
    text = re.sub(r'''://[^\s/'"]*@''', '://', text)
    secret = r'''(?i)([?&]\w*(?:password|token|secret)=)[^&\s'"]*'''
    return re.sub(secret, r'\1***', text)


def flatten(config: Mapping, prefix: str = '') -> Iterator[tuple[str, object]]:
    """The leaves of nested dicts with dotted names."""
    for key, value in config.items():
        name = f'{prefix}{key}'
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f'{name}.')
        else:
            yield name, value
