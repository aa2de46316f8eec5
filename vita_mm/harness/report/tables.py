"""Tables as text, CSV and LaTeX: what was measured, beside what was published."""
import re
from collections.abc import Iterable, Iterator, Mapping

from pandas import DataFrame

from vita_mm.harness.spec.published import Figure, read_published
from vita_mm.harness.spec.suite import Column, Suite
from vita_mm.io.files import safe_cell

from .claims import order_agreement
from .model_zoo import describe_reference
from .results import ABSENT, DONE, Cell, RowResult, TableResult

NONE = '-'  # in a table: there is no such number
DIFFERENCE = 'ours - paper'
RANKS = ('rank here', 'rank in the paper')
DETAILS = ['videos', 'tolerance']  # columns behind the numbers


def printed(suite: Suite, result: TableResult) -> DataFrame:
    """The table, all of it text.

    With ``compared: values`` every number stands beside the paper's; otherwise there is
    nothing of the paper but the ranks of its rows.
    """
    columns = list(result.table.columns.values())
    parts = {column.name: parts_of(suite, result, column.name) for column in columns}
    lines = []
    for label, row, figures in entries(suite, result):
        line = {'row': label}
        for column in columns:
            texts = texts_of(suite, result, row, column.name, figures)
            line |= {head(column, part): texts.get(part, NONE)
                     for part in parts[column.name]}
        cells = row.cells.values() if row else ()
        line['videos'] = joined(videos(cell) for cell in cells)
        line['tolerance'] = NONE if row is None else joined(
            f'{cell.tolerance(row.row):g}' for cell in cells if cell.paper is not None)
        lines.append(line)
    frame = DataFrame(lines)
    if suite.compared == 'values' and any(len(part) > 1 for part in parts.values()):
        return frame
    return frame.drop(columns='tolerance')


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


def parts_of(suite: Suite, result: TableResult, column: str) -> list[str]:
    """What is printed of a column."""
    published = any(column in figures for figures in result.others.values()) or any(
        cell.paper for row in result.rows if (cell := row.cells.get(column)))
    if not published:
        return ['ours']
    if suite.compared == 'values':
        return ['paper', 'ours', DIFFERENCE, 'verdict']
    ranked = len(result.comparable(column)) > 1
    return ['ours', *(RANKS if ranked else ()), 'verdict']


def texts_of(suite: Suite, result: TableResult, row: RowResult | None, column: str,
             figures: Mapping[str, Figure | None]) -> dict[str, str]:
    """Every part of a column in one line that there is."""
    texts = {}
    if (figure := figures.get(column)) is not None:
        texts['paper'] = paper(figure)
        texts['verdict'] = ABSENT
    if row is None:
        return texts | {'ours': ABSENT}
    cell = row.cells.get(column)
    if cell is None:
        return texts
    texts['ours'] = ours(cell, trained=row.row.train is not None)
    texts['verdict'] = cell.verdict(suite, row.row)
    if cell.state == DONE and cell.paper is not None:
        texts[DIFFERENCE] = f'{cell.delta:+.{cell.column.digits}f}'
    both = result.comparable(column)
    if row.row.name in both:
        for side, part in enumerate(RANKS):
            above = [pair for pair in both.values()
                     if pair[side] > both[row.row.name][side]]
            texts[part] = str(len(above) + 1)
    return texts


def head(column: Column, part: str) -> str:
    return f'{title_of(column)}: {part}'


def title_of(column: Column) -> str:
    return f'{column.title} ({column.unit})' if column.unit else column.title


def ours(cell: Cell, trained: bool) -> str:
    """``48.60 ± 0.60 (splits) ± 0.10 (3 seeds)``, or why there is no number."""
    if cell.state != DONE:
        return cell.state
    digits, number = cell.column.digits, len(cell.values)
    text = f'{cell.mean:.{digits}f}'
    if cell.split_std is not None:
        text += f' ± {cell.split_std:.{digits}f} (splits)'
    if cell.std is not None:
        text += f' ± {cell.std:.{digits}f}'
    return text + (f' ({number} seed{"s" * (number > 1)})' if trained else '')


def paper(figure: Figure) -> str:
    spread = f' ± {as_printed(figure.std)}' if figure.std is not None else ''
    return as_printed(figure.value) + spread


def as_printed(value: float) -> str:
    """With one digit after the point, or two where they say something."""
    return re.sub(r'(\.\d)0$', r'\1', f'{value:.2f}')


def videos(cell: Cell) -> str:
    return NONE if cell.state != DONE or cell.videos is None else str(cell.videos)


def joined(texts: Iterable[str]) -> str:
    """Those of all columns, each once."""
    return ' / '.join(dict.fromkeys(text for text in texts if text != NONE)) or NONE


def agreement(agreed: int, pairs: int) -> str:
    return f"{agreed} of {pairs} pairs of rows stand in the paper's order"


def remarks_on(suite: Suite, result: TableResult) -> list[str]:
    """What stands under a table: failures, unreadable videos, the order, notes."""
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


def to_csv(suite: Suite, result: TableResult) -> str:
    """A line for each number, in the unit of its column; nothing is rounded."""
    lines = []
    for row in result.rows:
        for name, cell in row.cells.items():
            line = dict(row=row.row.name, label=row.row.label, column=name,
                        unit=cell.column.unit, state=cell.state)
            if cell.state == DONE:
                line |= dict(ours=cell.mean, seeds_std=cell.std, videos=cell.videos,
                             splits_std=cell.split_std, unreadable=cell.unreadable,
                             seeds=len(cell.values) if row.row.train else None)
            if suite.compared == 'values':
                line |= dict(tolerance=cell.tolerance(row.row),
                             verdict=cell.verdict(suite, row.row),
                             difference=cell.delta if cell.state == DONE else None,
                             **published(cell.paper))
            lines.append(line)
    if suite.compared == 'values':
        lines += [dict(row=name, label=figure.label, column=column, state=ABSENT,
                       unit=result.table.columns[column].unit, **published(figure))
                  for name, figures in result.others.items()
                  for column, figure in figures.items()]
    lines = [{key: safe_cell(value) for key, value in line.items()} for line in lines]
    # Whole numbers stay whole in columns that are not full.
    return DataFrame(lines).convert_dtypes().to_csv(index=False)


def published(figure: Figure | None) -> dict:
    return dict(paper=figure.value, paper_std=figure.std, protocol=figure.protocol,
                source=figure.source) if figure else {}


def to_latex(suite: Suite, result: TableResult) -> str:
    r"""The printed table without its details, for ``\usepackage{booktabs}``."""
    frame = printed(suite, result).drop(columns=DETAILS, errors='ignore')
    return frame.to_latex(index=False, escape=True).replace('±', r'$\pm$')
