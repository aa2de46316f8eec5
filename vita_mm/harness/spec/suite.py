"""A suite: the tables and figures to reproduce, read from a YAML file.

See ``benchmarks/suites/mini.yaml`` for an example with every field.
"""
import difflib
import fnmatch
from collections.abc import Iterator
from dataclasses import field, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from vita_mm.engine.precision import PRECISIONS
from vita_mm.engine.variants import Variants, find_dataset
from vita_mm.errors import UserError
from vita_mm.io.files import ROOT, locate

SUITES = ROOT / 'benchmarks' / 'suites'
# A long suite is read ten times faster by the C library, where PyYAML has it.
LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
COMPARED = ('values', 'order')
CLAIMS = ('rising', 'greater', 'saturates')
FIGURES = ('lines', 'trade_off', 'rollout')
# How an evaluation differs from its config; a row and a column have these fields, too.
VARIANTS = {item.name for item in fields(Variants)}
OF_TRAINING = ('frames', 'stride', 'draws')
CLOSED = ConfigDict(extra='forbid')
Number = int | float


@dataclass(frozen=True, config=CLOSED)
class Column:
    """A column of a table.

    Attributes:
        name: key in the suite, such as ``top1``; also the metric of published figures.
        title: head of the column.
        metric: name in the results of the evaluation, such as ``acc/top1``.
        std: name of its standard deviation over splits; None if there are no splits.
        test: config of the evaluation; None for the test set of the training's config.
        variants: of the evaluation. In the file they are fields of the column.
        scale: factor from the measured number to the one that is printed.
        digits: after the point.
        unit: printed behind the title.
        tolerance: in the unit of the column, if not that of the row.
    """
    name: str
    title: str
    metric: str = 'acc/top1'
    std: str | None = None
    test: str | None = None
    variants: Variants = Variants()
    scale: Number = 100
    digits: int = 2
    unit: str = '%'
    tolerance: Number | None = None


@dataclass(frozen=True, config=CLOSED)
class Row:
    """A row: what is trained, and how it is evaluated.

    Attributes:
        table: name of its table.
        name: key in the suite.
        label: as printed.
        train: config of the training; None where nothing is trained.
        override: dotted config key to value, on top of ``train``.
        test: config of the evaluation, for columns that have none of their own.
        variants: of the training (frames, stride, draws) and of its evaluations; of what
            is evaluated where nothing is trained. In the file they are fields of the row.
        cells: column name to fields of :class:`Column` that differ in this row.
        published: name of the row in the published figures; None if it has none.
        tolerance: in the unit of the columns: how far from the published figure is
            "reproduced".
        seeds: how many trainings at least; None for those of the suite. A claim needs
            as many in all rows that it compares.
        tags: what a comparison shows: ``prompts``, ``mv``, ``mc``, ``context``,
            ``frames``, ``dataset`` …
        x: place on the axis of a figure.
        series: line of a figure.
        note: a remark printed under the table.
    """
    table: str
    name: str
    label: str
    train: str | None = None
    override: dict = field(default_factory=dict)
    test: str | None = None
    variants: Variants = Variants()
    cells: dict = field(default_factory=dict)
    published: str | None = None
    tolerance: Number = 0.5
    seeds: int | None = None
    tags: dict = field(default_factory=dict)
    x: Number | None = None
    series: str | None = None
    note: str | None = None

    @property
    def id(self) -> str:
        """``TABLE/ROW``, what ``--only`` selects."""
        return f'{self.table}/{self.name}'

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f'seeds is at least 1, not {self.seeds}')

    def number_of_seeds(self, least: int) -> int:
        """How many seeds it has, of a suite that has at least so many; where nothing is
        trained there is one."""
        return max(least, self.seeds or 1) if self.train else 1

    @property
    def of_training(self) -> Variants:
        """The variants of its training, whose own test set has its views."""
        return self.variants.only(*OF_TRAINING, 'views')


@dataclass(frozen=True, config=CLOSED)
class Claim:
    """A sentence of the paper, as a check on rows of one table.

    Attributes:
        text: what is claimed.
        kind: one of ``CLAIMS``, see :mod:`vita_mm.harness.report.claims`.
        column: whose numbers are compared.
        rows: names of rows; pairs of names for ``greater``.
        at: name of the row from which on nothing is gained, for ``saturates``.
        tolerance: in the unit of the column: a difference of at most this counts as
            none. Zero, no difference is too small to count.
        source: where the paper says it.
    """
    text: str
    kind: str
    rows: list
    source: str
    column: str = 'top1'
    at: str | None = None
    tolerance: Number = 0

    def __post_init__(self) -> None:
        if self.kind not in CLAIMS:
            raise ValueError(f'the claim {self.text!r} is of the kind {self.kind!r}; '
                             f'known are {", ".join(CLAIMS)}')
        if self.tolerance < 0:
            raise ValueError(f'the claim {self.text!r} has a tolerance below 0')
        if self.kind == 'saturates' and self.at not in self.rows:
            raise ValueError(f'the claim {self.text!r} needs one of its rows as "at"')
        if len(self.rows) < (1 if self.kind == 'greater' else 2):
            raise ValueError(f'the claim {self.text!r} compares no rows')


@dataclass(frozen=True, config=CLOSED)
class Reference:
    """Where a system of the paper is that is no row of the suite.

    Attributes:
        model: name of MMAction2's model; None if it has none.
        note: how that differs from the paper's row, or what MMAction2 has instead.
    """
    model: str | None = None
    note: str = ''


@dataclass(frozen=True, config=CLOSED)
class Table:
    """A table or figure of the paper.

    ``references`` are by the names of rows in the published figures.
    """
    name: str
    title: str
    columns: dict[str, Column]
    rows: list[Row]
    claims: list[Claim] = field(default_factory=list)
    figure: dict | None = None
    references: dict[str, Reference] = field(default_factory=dict)
    note: str | None = None

    def __post_init__(self) -> None:
        figure = self.figure
        if figure is None:
            return
        if figure.get('kind') not in FIGURES:
            raise ValueError(f'figure is of the kind {figure.get("kind")!r}; known are '
                             + ', '.join(FIGURES))
        names = [figure.get('x'), *figure.get('y', [])]
        for name in names if figure['kind'] == 'trade_off' else []:
            if name not in self.columns:
                raise ValueError(f'figure names the column {name!r}, which is not '
                                 'there')
        if figure['kind'] == 'rollout' and figure.get('row') not in [
                row.name for row in self.rows]:
            raise ValueError(f'figure names the row {figure.get("row")!r}, which is not '
                             'there')

    def column(self, row: Row, name: str) -> Column:
        """The column as it is in this row."""
        column = self.columns[name]
        here = dict(row.cells.get(name) or {})
        of_row = row.variants if row.train is None else row.variants.without(*OF_TRAINING)
        variants = column.variants | of_row | take_variants(here)
        own = {item.name: getattr(column, item.name) for item in fields(column)}
        return Column(**{**own, 'test': column.test or row.test, 'variants': variants,
                         **here})


@dataclass(frozen=True, config=CLOSED)
class Suite:
    """What one sweep runs.

    Attributes:
        compared: ``values`` if numbers answer to the paper's, ``order`` if only their
            order does.
        seeds: how many, unless the command line says, or a row says more.
        timeout: seconds that one run may take.
        prepare: the verb, or Python script, with its arguments, that makes the data,
            run before anything else.
        override: dotted config key to value, on top of every config it fits.
        estimates: what is run, as on a command line (a config, its variants), to seconds
            on one device, before any run has been timed. An evaluation of a training on
            another dataset is of its variants alone, such as ``--dataset hmdb51``.
        estimates_precision: in which these are on an A100; others are then in
            proportion. None where they are on other devices.
    """
    name: str
    title: str
    tables: list[Table]
    compared: str = 'values'
    seeds: int = 1
    timeout: Number = 3600
    prepare: str | None = None
    override: dict = field(default_factory=dict)
    estimates: dict = field(default_factory=dict)
    estimates_precision: str | None = None
    note: str | None = None

    def rows(self, only: str | None = None) -> Iterator[tuple[Table, Row]]:
        """All rows, or those whose ``TABLE/ROW`` fits the pattern."""
        for table in self.tables:
            for row in table.rows:
                if only is None or fnmatch.fnmatch(row.id, only) or \
                        fnmatch.fnmatch(table.name, only):
                    yield table, row


def read_suite(name: str) -> Suite:
    """Read a suite by name (``mini``, ``paper``) or path.

    Files that it names are looked for beside it, then in the project.

    Raises:
        UserError: naming the place, if a field is unknown, missing or of a wrong kind.
    """
    path = Path(locate(name)) if name.endswith(('.yaml', '.yml')) \
        else SUITES / f'{name}.yaml'
    try:
        content = yaml.load(path.read_text(), LOADER)
    except FileNotFoundError:
        known = ', '.join(sorted(file.stem for file in SUITES.glob('*.yaml')))
        raise UserError(f'there is no suite {name}: say {known} or a .yaml file'
                        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f'cannot read the suite {path}: {error}') from error
    content = dict(mapping(content, path))
    tables = mapping(content.pop('tables', {}), f'{path}: tables')
    suite = build(Suite, content, str(path), name=path.stem, tables=[
        read_table(name, near(path.parent, table), f'{path}: {name}')
        for name, table in tables.items()])
    if suite.compared not in COMPARED:
        raise UserError(f'{path}: compared is one of {", ".join(COMPARED)}, not '
                        f'{suite.compared!r}')
    if suite.estimates_precision not in (None, *PRECISIONS):
        raise UserError(f'{path}: estimates_precision is one of {", ".join(PRECISIONS)}, '
                        f'not {suite.estimates_precision!r}')
    return suite


def near(folder: Path, content: Any, key: str = '') -> Any:
    """The same with the paths of configs that are beside the suite, in its folder."""
    if isinstance(content, dict):
        return {name: near(folder, value, name) for name, value in content.items()}
    if key in ('train', 'test', 'dataset') and isinstance(content, str) \
            and content.endswith('.py') and (folder / content).is_file():
        return str((folder / content).resolve())
    return content


def read_table(name: str, content: dict, place: str) -> Table:
    content = dict(mapping(content, place))
    columns = {key: build(Column, value, f'{place}/{key}', name=key)
               for key, value in content.pop('columns', {}).items()}
    defaults = content.pop('row', {})
    rows = [build(Row, merged(defaults, value), f'{place}/{key}', table=name, name=key)
            for key, value in content.pop('rows', {}).items()]
    claims = [build(Claim, value, f'{place}, claims')
              for value in content.pop('claims', [])]
    references = {key: build(Reference, value, f'{place}, references/{key}')
                  for key, value in content.pop('references', {}).items()}
    table = build(Table, content, place, name=name, columns=columns, rows=rows,
                  claims=claims, references=references)
    for row in rows:
        check_row(table, row, place)
    known = {row.name for row in rows}
    for claim in claims:
        names = [name for entry in [*claim.rows, claim.at or []]
                 for name in (entry if isinstance(entry, list) else [entry])]
        for missing in set(names) - known:
            raise UserError(f'{place}: the claim {claim.text!r} names the row '
                            f'{missing!r}, which is not there')
        if claim.column not in columns:
            raise UserError(f'{place}: the claim {claim.text!r} names the column '
                            f'{claim.column!r}, which is not there')
    return table


def merged(defaults: dict, row: dict | None) -> dict:
    """A row on top of what all rows of its table share; dicts are merged."""
    result = dict(defaults)
    for key, value in (row or {}).items():
        both = isinstance(value, dict) and isinstance(defaults.get(key), dict)
        result[key] = {**defaults[key], **value} if both else value
    return result


def check_row(table: Table, row: Row, place: str) -> None:
    place = f'{place}/{row.name}'
    for name, cell in row.cells.items():
        if name not in table.columns:
            raise UserError(f'{place}: there is no column {name!r}')
        check_fields(cell or {}, known_fields(Column), f'{place}: {name}')
    for name in table.columns:
        # A cell that is None in the file has no number in this row.
        if not has_cell(row, name):
            continue
        try:
            column = table.column(row, name)
        except ValueError as error:
            raise UserError(f'{place}: {name}: {sentence(error)}') from error
        if row.train is None and column.test is None:
            raise UserError(f'{place}: nothing is trained, so that {name} needs a test '
                            'config')
        if column.variants.dataset is not None:
            try:
                find_dataset(column.variants.dataset)
            except UserError as error:
                raise UserError(f'{place}: {name}: {error}') from error
            if row.train is not None and column.test is not None:
                raise UserError(f'{place}: {name} has a test config and a dataset: which '
                                'of them is meant?')


def has_cell(row: Row, column: str) -> bool:
    """Whether the row has a number in this column."""
    return column not in row.cells or row.cells[column] is not None


def mapping(content: Any, place: str | Path) -> dict:
    if not isinstance(content, dict):
        raise UserError(f'{place}: expected fields, found {content!r}')
    return content


def take_variants(content: dict) -> Variants:
    """The variants among the fields of a row, column or cell, which lose them."""
    return Variants(**{key: content.pop(key) for key in VARIANTS & content.keys()})


def known_fields(kind: type) -> set[str]:
    """What a file may say of it."""
    names = {item.name for item in fields(kind)}
    return names - {'variants'} | VARIANTS if 'variants' in names else names


def check_fields(content: Any, known: set[str], place: str) -> None:
    """Refuse fields that are not known, with the nearest that is."""
    for key in mapping(content, place):
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise UserError(f'{place}: unknown field {key!r}; ' + (
                f'did you mean {near[0]!r}?' if near
                else f'known are {", ".join(sorted(known))}'))


def build(kind: type, content: Any, place: str, **given: Any) -> Any:
    """A dataclass from the fields of a file.

    Raises:
        UserError: if a field is unknown, missing or of a wrong kind.
    """
    check_fields(content, known_fields(kind) - set(given), place)
    content = dict(content)
    try:
        if 'variants' in {item.name for item in fields(kind)}:
            given['variants'] = take_variants(content)
        return kind(**content, **given)
    except ValueError as error:
        raise UserError(f'{place}: {sentence(error)}') from error


def sentence(error: ValueError) -> str:
    """What is wrong with the first field that is."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    name = '.'.join(map(str, first['loc']))
    if first['type'] == 'missing':
        return f'{name} is missing'
    if 'ctx' in first and first['type'] == 'value_error':  # of __post_init__
        return str(first['ctx']['error'])
    return f'{name}: {first["msg"]}, not {first["input"]!r}'
