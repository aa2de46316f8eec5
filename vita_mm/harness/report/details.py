"""What stands behind the numbers of a table: seeds, videos, splits, ranks, protocols."""
from dataclasses import dataclass
from pathlib import Path

from vita_mm.harness.spec.suite import Suite

from .results import DONE, Cell, RowResult, TableResult
from .tables import NONE, interval


@dataclass(frozen=True)
class Details:
    """One line for each row.

    Attributes:
        common: what is the same in every row, name to text.
        heads: names of what is not.
        lines: label to texts, in the order of ``heads``.
        folders: label to the runs that measured the row, by the column's title and
            seed.
    """
    common: dict[str, str]
    heads: list[str]
    lines: dict[str, list[str]]
    folders: dict[str, dict[str, dict[int, Path]]]


def find_details(suite: Suite, result: TableResult) -> Details:
    facts = {row.row.label: facts_of(suite, result, row) for row in result.rows}
    names = list(dict.fromkeys(name for line in facts.values() for name in line))
    texts = {name: [line.get(name, NONE) for line in facts.values()] for name in names}
    common = {name: column[0] for name, column in texts.items() if len(set(column)) == 1}
    heads = [name for name in names if name not in common]
    return Details(
        {name: text for name, text in common.items() if text != NONE}, heads,
        {label: [line.get(name, NONE) for name in heads]
         for label, line in facts.items()},
        {row.row.label: folders_of(row) for row in result.rows})


def facts_of(suite: Suite, result: TableResult, row: RowResult) -> dict[str, str]:
    """What there is to say of a row; columns that have the same say it once."""
    facts: dict[str, dict[str, str]] = {}
    for name, cell in row.cells.items():
        for fact, text in facts_of_cell(suite, result, row, name, cell).items():
            facts.setdefault(fact, {})[cell.column.title] = text
    return {fact: next(iter(texts.values())) if len(set(texts.values())) == 1
            and len(texts) in (1, len(row.cells))
            else '; '.join(f'{title} {text}' for title, text in texts.items())
            for fact, texts in facts.items()}


def facts_of_cell(suite: Suite, result: TableResult, row: RowResult, name: str,
                  cell: Cell) -> dict[str, str]:
    facts = {}
    digits = cell.column.digits
    if cell.state == DONE:
        if row.row.train is not None:
            facts['seeds'] = str(len(cell.values))
        if cell.videos is not None:
            facts['videos'] = f'{cell.videos:,}'
        if cell.estimate is not None:
            facts['interval of 95 %'] = interval(cell.estimate, digits)
        if cell.split_std is not None:
            facts['sd over splits'] = f'{cell.split_std:.{digits}f}'
    if cell.paper is not None:
        if suite.compared == 'values':
            facts['tolerance'] = f'{cell.tolerance(row.row):g}'
        facts["the paper's protocol"] = cell.paper.protocol
    both = result.comparable(name)
    if row.row.name in both and len(both) > 1:
        here, there = (1 + sum(pair[side] > both[row.row.name][side]
                               for pair in both.values()) for side in (0, 1))
        facts['rank here / in the paper'] = f'{here} / {there}'
    return facts


def folders_of(row: RowResult) -> dict[str, dict[int, Path]]:
    """Without repetitions: columns may be of one run."""
    found, seen = {}, set()
    for cell in row.cells.values():
        new = {seed: path for seed, path in cell.folders.items() if path not in seen}
        if new:
            found[cell.column.title] = new
            seen |= set(new.values())
    return found
