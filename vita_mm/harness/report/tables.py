"""Tables as they are printed: rows, numbers, differences, claims."""
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vita_mm.harness.spec.published import Figure, read_published
from vita_mm.harness.spec.suite import Claim, Column, Suite

from .claims import order_agreement
from .model_zoo import describe_reference
from .results import DONE, Cell, Check, RowResult, Step, TableResult
from .statistics import Estimate

ROW, OURS, PAPER, DIFFERENCE, CLAIM = 'row', 'ours', 'paper', 'difference', 'claim'
NONE = '–'  # in a table: there is no such number
SAME = 1e-9  # numbers closer than this are the same


@dataclass(frozen=True)
class Bar:
    """The seeds and the interval of a number, drawn to the scale of its column.

    All are places in percent of the width; ``low`` and ``high`` are None where there is
    no interval.
    """
    seeds: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    about: str


@dataclass(frozen=True)
class Item:
    """One place of a printed table.

    Attributes:
        text: what stands there; empty where there is nothing.
        more: its interval, or how it compares, in smaller letters.
        mark: an outcome, a verdict, ``clear`` for a difference whose interval leaves
            out 0, or ``absent`` for what is not measured.
        bar: of a measured number.
        steps: of claims, that are decided here.
    """
    text: str = ''
    more: str = ''
    mark: str = ''
    bar: Bar | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Head:
    """A column of a printed table: its kind, and the column of the suite it is of."""
    kind: str
    text: str
    column: str | None = None


@dataclass(frozen=True)
class Line:
    """A line; ``row`` is None for a row of the paper that the suite does not have."""
    label: str
    row: RowResult | None
    items: list[Item]


@dataclass(frozen=True)
class Printed:
    """A table as it is printed; no column says the same in every line."""
    result: TableResult
    heads: list[Head]
    lines: list[Line]
    checks: list[Check] = field(default_factory=list)


def print_table(suite: Suite, result: TableResult, checks: Iterable[Check]) -> Printed:
    """A table with everything that is printed of it.

    Args:
        checks: of all claims; those of this table are taken.
    """
    own = [check for check in checks if check.claim in result.table.claims]
    decided = steps_by_row(own)
    heads, columns = [Head(ROW, 'row')], []
    lines = list(entries(suite, result))
    for column in result.table.columns.values():
        scale = scale_of(result, column.name)
        rows = [(row, row.cells.get(column.name) if row else None,
                 figures.get(column.name)) for _, row, figures in lines]
        heads += [Head(OURS, title_of(column), column.name),
                  Head(PAPER, 'paper', column.name),
                  Head(DIFFERENCE, 'to the row before', column.name),
                  Head(CLAIM, 'claim', column.name)]
        columns += [
            [number(cell, scale) for _, cell, _ in rows],
            [published_item(suite, row, cell, figure) for row, cell, figure in rows],
            [difference(row, column) for row, _, _ in rows],
            [Item(steps=tuple(decided.get((row.row.name, column.name), ())))
             if row else Item() for row, _, _ in rows]]
    kept = [place for place, items in enumerate(columns)
            if heads[place + 1].kind == OURS or says_something(items)]
    return Printed(result, [heads[0], *(heads[place + 1] for place in kept)], [
        Line(label, row, [columns[place][number] for place in kept])
        for number, (label, row, _) in enumerate(lines)], own)


def says_something(items: list[Item]) -> bool:
    """Whether a column tells lines apart, or is all there is to a single one."""
    return any(items[0] != item for item in items) or (
        len(items) == 1 and items[0] != Item())


def entries(suite: Suite, result: TableResult
            ) -> Iterator[tuple[str, RowResult | None, Mapping[str, Figure | None]]]:
    """Label, row of the suite and published figures of each line.

    With ``compared: values`` the paper's other rows, which have no row of the suite,
    are among the suite's at their place in the paper.
    """
    waiting, places = [], {}
    if suite.compared == 'values':
        for table, name, _ in read_published():
            if table == result.table.name:
                places.setdefault(name, len(places))
        waiting = sorted(result.others, key=places.__getitem__)
    labels = [label_of(figures) for figures in result.others.values()]

    def other(name):
        figures = result.others[name]
        label = label_of(figures)
        if labels.count(label) > 1:  # the paper prints one name for several protocols
            label += f'; {next(iter(figures.values())).protocol}'
        return label, None, figures

    for row in result.rows:
        place = places.get(row.row.published, -1)
        while waiting and places[waiting[0]] < place:
            yield other(waiting.pop(0))
        yield row.row.label, row, {name: cell.paper for name, cell in row.cells.items()}
    yield from map(other, waiting)


def label_of(figures: dict[str, Figure]) -> str:
    return next(iter(figures.values())).label


def heading(result: TableResult) -> str:
    """The title; ``table1`` before it as ``Table 1``."""
    found = re.fullmatch(r'(table|fig)(\d\w*)', result.table.name)
    if found is None:
        return result.table.title
    kind = dict(table='Table', fig='Figure')[found[1]]
    return f'{kind} {found[2]}: {result.table.title}'


def title_of(column: Column) -> str:
    return f'{column.title} ({column.unit})' if column.unit else column.title


def number(cell: Cell | None, scale: tuple[float, float] | None) -> Item:
    """``67.30 ± 0.90``, or why there is no number."""
    if cell is None:
        return Item(NONE, mark='absent')
    if cell.state != DONE:
        return Item(cell.state, mark='absent')
    digits = cell.column.digits
    return Item(ours(cell), more=interval(cell.estimate, digits),
                bar=scale and bar_of(cell, scale))


def ours(cell: Cell) -> str:
    """Mean and, of several seeds that differ, their standard deviation."""
    text = f'{cell.mean:.{cell.column.digits}f}'
    return text if not cell.std else f'{text} ± {cell.std:.{cell.column.digits}f}'


def interval(estimate: Estimate | None, digits: int) -> str:
    return '' if estimate is None else \
        f'[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]'


def difference(row: RowResult | None, column: Column) -> Item:
    """To the row before, with its interval."""
    estimate = row.steps.get(column.name) if row else None
    if estimate is None:
        return Item()
    return Item(f'{estimate.value:+.{column.digits}f}',
                more=f'[{estimate.low:+.{column.digits}f}, '
                     f'{estimate.high:+.{column.digits}f}]',
                mark='clear' if estimate.low > 0 or estimate.high < 0 else '')


def published_item(suite: Suite, row: RowResult | None, cell: Cell | None,
                   figure: Figure | None) -> Item:
    """The paper's figure and how ours compares; nothing where data are others."""
    if suite.compared != 'values' or figure is None:
        return Item()
    if row is None or cell is None or cell.state != DONE:
        return Item(paper(figure))
    verdict = cell.verdict(suite, row.row)
    return Item(paper(figure), f'{cell.delta:+.{cell.column.digits}f} {verdict}', verdict)


def paper(figure: Figure) -> str:
    spread = f' ± {as_printed(figure.std)}' if figure.std is not None else ''
    return as_printed(figure.value) + spread


def as_printed(value: float) -> str:
    """With one digit after the point, or two where they say something."""
    return re.sub(r'(\.\d)0$', r'\1', f'{value:.2f}')


def measured_cells(result: TableResult, column: str) -> list[Cell]:
    return [cell for row in result.rows if (cell := row.cells.get(column)) is not None
            and cell.state == DONE]


def is_counted(cell: Cell) -> bool:
    """Whether a number is the same whatever the seed and the videos: parameters."""
    return cell.estimate is None and not cell.std


def scale_of(result: TableResult, column: str) -> tuple[float, float] | None:
    """What the bars of a column span; None where none has a spread."""
    cells = measured_cells(result, column)
    if all(map(is_counted, cells)):
        return None
    ends = [value for cell in cells for value in cell.values.values()]
    ends += [end for cell in cells if (found := cell.estimate)
             for end in (found.low, found.high)]
    return min(ends), max(ends)


def bar_of(cell: Cell, scale: tuple[float, float]) -> Bar:
    least, most = scale

    def place(value: float) -> float:
        return round(3 + 94 * (value - least) / max(most - least, SAME), 1)

    digits, estimate, mean = cell.column.digits, cell.estimate, cell.mean
    assert mean is not None  # what is done has values
    seeds = list(cell.values.values()) if len(cell.values) > 1 else []
    about = 'seeds ' + ', '.join(f'{value:.{digits}f}' for value in seeds) if seeds \
        else f'{mean:.{digits}f}'
    if estimate is not None:
        about += f'; interval {estimate.low:.{digits}f} to {estimate.high:.{digits}f}'
    ends = (None, None) if estimate is None else (
        place(estimate.low), place(estimate.high))
    return Bar(tuple(map(place, seeds)), place(mean), *ends, about)


def steps_by_row(checks: Iterable[Check]) -> dict[tuple[str, str], list[Step]]:
    """The steps of claims by the row that each decides on, and the column."""
    found: dict[tuple[str, str], list[Step]] = {}
    for check in checks:
        for row, step in zip(decided_rows(check.claim), check.steps):
            found.setdefault((row, check.claim.column), []).append(step)
    return found


def decided_rows(claim: Claim) -> list[str]:
    """The row that each step of a claim is about, in the order of the steps."""
    if claim.kind == 'greater':
        return [above for above, _ in claim.rows]
    if claim.kind == 'saturates':
        place = claim.rows.index(claim.at)
        return claim.rows[place if place else 1:]
    return claim.rows[1:]


def count_of(numbers: Iterable[int], what: str) -> str:
    """``3 seeds``, or ``3 to 10 seeds``; empty where there are none."""
    found = sorted(set(numbers))
    if not found:
        return ''
    text = f'{found[0]:,}' if len(found) == 1 else f'{found[0]:,} to {found[-1]:,}'
    return f'{text} {what}' if found[-1] > 1 else f'{text} {what.removesuffix("s")}'


def seeds_of(result: TableResult, column: str | None = None) -> str:
    return count_of((len(cell.values) for row in result.rows if row.row.train
                     for name, cell in row.cells.items()
                     if cell.state == DONE and column in (None, name)), 'seeds')


def videos_of(result: TableResult, column: str | None = None) -> str:
    return count_of((cell.videos for row in result.rows
                     for name, cell in row.cells.items() if cell.state == DONE
                     and cell.videos is not None and column in (None, name)), 'videos')


def agreement(agreed: int, pairs: int) -> str:
    return f"{agreed} of {pairs} pairs of rows stand in the paper's order"


def remarks_on(suite: Suite, result: TableResult) -> list[str]:
    """What is to be said of a table: failures, unreadable videos, the order, notes."""
    remarks = {}  # without repetitions, for columns share trainings
    for row in result.rows:
        for cell in row.cells.values():
            if cell.error and cell.state != DONE:
                last = cell.error.strip().splitlines()[-1]
                remarks[f'{row.row.label}: {cell.state}: {last}'] = None
            if cell.unreadable and cell.state == DONE:
                remarks[f'{row.row.label}, {cell.column.title}: {cell.unreadable} '
                        'videos could not be read'] = None
            if cell.class_names and cell.values:
                # All rows have the same, but where one asks for another.
                own = f'{row.row.label}, ' if cell.column.variants.names else ''
                remarks[f'{own}{cell.column.title}: class names '
                        f'{cell.class_names}'] = None
        if row.row.note:
            remarks[f'{row.row.label}: {row.row.note}'] = None
    if suite.compared != 'values':
        for name, column in result.table.columns.items():
            agreed, pairs = order_agreement(result, name)
            if pairs:
                remarks[f'{column.title}: {agreement(agreed, pairs)}'] = None
    return [*remarks, *filter(None, [result.table.note])]


def references_of(result: TableResult) -> list[str]:
    """Where the paper's systems are that are no rows of the suite."""
    return [
        f'{next(iter(figures.values())).label}: '
        + describe_reference(reference.model, reference.note)
        for name, figures in result.others.items()
        if (reference := result.table.references.get(name))]
