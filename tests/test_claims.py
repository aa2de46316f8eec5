"""Claims on made-up predictions: what they ask, how they come out, what they need."""
import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import numpy as np
import pytest
from pandas.util import hash_array
from vita_mm.analysis.predictions import Predictions
from vita_mm.errors import UserError
from vita_mm.harness.report.claims import NO_PREDICTIONS, check_claim, step_before
from vita_mm.harness.report.outcomes import Outcomes, outcomes_of, stacked
from vita_mm.harness.report.results import Cell, RowResult, TableResult
from vita_mm.harness.report.statistics import estimate, holm
from vita_mm.harness.spec.suite import Claim, Column, Row, Table, read_suite

VIDEOS = 800
DIFFICULTY = np.random.default_rng(99).random(VIDEOS)
NAMES = np.array([f'{number:04}.mp4' for number in range(VIDEOS)])


def outcomes(right, names=NAMES):
    return Outcomes(names, np.asarray(right, float), np.full(len(names), 1 / len(names)))


def drawn(accuracy, seeds=3, spread=0., key=0):
    """Outcomes by seed of a system with this accuracy, in percent."""
    random, difficulty = np.random.default_rng(key), DIFFICULTY
    found = {}
    for seed in range(seeds):
        level = (accuracy + spread * (seed - (seeds - 1) / 2)) / 100
        hard = np.where(random.random(VIDEOS) < 0.1, random.random(VIDEOS), difficulty)
        rank = hard.argsort().argsort()
        found[seed] = outcomes(rank < level * VIDEOS)
    return found


def make_table(untrained=(), scale=100, **rows):
    """A table of rows by name: outcomes by seed, or None where there are none."""
    column = Column('top1', 'Top-1', scale=scale)
    entries = [Row('t', name, f'the {name}', train=None if name in untrained else 'x.py')
               for name in rows]
    return TableResult(Table('t', 'T', {'top1': column}, entries), [
        RowResult(row, {'top1': Cell(column, 'done', {
            seed: scale * found.right.mean() for seed, found in rows[row.name].items()},
            outcomes=rows[row.name])}) for row in entries])


def check(table, kind, rows, **more):
    return check_claim(Claim('it helps', kind, rows, 'section 4', **more), table)


@pytest.mark.parametrize('high, tolerance, expected', [
    (drawn(70, key=1), 0, 'holds'), (drawn(50, key=1), 0, 'refuted'),
    (drawn(60.5, key=1), 0, 'undecided'), (drawn(60.5, key=1), 4, 'equivalent'),
    (drawn(64, spread=9, key=1), 1, 'undecided'),
    (drawn(70, key=1), 20, 'holds'), (drawn(50, key=1), 20, 'refuted'),
    # One seed decides nothing, whatever its videos say.
    (drawn(90, 1, key=1), 0, 'undecided'), (drawn(30, 1, key=1), 99, 'undecided')])
def test_outcomes_of_a_claim(high, tolerance, expected):
    found = check(make_table(low=drawn(60), high=high), 'rising', ['low', 'high'],
                  tolerance=tolerance)
    step, = found.steps
    assert found.outcome == step.outcome == expected
    assert step.text == 'the high - the low' and '\n' not in found.detail
    assert step.estimate.videos == VIDEOS and step.estimate.low < step.estimate.high
    assert ('one seed' in found.detail) == (step.estimate.seeds == 1)
    if expected == 'undecided' and step.estimate.seeds > 1:
        assert 'would need' in found.detail
        assert (step.estimate.needed_seeds or 1000) > 3


def test_the_numbers_of_a_step_are_in_the_unit_of_the_column():
    low, high = drawn(60), drawn(70, key=1)
    step, = check(make_table(low=low, high=high), 'rising', ['low', 'high']).steps
    d = np.stack([high[seed].right - low[seed].right for seed in range(3)])
    expected = estimate(d).times(100)
    assert step.estimate.value == pytest.approx(expected.value)
    assert expected.value == pytest.approx(10, abs=1)
    assert step.estimate.low == pytest.approx(expected.low)
    share, = check(make_table(scale=1, low=low, high=high), 'rising', ['low', 'high'],
                   ).steps
    assert share.estimate.value == pytest.approx(expected.value / 100)
    assert share.p_holm == pytest.approx(step.p_holm)


def test_steps_are_corrected_for_their_number():
    rows = dict(a=drawn(60), b=drawn(62.6, key=1), c=drawn(65.2, key=2))
    table = make_table(**rows)
    alone = [check(table, 'rising', pair).steps[0].p_holm
             for pair in (['a', 'b'], ['b', 'c'])]
    steps = check(table, 'rising', ['a', 'b', 'c']).steps
    assert [step.p_holm for step in steps] == pytest.approx(holm(alone))
    assert steps[0].p_holm > alone[0] or steps[1].p_holm > alone[1]


def test_a_claim_is_as_good_as_its_worst_step():
    rows = dict(a=drawn(50), b=drawn(62, key=1), c=drawn(62.5, key=2), d=drawn(45, key=3))
    table = make_table(**rows)
    assert check(table, 'rising', ['a', 'b']).outcome == 'holds'
    assert check(table, 'rising', ['a', 'b', 'c']).outcome == 'undecided'
    assert check(table, 'rising', ['a', 'b', 'c'], tolerance=5).outcome == 'equivalent'
    assert check(table, 'rising', ['a', 'b', 'c', 'd']).outcome == 'refuted'
    pairs = [['b', 'a'], ['a', 'd']]
    assert check(table, 'greater', pairs).outcome == 'holds'
    assert [step.text for step in check(table, 'greater', pairs).steps] == [
        'the b - the a', 'the a - the d']
    assert check(table, 'greater', [*pairs, ['d', 'a']]).outcome == 'refuted'


@pytest.mark.parametrize('after, expected, step', [
    (drawn(60.5, key=2), 'holds', 'equivalent'), (drawn(70, key=2), 'refuted', 'refuted'),
    (drawn(64, key=2), 'undecided', 'undecided'),
    # Less than before is no gain either.
    (drawn(50, key=2), 'holds', 'holds')])
def test_saturation(after, expected, step):
    table = make_table(first=drawn(40), middle=drawn(90, key=4), at=drawn(60, key=1),
                       after=after)
    found = check(table, 'saturates', ['first', 'middle', 'at', 'after'], at='at',
                  tolerance=4)
    assert (found.outcome, found.steps[-1].outcome) == (expected, step)
    assert [each.text for each in found.steps] == [
        'the at - the first', 'the after - the at']
    assert check(table, 'saturates', ['at', 'first'], at='at').outcome == 'holds'


def test_a_row_without_training_is_paired_with_every_seed():
    clip = drawn(50, 1)
    table = make_table(untrained=['clip'], clip=clip, vita=drawn(60, spread=2, key=1))
    step, = check(table, 'rising', ['clip', 'vita']).steps
    assert step.estimate.seeds == 3 and step.outcome == 'holds'
    assert step.estimate.sd_seed == pytest.approx(2, abs=0.7)
    # Where nothing is trained, other videos are all that could be.
    table = make_table(untrained=['a', 'b'], a=clip, b=drawn(60, 1, key=1))
    found = check(table, 'rising', ['a', 'b'])
    assert found.outcome == 'holds' and 'nothing is trained' in found.detail
    table = make_table(untrained=['a', 'b'], a=clip, b=drawn(51, 1, key=1))
    step, = check(table, 'rising', ['a', 'b']).steps
    assert step.outcome == 'undecided' and step.estimate.needed_seeds is None
    assert step.estimate.needed_videos > VIDEOS and ' videos)' in str(step)


def test_only_seeds_and_videos_of_both_rows_are_paired():
    low, high = drawn(60, 2), drawn(70, 3, key=1)
    high = {seed: outcomes(found.right[10:], NAMES[10:]) for seed, found in high.items()}
    step, = check(make_table(low=low, high=high), 'rising', ['low', 'high']).steps
    assert (step.estimate.seeds, step.estimate.videos) == (2, VIDEOS - 10)
    apart = {seed: outcomes(found.right[:9], NAMES[:9]) for seed, found in low.items()}
    found = check(make_table(low=apart, high=low), 'rising', ['low', 'high'])
    assert found.outcome == 'not run' and 'no video in common' in found.detail
    other = {5: low[0]}
    found = check(make_table(low=other, high=high), 'rising', ['low', 'high'])
    assert found.outcome == 'not run' and 'in common: the high - the low' in found.detail


def test_what_lacks_is_said():
    table = make_table(low=drawn(60), high=drawn(70))
    table.rows[1].cells['top1'].outcomes = {}
    found = check(table, 'rising', ['low', 'high'])
    assert (found.outcome, found.detail) == ('not run', NO_PREDICTIONS)
    assert step_before(table.rows[1], table.rows[0]) == {}
    table.rows[1].cells['top1'].state = 'failed'
    assert check(table, 'rising', ['low', 'high']).detail == 'high: failed'
    del table.rows[1].cells['top1']
    assert check(table, 'rising', ['low', 'high']).detail == 'high: no such number'


def test_the_difference_to_the_row_before():
    table = make_table(low=drawn(60), high=drawn(70, key=1))
    step = step_before(table.rows[1], table.rows[0])['top1']
    assert step.value == pytest.approx(10, abs=1) and step.low > 0
    assert step.needed_seeds <= 3


def predictions(videos, ranks, unreadable=()):
    number = len(videos)
    return Predictions(
        np.array(list(videos)), np.zeros(number, int), np.zeros(number, int),
        np.array(ranks), np.array([video in unreadable for video in videos]),
        np.array(['a', 'b']))


def by_name(values, found, names):
    places = np.searchsorted(found.videos, hash_array(np.array(list(names), object)))
    assert len(found.videos) == len(places)
    return values[places].tolist()


def test_a_number_of_splits_is_the_mean_of_their_accuracies():
    """A video of several splits, with other candidates, weighs what it does there."""
    first = predictions('abcd', [1, 2, 1, 7])
    second = predictions('cde', [3, 1, 1])
    found = outcomes_of([first, second], 1)
    assert by_name(found.weights, found, 'abcde') == pytest.approx(
        [1 / 8, 1 / 8, 7 / 24, 7 / 24, 1 / 6])
    assert by_name(found.right, found, 'abcde') == pytest.approx([1, 0, 3 / 7, 4 / 7, 1])
    assert found.right @ found.weights == pytest.approx((2 / 4 + 2 / 3) / 2)
    top5 = outcomes_of([first, second], 5)
    assert top5.right @ top5.weights == pytest.approx((3 / 4 + 1) / 2)
    d, weights = stacked({0: found, 1: top5})
    assert estimate(d, weights).value == pytest.approx(
        (found.right @ found.weights + top5.right @ top5.weights) / 2)


def test_videos_that_do_not_count_are_left_out_and_repeated_ones_are_several():
    found = outcomes_of([predictions('abab', [1, 0, 2, 1], unreadable='b')], 1)
    assert by_name(found.right, found, ['a', 'a (2)', 'b (2)']) == [1, 0, 1]
    assert found.weights.sum() == 1


def test_a_row_has_seeds_of_its_own(tmp_path):
    suite = tmp_path / 'own.yaml'
    text = """
title: own
seeds: 2
tables:
  t:
    title: T
    columns: {top1: {title: Top-1}}
    row: {train: configs/vita_mini.py, seeds: 4}
    rows:
      many: {label: many}
      few: {label: few, seeds: SEEDS}
"""
    suite.write_text(text.replace('SEEDS', 'null'))
    rows = read_suite(str(suite)).tables[0].rows
    assert [row.number_of_seeds(2) for row in rows] == [4, 2]
    assert [row.number_of_seeds(5) for row in rows] == [5, 5]
    assert Row('t', 'clip', 'CLIP', seeds=3).number_of_seeds(2) == 1
    suite.write_text(text.replace('SEEDS', '0'))
    with pytest.raises(UserError, match='t/few: seeds is at least 1, not 0'):
        read_suite(str(suite))
    with pytest.raises(ValueError, match='tolerance below 0'):
        Claim('it', 'rising', ['a', 'b'], 'x', tolerance=-1)
