"""Class names in the order of their ids, and manual prompts."""
import csv
from collections import Counter
from pathlib import Path

from vita_mm.errors import UserError
from vita_mm.io.files import locate, read_lines

LABELS = Path(__file__).resolve().parent
FORMS = ('name', 'folder', 'clip')  # columns of names


def read_rows(file) -> list[dict[str, str]]:
    """The rows of a csv file that comes with this package."""
    with file.open(newline='', encoding='utf-8') as lines:
        return list(csv.DictReader(lines))


def packaged_classes() -> list[str]:
    """The lists of classes that come with this package."""
    return sorted(file.name.removesuffix('.csv')
                  for file in (LABELS / 'classes').iterdir())


def read_classes(source: str | list[str], repeated: bool = False) -> list[str]:
    """Class names, cleaned for a prompt: underscores become spaces.

    Args:
        source: a list of names, a text file with one name per line (looked up in the
            current folder, then in the project's), or the name of a list that comes with
            this package (``kinetics400``); ``ucf101:folder`` is another column of such a
            list.
        repeated: take names that are there twice, as those of a model may be; for a
            dataset they are a mistake.

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
        if first != index and not repeated:
            raise UserError(f'{source}: classes {first} and {index} have the same name '
                            f'{name!r}')
    if not names:
        raise UserError(f'{source}: there are no class names')
    return names


def told_apart(names: list[str]) -> list[str]:
    """The names, to be shown: those that are there twice with their ids."""
    numbers = Counter(name.casefold() for name in names)
    return [f'{name} (class {index})' if numbers[name.casefold()] > 1 else name
            for index, name in enumerate(names)]


def read_packaged(source: str) -> list[str] | None:
    name, _, column = source.partition(':')
    if name not in packaged_classes():
        return None
    rows = read_rows(LABELS / 'classes' / f'{name}.csv')
    column = column or 'name'
    if column not in FORMS or column not in rows[0]:
        raise UserError(f'the class list {name} has no column {column!r} of names; '
                        'it has ' + ', '.join(columns_of(name)))
    return [row[column] for row in rows]


def form_of(source: str | list[str]) -> str:
    """How names are written, which decides a zero-shot number: the first, and the list
    that they are from. ``source`` is as in :func:`read_classes`."""
    first = read_classes(source, repeated=True)[0]
    return f'as "{first}"' + (f' ({source})' if isinstance(source, str) else '')


def columns_of(source: str | list[str]) -> list[str]:
    """In which forms a packaged list has its names; none of another list."""
    name = source.partition(':')[0] if isinstance(source, str) else ''
    if name not in packaged_classes():
        return []
    return [column for column in read_rows(LABELS / 'classes' / f'{name}.csv')[0]
            if column in FORMS]


def read_file(path: str) -> list[str]:
    try:
        lines = read_lines(locate(path))
    except UserError as error:
        raise UserError(f'classes={path!r} is neither a readable text file ({error}) nor '
                        'one of the lists that come with vita_mm: '
                        + ', '.join(packaged_classes())) from error
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_templates(source: str | list[str]) -> list[str]:
    """Manual prompts, each with one ``{}`` where the class name goes.

    Args:
        source: one template, a list of them, or the name of a list that comes with this
            package: ``clip_kinetics700``, ``clip_ucf101`` or ``actionclip``.

    Raises:
        UserError: if there is none, or one has not exactly one ``{}``.
    """
    file = LABELS / 'templates' / f'{source}.txt' if isinstance(source, str) else None
    if file is not None and '{' not in source and file.is_file():
        templates = read_lines(file)
    else:
        templates = [source] if isinstance(source, str) else list(source)
    for template in templates:
        if template.count('{}') != 1:
            raise UserError(f'the template {template!r} must have exactly one {{}} for '
                            'the class name, or be one of clip_kinetics700, clip_ucf101, '
                            'actionclip')
    if not templates:
        raise UserError('templates is empty: give at least one, such as {}')
    return templates
