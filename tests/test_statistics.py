"""Intervals and tests over seeds and videos: their error rates, shown by simulation.

``pytest tests/test_statistics.py -n0 -s --slow -k table`` prints the rates of
docs/suites.md.
"""
import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import t as student
from vita_mm.harness.report.statistics import (
    Estimate,
    Moments,
    estimate,
    half_width,
    holm,
    interval,
    moments,
    needed_seeds,
    p_value,
    power,
)

ALPHA = 0.05
# How large the seeds' part of a mean's variance is, in that of videos and rest.
RATIOS = (0, 0.3, 1, 3, 30)


def crossed(random, number, seeds, videos, ratio, mean=0., of_rest=2.):
    """Outcomes of the crossed model, (number, seeds, videos)."""
    of_video, of_rest = 0.1, 0.1 * of_rest
    of_seed = ratio * (of_video * seeds + of_rest) / videos
    return (mean + of_seed ** .5 * random.standard_normal((number, seeds, 1))
            + of_video ** .5 * random.standard_normal((number, 1, videos))
            + of_rest ** .5 * random.standard_normal((number, seeds, videos)))


def binary(random, number, seeds, videos, spread, systems=2):
    """Right or wrong of systems that are equally good, each (number, seeds, videos):
    videos differ in difficulty, for all systems and for each, and seeds in their level.
    """
    shared = random.standard_normal((number, 1, videos))
    found = []
    for _ in range(systems):
        own = random.standard_normal((number, 1, videos))
        level = 0.4 + spread * random.standard_normal((number, seeds, 1))
        chance = ndtr(level + 0.8 * shared + 0.4 * own)
        found.append((random.random((number, seeds, videos)) < chance).astype(float))
    return found


def rate(d, alpha=ALPHA):
    """How often a mean of zero is denied."""
    return (p_value(moments(d)) < alpha).mean()


def satterthwaite(d):
    """The same by the usual t-test with Satterthwaite's degrees of freedom."""
    found = moments(d)
    rest = found.share * found.rest
    square = np.maximum(found.seed_square, rest)
    variance = found.share * found.video + square / found.seeds
    freedom = np.where(found.seed_square < rest, found.videos - 1, variance ** 2 / (
        (square / found.seeds) ** 2 / (found.seeds - 1)))
    return (2 * student.sf(abs(found.mean) / variance ** .5, freedom) < ALPHA).mean()


@pytest.mark.parametrize('seeds', [2, 3, 5])
def test_a_nominal_error_is_no_larger(seeds):
    """And as large, where the spread of the seeds is what counts."""
    random = np.random.default_rng(seeds)
    rates = [rate(crossed(random, 1500, seeds, 100, ratio)) for ratio in RATIOS]
    assert max(rates) < 0.068, rates  # 3 standard errors
    assert 0.032 < rates[-1], rates


@pytest.mark.parametrize('seeds, videos, spread', [
    (3, 200, 0), (3, 200, 0.1), (2, 1000, 0.1), (4, 400, 0.4)])
def test_a_nominal_error_is_no_larger_of_right_and_wrong(seeds, videos, spread):
    random = np.random.default_rng(seeds)
    above, below = binary(random, 600, seeds, videos, spread)
    assert rate(above - below) < 0.08
    if spread > 0.2:
        assert rate(above - below) > 0.02


def test_over_videos_alone_a_nominal_error_is_one():
    random = np.random.default_rng(0)
    assert 0.034 < rate(crossed(random, 3000, 1, 100, 0)) < 0.066


def test_a_claim_of_four_steps_errs_no_more_than_one():
    """Were all rows of a ladder equal, and each step beside the ones around it."""
    random = np.random.default_rng(1)
    rows = binary(random, 500, 3, 200, 0.3, systems=5)
    p = np.stack([p_value(moments(above - below))
                  for below, above in zip(rows, rows[1:])], -1)
    wrong = [min(holm(each)) < ALPHA for each in p]
    assert np.mean(wrong) < 0.08
    assert (p < ALPHA).any(-1).mean() > np.mean(wrong) + 0.02  # without the correction


def test_intervals_cover():
    random = np.random.default_rng(2)
    d = crossed(random, 1000, 3, 100, 3, mean=1)
    found = moments(d)
    covered = abs(found.mean - 1) < half_width(found, ALPHA)
    assert 0.93 < covered.mean() < 0.985
    # What an interval covers is what the test does not deny.
    assert (covered == (p_value(moments(d - 1)) >= ALPHA)).all()


def test_moments_have_no_bias():
    """Of videos with unequal weights as well."""
    random = np.random.default_rng(3)
    weights = random.integers(1, 4, 60).astype(float)
    found = moments(crossed(random, 4000, 3, 60, 2), weights)
    assert found.mean.mean() == pytest.approx(0, abs=0.005)
    assert found.rest.mean() == pytest.approx(0.2, rel=0.02)
    # Less what is added to it, and a little more where it would be negative.
    assert found.video.mean() - 1 / 60 == pytest.approx(0.1, rel=0.05)
    of_seed = 2 * (0.1 * 3 + 0.2) / 60 + found.share * 0.2
    assert found.seed_square.mean() == pytest.approx(of_seed, rel=0.05)
    assert found.mean.var() == pytest.approx(
        (of_seed / 3) + found.share * 0.1, rel=0.06)


def test_the_mean_is_that_of_the_weights():
    d = np.array([[1., 0, 1], [0, 0, 1]])
    assert estimate(d, np.array([1., 1, 2])).value == pytest.approx(0.625)
    assert estimate(d).value == pytest.approx(0.5)


@pytest.mark.parametrize('seeds, ratio, mean', [(3, 1, 0.15), (5, 0, 0.06), (8, 3, 0.13)])
def test_power_is_as_predicted(seeds, ratio, mean):
    random = np.random.default_rng(seeds)
    rates = rate(crossed(random, 1000, seeds, 100, ratio, mean))
    of_seed = ratio * (0.1 * seeds + 0.2) / 100
    known = Estimate(mean, 0, 1, 0, seeds, 100, of_seed ** .5, .1 ** .5, .2 ** .5,
                     effective=100)
    predicted = power(known, seeds, 100)
    assert 0.2 < predicted < 0.95 and rates == pytest.approx(predicted, abs=0.06)


def test_power_of_equivalence_is_as_predicted():
    random = np.random.default_rng(9)
    found = moments(crossed(random, 1000, 4, 100, 0.5))
    of_seed = 0.5 * (0.1 * 4 + 0.2) / 100
    known = Estimate(0, 0, 1, 0, 4, 100, of_seed ** .5, .1 ** .5, .2 ** .5, effective=100)
    inside = (abs(found.mean) + half_width(found, ALPHA) < 0.2).mean()
    assert 0.2 < inside < 0.95
    assert inside == pytest.approx(power(known, 4, 100, tolerance=0.2), abs=0.06)


def test_as_many_seeds_as_it_needs_decide():
    of_seed = 0.004
    known = Estimate(0.12, 0, 1, 0, 2, 200, of_seed ** .5, .1 ** .5, .2 ** .5,
                     effective=200)
    seeds = needed_seeds(known)
    assert 3 <= seeds <= 12
    assert power(known, seeds - 1, 200) < 0.8 <= power(known, seeds, 200)
    ratio = of_seed * 200 / (0.1 * seeds + 0.2)
    rates = rate(crossed(np.random.default_rng(4), 800, seeds, 200, ratio, 0.12))
    assert 0.74 < rates < 0.9


def test_what_no_number_decides():
    random = np.random.default_rng(5)
    d = crossed(random, 1, 3, 100, 1)[0]
    found = estimate(d - d.mean() + 1e-4)
    assert (found.needed_seeds, found.needed_videos) == (None, None)
    one = estimate(d[:1])
    assert (one.needed_seeds, one.sd_seed) == (None, None)
    clear = estimate(d - d.mean() + 0.5)
    assert clear.needed_seeds <= 3 and clear.needed_videos < 100


def test_the_variance_of_few_seeds_is_that_of_a_t_test():
    """Where only the seeds count it is one, with as many degrees of freedom."""
    for seeds in (2, 3, 4, 9, 30):
        found = Moments(np.array(1.), seeds, 10 ** 7, np.array(seeds * .1), np.array(0.),
                        np.array(0.), 1e-12)
        assert p_value(found) == pytest.approx(
            2 * student.sf(.1 ** -.5, seeds - 1), rel=1e-4)
        assert half_width(found, 0.01) == pytest.approx(
            student.isf(.005, seeds - 1) * .1 ** .5, rel=1e-4)


@pytest.mark.parametrize('d', [np.zeros((3, 100)), np.ones((2, 100)), np.ones((1, 100))])
def test_outcomes_that_are_all_equal_are_not_certain(d):
    found = estimate(d)
    assert 0.01 < found.high - found.value < 0.05
    assert found.p == 1 if not d.any() else found.p < 1e-3


@pytest.mark.parametrize('shape', [(0, 5), (3, 1), (1, 0)])
def test_too_little_has_no_interval(shape):
    with pytest.raises(ValueError, match='have no interval'):
        interval(np.zeros(shape))


def test_units():
    random = np.random.default_rng(6)
    plain = estimate(crossed(random, 1, 3, 50, 1, 0.3)[0])
    points = plain.times(100)
    assert points.value == 100 * plain.value and points.sd_seed == 100 * plain.sd_seed
    assert (points.p, points.seeds, points.videos) == (plain.p, 3, 50)
    assert power(points, 4, 50) == pytest.approx(power(plain, 4, 50))
    assert estimate(np.eye(1, 9)).times(100).sd_seed is None


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.7]) == [1, 1]


@pytest.mark.slow
def test_a_table_of_error_rates(capsys):
    """Of this rule and of Satterthwaite's, by seeds and what their spread contributes."""
    random = np.random.default_rng(7)
    lines = ['| seeds | videos | ' + ' | '.join(
        f'{ratio:g}' for ratio in RATIOS) + ' |', '| --- ' * (len(RATIOS) + 2) + '|']
    worst = {}
    for seeds in (2, 3, 4, 5, 10):
        for videos in (100, 1000):
            cells = []
            for ratio in RATIOS:
                d = np.concatenate([crossed(random, 500, seeds, videos, ratio)
                                    for _ in range(8)])
                cells.append((rate(d), satterthwaite(d)))
                worst[seeds] = np.maximum(worst.get(seeds, 0), cells[-1])
            lines.append(f'| {seeds} | {videos} | ' + ' | '.join(
                f'{own:.1%} ({other:.1%})' for own, other in cells) + ' |')
    with capsys.disabled():
        print('\n' + '\n'.join(lines))
    assert all(own < 0.065 for own, _ in worst.values())
    assert worst[2][1] > 0.1 and worst[3][1] > 0.07  # why it is not Satterthwaite's


@pytest.mark.slow
@pytest.mark.parametrize('seeds', [2, 3, 4, 5])
@pytest.mark.parametrize('videos', [100, 3000])
@pytest.mark.parametrize('spread', [0, 0.03, 0.1, 0.3])
def test_error_rates_of_right_and_wrong(seeds, videos, spread):
    random = np.random.default_rng(seeds)
    rates = []
    for _ in range(8):
        above, below = binary(random, 250, seeds, videos, spread)
        rates.append(rate(above - below))
    assert np.mean(rates) < 0.065
