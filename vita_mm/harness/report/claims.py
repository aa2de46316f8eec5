"""The paper's claims, checked on what was measured."""
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vita_mm.harness.spec.suite import Claim

from .outcomes import difference
from .results import (
    DONE,
    EQUIVALENT,
    HOLDS,
    NOT_RUN,
    REFUTED,
    UNDECIDED,
    Check,
    RowResult,
    Step,
    TableResult,
)
from .statistics import (
    LEVEL,
    Estimate,
    estimate,
    holm,
    interval,
    needed_seeds,
    needed_videos,
)

NO_PREDICTIONS = 'no per-video predictions: run again'
RULE = (
    'A claim is tested step by step on differences of right and wrong by seed and video, '
    'both of which are samples: the interval (95 %) is for other seeds and other videos, '
    'with the variance of the few seeds integrated out (generalized p-value). The p of '
    'the steps of a claim are corrected for their number (Holm). A step holds if its '
    'interval is above zero and p < 0.05, is refuted if it is below, equivalent if the '
    'interval is inside the tolerance of the claim, and undecided otherwise. That '
    'nothing is gained holds if the gain is below the tolerance. A claim holds if all '
    'its steps do, is refuted if one is, undecided if one is, and equivalent otherwise. '
    'Were there no difference, a step would be decided in at most about 5 % of the '
    'cases, in fewer where the seeds hardly differ (1 % with 3 seeds, 3 % with 5), as '
    'the simulation in tests/test_statistics.py shows. One seed decides nothing.')


@dataclass(frozen=True)
class Asked:
    """What a claim asks of two rows: that the first is above the second.

    Attributes:
        above, below: the rows.
        gain: whether there is to be a gain; otherwise there must be none beyond the
            tolerance of the claim.
    """
    above: RowResult
    below: RowResult
    gain: bool = True

    @property
    def text(self) -> str:
        return f'{self.above.row.label} - {self.below.row.label}'

    @property
    def trains(self) -> bool:
        return self.above.row.train is not None or self.below.row.train is not None


def check_claim(claim: Claim, result: TableResult) -> Check:
    """How a claim comes out, see :data:`RULE`."""
    names = list(dict.fromkeys(
        name for entry in claim.rows
        for name in (entry if isinstance(entry, list) else [entry])))
    cells = {name: result.cell(name, claim.column) for name in names}
    lacking = [f'{name}: {cell.state if cell else "no such number"}'
               for name, cell in cells.items() if cell is None or cell.state != DONE]
    if lacking:
        return Check(claim, NOT_RUN, detail='; '.join(lacking))
    asked = KINDS[claim.kind](claim, result)
    pairs = [outcomes_of(step, claim.column) for step in asked]
    if any(pair is None for pair in pairs):
        return Check(claim, NOT_RUN, detail=NO_PREDICTIONS if any(
            cell and not cell.outcomes for cell in cells.values())
            else 'no seed or no video in common: ' + '; '.join(
                step.text for step, pair in zip(asked, pairs) if pair is None))
    scale = result.table.columns[claim.column].scale
    steps = tested(claim, asked, [pair for pair in pairs if pair is not None], scale)
    return Check(claim, outcome(steps, asked), steps, describe(steps))


def outcomes_of(asked: Asked, column: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The difference by seed and video, and weights; None if that is not known."""
    above, below = asked.above, asked.below
    first, second = above.cells[column], below.cells[column]
    if not first.outcomes or not second.outcomes:
        return None
    return difference(first.outcomes, second.outcomes, above.row.train is not None,
                      below.row.train is not None)


def tested(claim: Claim, asked: list[Asked], pairs: list[tuple[np.ndarray, np.ndarray]],
           scale: float) -> list[Step]:
    """Each step of a claim, in the unit of its column."""
    tolerance = claim.tolerance / scale
    # The tested difference is that from zero, or from the gain that counts as none.
    bounds = [0 if step.gain else tolerance for step in asked]
    corrected = holm([interval(d - bound, weights).p
                      for (d, weights), bound in zip(pairs, bounds)])
    steps = []
    for step, (d, weights), bound, p in zip(asked, pairs, bounds, corrected):
        found = interval(d, weights)
        one_seed = step.trains and found.seeds == 1
        decided = UNDECIDED if one_seed else decide(step, found, bound, p, tolerance)
        if decided == UNDECIDED and not one_seed:
            seeds, videos = needs(found, bound, tolerance, len(asked))
            found = replace(found, needed_seeds=seeds, needed_videos=videos)
        found = found.times(scale).within(-scale, scale)
        steps.append(Step(step.text, found, p, decided, step.trains))
    return steps


def decide(asked: Asked, found: Estimate, bound: float, p: float, tolerance: float
           ) -> str:
    """The outcome of a step of several seeds; ``p`` is that of a mean at the bound."""
    significant = p < 1 - LEVEL
    inside = -tolerance < found.low and found.high < tolerance
    if not asked.gain and inside:
        return EQUIVALENT
    if significant and found.value != bound:
        return HOLDS if (found.value > bound) == asked.gain else REFUTED
    return EQUIVALENT if inside else UNDECIDED


def needs(found: Estimate, bound: float, tolerance: float, steps: int
          ) -> tuple[int | None, int | None]:
    """Seeds on these videos, or videos of these seeds, that decide a step with a power
    of 80 %, one way or the other, were all as it was measured."""
    ways = [(replace(found, value=found.value - bound), (1 - LEVEL) / steps, 0.)]
    if tolerance:
        ways.append((found, 1 - LEVEL, tolerance))
    each = [(needed_seeds(*way), needed_videos(*way)) for way in ways]
    seeds, videos = ([number for number in side if number is not None]
                     for side in zip(*each))
    return min(seeds, default=None), min(videos, default=None)


def outcome(steps: list[Step], asked: list[Asked]) -> str:
    """Of a claim: that of its worst step. That nothing is gained is what an equivalent
    step says, if it is asked for."""
    found = {HOLDS if step.outcome == EQUIVALENT and not each.gain else step.outcome
             for step, each in zip(steps, asked)}
    return next(one for one in (REFUTED, UNDECIDED, EQUIVALENT, HOLDS) if one in found)


def describe(steps: list[Step]) -> str:
    """The statistics in one line."""
    seeds = min(step.estimate.seeds for step in steps)
    videos = sorted({step.estimate.videos for step in steps})
    if not any(step.trains for step in steps):
        of = 'nothing is trained'
    elif seeds == 1:
        of = 'one seed: intervals over videos only, which decide nothing'
    else:
        of = f'{seeds} seeds'
    counts = ' or '.join(f'{number:,}' for number in videos)
    return '; '.join([*map(str, steps), of, f'{counts} videos'])


def rising(claim: Claim, result: TableResult) -> list[Asked]:
    """Each row above the one before."""
    rows = [result.row(name) for name in claim.rows]
    return [Asked(above, below) for below, above in zip(rows, rows[1:])]


def greater(claim: Claim, result: TableResult) -> list[Asked]:
    """The first row of each pair above the second."""
    return [Asked(result.row(above), result.row(below)) for above, below in claim.rows]


def saturates(claim: Claim, result: TableResult) -> list[Asked]:
    """``at`` above the first row, no later one above ``at`` by more than allowed."""
    assert claim.at is not None  # see Claim
    place, at = claim.rows.index(claim.at), result.row(claim.at)
    first = [Asked(at, result.row(claim.rows[0]))] if place else []
    return first + [Asked(result.row(later), at, gain=False)
                    for later in claim.rows[place + 1:]]


KINDS: dict[str, Callable[[Claim, TableResult], list[Asked]]] = dict(
    rising=rising, greater=greater, saturates=saturates)


def step_before(row: RowResult, before: RowResult) -> dict[str, Estimate]:
    """The difference of a row to the one before it, by column, in the column's unit."""
    steps = {}
    for name in row.cells.keys() & before.cells.keys():
        pair = outcomes_of(Asked(row, before), name)
        if pair is not None:
            scale = row.cells[name].column.scale
            steps[name] = estimate(*pair).times(scale).within(-scale, scale)
    return steps


def order_agreement(result: TableResult, column: str) -> tuple[int, int]:
    """How many pairs of rows stand in the paper's order, and of how many.

    Pairs of rows with a measured and a published number, where the published ones
    differ; equal measured ones are not in the paper's order.
    """
    rows = list(result.comparable(column).values())
    pairs = [(first[0] - second[0], first[1] - second[1])
             for place, first in enumerate(rows) for second in rows[:place]]
    pairs = [(ours, paper) for ours, paper in pairs if paper]
    return sum(ours * paper > 0 for ours, paper in pairs), len(pairs)
