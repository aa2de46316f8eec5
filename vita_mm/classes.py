"""Class names in the order of their ids."""
import csv
from importlib import resources
from pathlib import Path

from .errors import UserError


def read_classes(source: str | list[str]) -> list[str]:
    """Class names, cleaned for a prompt: underscores become spaces.

    Args:
        source: a list of names, a text file with one name per line, or the name of a
            list that comes with this package (``kinetics400``).

    Raises:
        UserError: if there is no such list, or a name is empty or there twice.
    """
    if isinstance(source, str):
        names = read_packaged(source) or read_file(source)
    else:
        names, source = list(source), 'the list of classes'
    names = [' '.join(str(name).replace('_', ' ').split()) for name in names]
    seen = {}
    for index, name in enumerate(names):
        if not name:
            raise UserError(f'{source}: the name of class {index} is empty')
        first = seen.setdefault(name.casefold(), index)
        if first != index:
            raise UserError(f'{source}: classes {first} and {index} have the same name '
                            f'{name!r}')
    if not names:
        raise UserError(f'{source}: there are no class names')
    return names


def read_packaged(name: str) -> list[str] | None:
    file = resources.files('vita_mm') / 'labels' / f'{name}.csv'
    if not file.is_file():
        return None
    with file.open(newline='') as rows:
        return [row['name'] for row in csv.DictReader(rows)]


def read_file(path: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        known = ', '.join(sorted(
            file.name.removesuffix('.csv')
            for file in (resources.files('vita_mm') / 'labels').iterdir()))
        raise UserError(f'classes={path!r} is neither a readable text file ({error}) nor '
                        f'one of the lists that come with vita_mm: {known}') from error
    return text.rstrip('\n').split('\n')
