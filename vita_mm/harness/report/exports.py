"""Tables for other programs: CSV for a spreadsheet, LaTeX for a paper."""
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap

from pandas import DataFrame

from vita_mm.errors import printable
from vita_mm.harness.spec.published import Figure
from vita_mm.harness.spec.suite import Column, Suite
from vita_mm.io.files import safe_cell

from .results import ABSENT, DONE, Cell, RowResult, TableResult
from .statistics import Estimate
from .tables import (
    count_of,
    entries,
    measured_cells,
    paper,
    seeds_of,
    title_of,
    videos_of,
)

# What TeX takes for a command, and what its fonts of old lack.
SPECIAL = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}',
           '^': r'\textasciicircum{}', '<': r'\textless{}', '>': r'\textgreater{}',
           '"': r'\textquotedbl{}', '|': r'\textbar{}', '±': r'$\pm$', '×': r'$\times$',
           '−': r'$-$', '–': '--', 'Δ': r'$\Delta$',
           **{sign: f'\\{sign}' for sign in '&%$#_{}'},
           # Behind the end of a line they would be its options.
           '[': '{[}', '*': '{*}'}
DASH = '--'
MANY = 3  # more parts than this are set closer
HEAD = 12  # letters of a line of a head, or a word


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
                line |= ends('ours', cell.estimate)
                if (step := row.steps.get(name)) is not None:
                    line |= dict(step=step.value, **ends('step', step), step_p=step.p)
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


def ends(name: str, estimate: Estimate | None) -> dict[str, float]:
    return {} if estimate is None else {f'{name}_low': estimate.low,
                                        f'{name}_high': estimate.high}


def published(figure: Figure | None) -> dict:
    return dict(paper=figure.value, paper_std=figure.std, protocol=figure.protocol,
                source=figure.source) if figure else {}


@dataclass(frozen=True)
class Part:
    """Columns of a ``tabular`` under one head.

    Attributes:
        group: the head above it, the column of the suite.
        head: its own, empty where there is nothing but ours.
        form: of the columns.
        texts: of each line, one for each column.
    """
    group: str
    head: str
    form: str
    texts: list[list[str]]


# What sets a table of many columns closer, and any to the width of the text at most.
CLOSE = r'\footnotesize', r'\setlength{\tabcolsep}{4pt}'
FIT = r'\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%'
# A mean by its right end, and its deviation; a figure of the paper, whose digits differ,
# around its point; a difference and its interval.
SPREAD, WHOLE, POINT, STEP = r'r@{\,}c@{\,}l', 'r', 'r@{}l', r'r@{\,}l'


def to_latex(suite: Suite, result: TableResult) -> str:
    r"""A ``table`` for a paper, for ``\usepackage{booktabs,graphicx}``.

    Of a single measured column the difference to the row before stands beside it, with
    its interval. Many columns are set closer, and none is wider than the text.
    """
    columns = list(result.table.columns.values())
    parts = [part for column in columns for part in parts_of(
        suite, result, column, steps=len(columns) == 1)]
    lines = [[escape(label), *(text for part in parts for text in part.texts[place])]
             for place, (label, _, _) in enumerate(entries(suite, result))]
    return '\n'.join([
        r'\begin{table}', r'\centering',
        *(CLOSE if len(parts) > MANY else []),
        rf'\caption{{{caption(suite, result)}}}',
        rf'\label{{tab:{label_name(suite.name)}-{label_name(result.table.name)}}}',
        FIT,
        rf'\begin{{tabular}}{{l{"".join(part.form for part in parts)}}}', r'\toprule',
        *heads_of(parts), r'\midrule', *map(row_of, lines), r'\bottomrule',
        r'\end{tabular}}', r'\end{table}', ''])


def heads_of(parts: list[Part]) -> list[str]:
    """Two lines of heads with rules between, or one where that says all."""
    groups = [(name, list(own)) for name, own in groupby(parts, lambda part: part.group)]
    upper, rules, place = [''], [], 2
    for name, own in groups:
        width = sum(len(part.texts[0]) for part in own)
        upper.append(spanned(width, name))
        rules.append(rf'\cmidrule(lr){{{place}-{place + width - 1}}}')
        place += width
    if len(groups) == len(parts):
        return [row_of(upper)]
    lower = ['', *(spanned(len(part.texts[0]), part.head) for part in parts)]
    return [row_of(upper), ' '.join(rules), row_of(lower)]


def stacked(text: str) -> str:
    """A head in short lines: a wider one would push its numbers apart."""
    lines = [escape(line) for line in wrap(text, HEAD, break_long_words=False,
                                           break_on_hyphens=False)]
    text = r' \\ '.join(lines)
    return text if len(lines) < 2 else rf'\shortstack{{{text}}}'


def spanned(width: int, text: str) -> str:
    return rf'\multicolumn{{{width}}}{{c}}{{{text}}}'


def parts_of(suite: Suite, result: TableResult, column: Column, steps: bool
             ) -> list[Part]:
    """What stands in a column of the suite: ours, the paper's, the difference."""
    best, group = best_of(result, column), stacked(title_of(column))
    lines = [(row, row.cells.get(column.name) if row else None,
              figures.get(column.name)) for _, row, figures in entries(suite, result)]
    spread = any(cell and cell.state == DONE and cell.std for _, cell, _ in lines)
    parts = [Part(group, 'ours', SPREAD if spread else WHOLE,
                  [measured(cell, best, spread) for _, cell, _ in lines])]
    if suite.compared == 'values' and any(figure for *_, figure in lines):
        parts.append(Part(group, 'paper', POINT, [as_split(figure)
                                                  for *_, figure in lines]))
    if steps and any(row and row.steps for row, *_ in lines):
        parts.append(Part(group if len(parts) > 1 else r'$\Delta$', r'$\Delta$', STEP,
                          [step_of(row, column) for row, *_ in lines]))
    return parts


def as_split(figure: Figure | None) -> list[str]:
    """A published figure before and from its point."""
    if figure is None:
        return [DASH, '']
    whole, point, rest = paper(figure).partition('.')
    return [whole, escape(point + rest)]


def best_of(result: TableResult, column: Column) -> list[float]:
    """The best mean and the second, as printed; none where more is not better."""
    if column.unit != '%':
        return []
    found = {printed_mean(cell) for cell in measured_cells(result, column.name)}
    return sorted(found, reverse=True)[:2] if len(found) > 1 else []


def printed_mean(cell: Cell) -> float:
    return round(cell.mean or 0., cell.column.digits)


def measured(cell: Cell | None, best: list[float], spread: bool) -> list[str]:
    if cell is None or cell.state != DONE:
        return [DASH, '', ''] if spread else [DASH]
    digits = cell.column.digits
    text = f'{cell.mean:.{digits}f}'
    for place, command in zip(best, (r'\textbf', r'\underline')):
        if printed_mean(cell) == place:
            text = f'{command}{{{text}}}'
    if not spread:
        return [text]
    return [text, *([r'$\pm$', f'{cell.std:.{digits}f}'] if cell.std else ['', ''])]


def step_of(row: RowResult | None, column: Column) -> list[str]:
    step = row.steps.get(column.name) if row else None
    if step is None:
        return ['', '']
    value, low, high = (f'{end:+.{column.digits}f}' for end in (
        step.value, step.low, step.high))
    return [f'${value}$', f'$[{low}, {high}]$']


def caption(suite: Suite, result: TableResult) -> str:
    """The title; n, seeds, intervals and the marks, as far as they are there."""
    cells = [cell for name in result.table.columns
             for cell in measured_cells(result, name)]
    seeds, videos = seeds_of(result), n_of(result)
    spread = any(cell.std for cell in cells)
    about = r'Mean $\pm$ standard deviation' if spread else 'Mean'
    said = ', '.join(filter(None, [seeds and f'{about} over {seeds}', videos]))
    texts = [escape(f'{result.table.title}, {suite.title}.'), said and f'{said}.']
    halves = [(found.high - found.low) / 2 for cell in cells if (found := cell.estimate)]
    if halves:
        texts.append('Intervals of 95\\,\\% over seeds and videos reach at most '
                     f'{max(halves):.1f} to either side of a mean.')
    if len(result.table.columns) == 1 and any(row.steps for row in result.rows):
        texts.append(r'$\Delta$: difference to our row above with its interval '
                     r'of 95\,\%, paired by seed and video.')
    if any(best_of(result, column) for column in result.table.columns.values()):
        texts.append('Best in bold, second underlined.')
    return ' '.join(filter(None, texts))


def n_of(result: TableResult) -> str:
    """``n = 768 videos``, or of each column its own."""
    whole = videos_of(result)
    if not whole or ' to ' not in whole:
        return whole and rf'$n = {whole.replace(" ", r"$ ", 1)}'.replace(',', r'{,}')
    counts = {column.title: count_of(
        (cell.videos for cell in measured_cells(result, name)
         if cell.videos is not None), 'videos')
        for name, column in result.table.columns.items()}
    return '; '.join(f'{escape(title)}: {count}' for title, count in counts.items()
                     if count)


def row_of(texts: Iterable[str]) -> str:
    return ' & '.join(texts).rstrip() + r' \\'


def escape(text: str) -> str:
    """Any text as one that TeX prints."""
    return ''.join(SPECIAL.get(sign, sign) for sign in printable(' '.join(text.split())))


def label_name(text: str) -> str:
    return re.sub(r'[^\w.-]', '-', text, flags=re.ASCII)
