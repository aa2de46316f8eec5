"""What has been measured, beside what was published: the content of a report."""
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from vita_mm.harness.spec.published import Figure
from vita_mm.harness.spec.suite import Claim, Column, Row, Suite, Table

from .outcomes import Outcomes
from .statistics import Estimate

# States of a cell's runs, see vita_mm.harness.run.folder.
DONE, STALE, FAILED, ABSENT = 'done', 'stale', 'failed', 'not run'
# How a claim comes out.
HOLDS, REFUTED, EQUIVALENT, UNDECIDED, NOT_RUN = (
    'holds', 'refuted', 'equivalent', 'undecided', 'not run')


@dataclass
class Cell:
    """One number of a row.

    Attributes:
        column: as it is in this row.
        state: ``done`` if at least one seed is and none is stale or has failed.
        values: measured, by seed, in the unit of the column.
        spreads: standard deviation over the splits, by seed; empty without splits.
        videos: how many were read.
        unreadable: how many could not be.
        paper: the published figure, if there is one.
        class_names: of a zero-shot number how they are written, see
            :func:`vita_mm.labels.class_names.form_of`.
        error: last words of a failed run.
        folders: folder of the run that measured it, by seed.
        outcomes: right or wrong on each video, by seed; empty unless all seeds have it.
        estimate: of the mean over other seeds and videos, in the unit of the column; of
            one seed, or where nothing is trained, over videos. None without outcomes.
    """
    column: Column
    state: str = ABSENT
    values: dict[int, float] = field(default_factory=dict)
    spreads: dict[int, float] = field(default_factory=dict)
    videos: int | None = None
    unreadable: int = 0
    paper: Figure | None = None
    class_names: str | None = None
    error: str | None = None
    folders: dict[int, Path] = field(default_factory=dict)
    outcomes: dict[int, Outcomes] = field(default_factory=dict)
    estimate: Estimate | None = None

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def std(self) -> float | None:
        """Over the seeds (ddof=1); None with fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def split_std(self) -> float | None:
        """Over the splits (ddof=0), the mean of the seeds."""
        return statistics.fmean(self.spreads.values()) if self.spreads else None

    @property
    def delta(self) -> float | None:
        """Ours minus the paper's."""
        if self.paper is None or self.mean is None:
            return None
        return self.mean - self.paper.value

    def tolerance(self, row: Row) -> float:
        """How far from the paper's figure is reproduced, in the unit of the column."""
        own = self.column.tolerance
        return row.tolerance if own is None else own

    def verdict(self, suite: Suite, row: Row) -> str:
        """``reproduced``, ``above``, ``below``, ``protocol differs``,
        ``no published figure``, or the state."""
        if self.state != DONE:
            return self.state
        if self.paper is None:
            return 'no published figure'
        if suite.compared != 'values':
            return 'protocol differs'
        delta = self.delta
        assert delta is not None  # what is done has values
        if abs(delta) <= self.tolerance(row) + 1e-9:
            return 'reproduced'
        return 'above' if delta > 0 else 'below'


@dataclass
class RowResult:
    """A row.

    Attributes:
        cells: by column; without those that the row does not have.
        steps: the difference to the row before in the table, by column, in its unit;
            without those that have no outcomes by video.
    """
    row: Row
    cells: dict[str, Cell]
    steps: dict[str, Estimate] = field(default_factory=dict)


@dataclass
class TableResult:
    table: Table
    rows: list[RowResult]
    # Rows of the paper's table that the suite does not have: name in the published
    # figures to column to figure, in the paper's order.
    others: dict[str, dict[str, Figure]] = field(default_factory=dict)

    def row(self, name: str) -> RowResult:
        return next(result for result in self.rows if result.row.name == name)

    def cell(self, row: str, column: str) -> Cell | None:
        return self.row(row).cells.get(column)

    def comparable(self, column: str) -> dict[str, tuple[float, float]]:
        """Ours and the paper's, for the rows that have both."""
        return {row.row.name: (cell.mean, cell.paper.value) for row in self.rows
                if (cell := row.cells.get(column)) and cell.state == DONE
                and cell.paper is not None and cell.mean is not None}


def others_of(table: Table, published: dict[tuple[str, str, str], Figure]
              ) -> dict[str, dict[str, Figure]]:
    """The paper's rows of a table that no row of the suite names, see TableResult."""
    named = {row.published for row in table.rows}
    others: dict[str, dict[str, Figure]] = {}
    for (name, row, metric), figure in published.items():
        if name == table.name and row not in named and metric in table.columns:
            others.setdefault(row, {})[metric] = figure
    return others


@dataclass(frozen=True)
class Step:
    """One comparison of a claim.

    Attributes:
        text: the rows, ``ABOVE - BELOW``, as they are printed.
        estimate: of the difference, in the unit of the column. Of a step that is
            undecided it needs so many seeds, or videos, to be decided either way.
        p_holm: two-sided, corrected for the number of steps; where nothing is to be
            gained, of a gain as large as the tolerance.
        outcome: ``holds``, ``refuted``, ``equivalent`` or ``undecided``.
        trains: whether one of the rows is trained.
    """
    text: str
    estimate: Estimate
    p_holm: float
    outcome: str
    trains: bool = True

    def __str__(self) -> str:
        """``CSC - CLIP: +35.20 [+31.10, +39.30], p = 0.002, holds``"""
        found = self.estimate
        return (f'{self.text}: {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}], '
                f'p = {self.p_holm:.2g}, {self.outcome}{self.needs}')

    @property
    def needs(self) -> str:
        """What would decide it, in brackets; empty if it is decided."""
        found = self.estimate
        if self.outcome != UNDECIDED or self.trains and found.seeds == 1:
            return ''
        enough = [f'{number:,} {what}' for number, what in (
            (found.needed_seeds, 'seeds'), (found.needed_videos, 'videos')) if number]
        many = 'more than 1,000 seeds' if self.trains else 'more than 10,000,000 videos'
        return f' (would need {" or ".join(enough) or many})'


@dataclass
class Check:
    """How a claim came out.

    Attributes:
        outcome: ``holds``, ``refuted``, ``equivalent``, ``undecided`` or ``not run``.
        steps: its comparisons; none if it was not run.
        detail: the statistics, or why it was not run, in one line.
    """
    claim: Claim
    outcome: str
    steps: list[Step] = field(default_factory=list)
    detail: str = ''
