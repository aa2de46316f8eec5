"""The paper's claims, checked on what was measured."""
import statistics
from collections.abc import Callable
from typing import Any, cast

from scipy.stats import ttest_1samp

from vita_mm.harness.spec.suite import Claim

from .results import DONE, Check, TableResult

SIGNIFICANT = 0.05  # p below which a difference is taken for one
EQUAL = 1e-9  # differences closer than this are the same

# What a claim asks for, step by step: text to differences, one a pair of runs, which
# must be above zero.
Steps = dict[str, list[float]]


def check_claim(claim: Claim, result: TableResult) -> Check:
    """How a claim comes out.

    Each step of a claim is a set of differences, paired by the seed of the training.
    It holds if every step goes the right way with p < 0.05 in a one-sided paired
    t-test, of all pairs of rows together for ``greater``. All steps must, so that p is
    not corrected for their number. It does not hold if the mean of a step goes the
    other way, and is not decided otherwise, which includes whatever one seed says in
    its favour.
    """
    names = list(dict.fromkeys(
        name for entry in claim.rows
        for name in (entry if isinstance(entry, list) else [entry])))
    cells = {name: result.cell(name, claim.column) for name in names}
    measured = {name: cell for name, cell in cells.items()
                if cell is not None and cell.state == DONE}
    lacking = [f'{name}: {cell.state if cell else "no such number"}'
               for name, cell in cells.items() if name not in measured]
    if lacking:
        return Check(claim, 'not run', detail='; '.join(lacking))
    steps = KINDS[claim.kind](claim, result)
    unpaired = [text for text, step in steps.items() if not step]
    if unpaired:
        return Check(claim, 'not run',
                     detail=f'no seed in common: {"; ".join(unpaired)}')
    seeds = min(map(len, steps.values()))
    videos = sorted({cell.videos for cell in measured.values()
                     if cell.videos is not None})
    tests = {text: p_value(step) for text, step in steps.items()}
    details = [f'{text}: {say(step, seeds > 1)}' for text, step in steps.items()]
    if claim.kind == 'greater' and len(steps) > 1:
        together = [difference for step in steps.values() for difference in step]
        tests = {'all pairs': p_value(together)}
        details.append(f'all pairs: {say(together, seeds > 1)}')
    details.append('one seed: direction only' if seeds == 1 else f'{seeds} seeds')
    if videos:
        details.append(' or '.join(map(str, videos)) + ' videos')
    return Check(claim, outcome(steps, tests, seeds), detail='; '.join(details))


def outcome(steps: Steps, tests: dict[str, float], seeds: int) -> str:
    means = [statistics.fmean(step) for step in steps.values()]
    if min(means) < -EQUAL:
        return 'does not hold'
    if seeds > 1 and min(means) > EQUAL and max(tests.values()) < SIGNIFICANT:
        return 'holds'
    return 'not decided'


def differences(result: TableResult, column: str, above: str, below: str
                ) -> list[float]:
    """Of two rows, for the seeds that both have.

    A row in which nothing is trained has one value, which goes with every seed.
    """
    values: list[tuple[dict[int, float], bool]] = []
    for name in (above, below):
        row = next(entry.row for entry in result.rows if entry.row.name == name)
        cell = result.cell(name, column)
        assert cell is not None  # else check_claim says what is lacking
        values.append((cell.values, row.train is None))
    (high, high_fixed), (low, low_fixed) = values
    if high_fixed and not low_fixed:
        high = dict.fromkeys(low, next(iter(high.values())))
    if low_fixed and not high_fixed:
        low = dict.fromkeys(high, next(iter(low.values())))
    return [high[seed] - low[seed] for seed in sorted(high.keys() & low.keys())]


def rising(claim: Claim, result: TableResult) -> Steps:
    """Each row above the one before."""
    return {f'{above} - {below}': differences(result, claim.column, above, below)
            for below, above in zip(claim.rows, claim.rows[1:])}


def greater(claim: Claim, result: TableResult) -> Steps:
    """The first row of each pair above the second."""
    return {f'{above} - {below}': differences(result, claim.column, above, below)
            for above, below in claim.rows}


def saturates(claim: Claim, result: TableResult) -> Steps:
    """``at`` above the first row, no later one above ``at`` by more than allowed."""
    at = claim.at
    assert at is not None  # see Claim
    place = claim.rows.index(at)
    steps = {}
    if place:
        first = claim.rows[0]
        steps[f'{at} - {first}'] = differences(result, claim.column, at, first)
    for later in claim.rows[place + 1:]:
        lost = differences(result, claim.column, at, later)
        steps[f'{at} + {claim.tolerance:g} - {later}'] = [
            claim.tolerance + difference for difference in lost]
    return steps


KINDS: dict[str, Callable[[Claim, TableResult], Steps]] = dict(
    rising=rising, greater=greater, saturates=saturates)


def p_value(step: list[float]) -> float:
    """One-sided: how likely such differences are where there is none.

    A t-test says nothing where all differences are equal, as happens with few videos:
    there it is the sign test. 1 for a single difference.
    """
    if len(step) < 2:
        return 1.0
    if max(step) - min(step) < EQUAL:
        return 0.5 ** len(step) if step[0] > EQUAL else 1.0
    # SciPy (1.17) declares no attributes of its result.
    found = cast(Any, ttest_1samp(step, 0, alternative='greater'))
    return float(found.pvalue)


def say(step: list[float], tested: bool) -> str:
    """Mean, and if that was tested standard deviation (ddof=1) and p."""
    mean = f'{statistics.fmean(step):+.2f}'
    return f'{mean} ± {statistics.stdev(step):.2f}, p = {p_value(step):.2g}' \
        if tested else mean


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
