"""The paper's figures: data with its source, never mixed with what is measured."""
import csv
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name('published.csv')


@dataclass(frozen=True)
class Figure:
    """One number of the paper.

    Attributes:
        table: ``table1`` … ``table6``.
        row: name of the row, such as ``vita_8f_1x1``.
        label: the row as the paper prints it.
        metric: name of the column, such as ``top1``.
        value: as printed.
        std: as printed behind ±; None where the paper has none.
        protocol: frames, views, dataset.
        source: where the paper has it.
    """
    table: str
    row: str
    label: str
    metric: str
    value: float
    std: float | None
    protocol: str
    source: str


def read_published(path: Path = FILE) -> dict[tuple[str, str, str], Figure]:
    """All figures, by table, row and metric."""
    with open(path, newline='', encoding='utf-8') as file:
        figures = [Figure(**{**line, 'value': float(line['value']),
                             'std': float(line['std']) if line['std'] else None})
                   for line in csv.DictReader(file)]
    return {(figure.table, figure.row, figure.metric): figure for figure in figures}
