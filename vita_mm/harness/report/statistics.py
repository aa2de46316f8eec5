"""Intervals and tests of means over seeds and videos, which are both samples.

Another training would have another seed, another test set other videos. The outcome
d[s, v] of seed s on video v, say the difference of two systems there, is taken as

    d[s, v] = mean + seed[s] + video[v] + rest[s, v],

three independent parts around the mean, whose variances come from the two-way moments
(Searle, Casella, McCulloch: Variance Components, 1992). The mean of a few seeds has a
variance that is itself hardly known. Satterthwaite's degrees of freedom pass over that:
at a nominal 5 % they err in up to 11 % of the cases with two seeds, in 8 % with three.
Here the seeds' mean square is integrated out instead, with its expectation distributed as
mean square · (S - 1) / chi²: the generalized p-value of Tsui and Weerahandi (JASA 84,
1989). It errs in at most about 5 %, and less where seeds hardly differ; docs/suites.md
has the rates.
"""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import gammaln, ndtr, stdtr
from scipy.stats import chi2

LEVEL = 0.95
POWER = 0.8
MOST_SEEDS, MOST_VIDEOS = 1000, 10_000_000  # more would decide nothing for anybody
LENGTHS = ('value', 'low', 'high', 'sd_seed', 'sd_video', 'sd_rest')


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; all in the unit of what was averaged but p and counts.

    Attributes:
        value: the mean.
        low, high: interval at the level asked for; of a single seed over videos only.
        p: two-sided, of a mean of zero.
        seeds, videos: how many.
        sd_seed: of the means of seeds, beyond what their videos explain; None with one.
        sd_video: of the videos' means over all seeds.
        sd_rest: of what a seed does on one video; None with one seed, where it is part
            of ``sd_video``.
        needed_seeds: which would find a mean as measured to differ from zero, on as many
            videos, with a power of 80 %; None if 1000 would not, or with one seed.
        needed_videos: the same with as many seeds; with one, over videos only.
        effective: videos of equal weight that would say as much (Kish).
    """
    value: float
    low: float
    high: float
    p: float
    seeds: int
    videos: int
    sd_seed: float | None = None
    sd_video: float = 0
    sd_rest: float | None = None
    needed_seeds: int | None = None
    needed_videos: int | None = None
    effective: float = 1

    def times(self, factor: float) -> 'Estimate':
        """The same in another unit."""
        return replace(self, **{name: value * factor for name in LENGTHS
                                if (value := getattr(self, name)) is not None})

    def within(self, least: float, most: float) -> 'Estimate':
        """The same with no more of its interval than is possible."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))


@dataclass(frozen=True)
class Moments:
    """What the outcomes of S seeds on V videos say of the parts; arrays or numbers.

    Attributes:
        mean: of all.
        seeds, videos: S and V.
        seed_square: mean square of the seeds' means; 0 with one seed.
        video: variance of the videos' part.
        rest: variance of the rest; 0 with one seed, where it is part of ``video``.
        share: sum of the squared weights of the videos, 1 / V if they are equal.
    """
    mean: np.ndarray
    seeds: int
    videos: int
    seed_square: np.ndarray
    video: np.ndarray
    rest: np.ndarray
    share: float


def estimate(d: np.ndarray, weights: np.ndarray | None = None, level: float = LEVEL
             ) -> Estimate:
    """The mean of outcomes over seeds and videos, with its interval and with the seeds
    and videos that it needs to differ from zero.

    Args:
        d: (seeds, videos), each between -1 and 1.
        weights: of the videos, (videos,); default equal.
        level: of the interval.

    Raises:
        ValueError: without seeds or with fewer than two videos.
    """
    found = interval(d, weights, level)
    return replace(found, needed_seeds=needed_seeds(found, 1 - level),
                   needed_videos=needed_videos(found, 1 - level))


def interval(d: np.ndarray, weights: np.ndarray | None = None, level: float = LEVEL
             ) -> Estimate:
    """The same without what it needs, which takes longer."""
    found = moments(np.asarray(d, float), weights)
    half, value = float(half_width(found, 1 - level)), float(found.mean)
    seed = rest = None
    if found.seeds > 1:
        seed = float(np.sqrt(np.maximum(
            found.seed_square - found.share * found.rest, 0)))
        rest = float(np.sqrt(found.rest))
    return Estimate(
        value, value - half, value + half, float(p_value(found)), found.seeds,
        found.videos, seed, float(np.sqrt(found.video)), rest, effective=1 / found.share)


def moments(d: np.ndarray, weights: np.ndarray | None = None) -> Moments:
    """The two-way moments of outcomes, (..., seeds, videos); see :class:`Moments`.

    A component that comes out negative is zero. To the videos' a variance of 1 / V is
    added, as if one more had come out otherwise: outcomes that are all equal are no
    proof of certainty.
    """
    seeds, videos = d.shape[-2:]
    if seeds < 1 or videos < 2:
        raise ValueError(f'{seeds} seeds and {videos} videos have no interval')
    w = np.full(videos, 1 / videos) if weights is None else weights / weights.sum()
    share = float((w ** 2).sum())
    scale = (w ** 2 * (1 - 2 * w + share)).sum()  # so that the moments have no bias
    of_seeds = d @ w
    of_videos = d.mean(-2)
    mean = of_seeds.mean(-1)
    video = (of_videos - mean[..., None]) ** 2 @ w ** 2 / scale
    rest = seed_square = np.zeros_like(mean)
    if seeds > 1:
        left = d - of_seeds[..., None] - of_videos[..., None, :] + mean[..., None, None]
        rest = ((left ** 2).sum(-2) @ w ** 2) / ((seeds - 1) * scale)
        seed_square = of_seeds.var(-1, ddof=1)
    video = np.maximum(video - rest / seeds, 0) + 1 / videos
    return Moments(mean, seeds, videos, seed_square, video, rest, share)


def chances(freedom: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of an integral over chi² with these degrees of freedom.

    Trapezoids over its logarithm, which converge exponentially.
    """
    x = np.linspace(np.log(chi2.ppf(1e-9, freedom)), np.log(chi2.isf(1e-12, freedom)), 64)
    weights = np.exp(x * freedom / 2 - np.exp(x) / 2 - gammaln(freedom / 2)
                     - freedom / 2 * np.log(2))
    return np.exp(x), weights / weights.sum()


def variances(found: Moments) -> tuple[np.ndarray, np.ndarray]:
    """What the variance of the mean may be, (..., nodes), and with which chances."""
    fixed = (found.share * found.video)[..., None]
    if found.seeds == 1:
        return fixed, np.ones(1)
    nodes, weights = chances(found.seeds - 1)
    least = (found.share * found.rest)[..., None]
    square = found.seed_square[..., None] * (found.seeds - 1) / nodes
    return fixed + np.maximum(square, least) / found.seeds, weights


def p_value(found: Moments) -> np.ndarray:
    """Two-sided, of a mean of zero."""
    variance, weights = variances(found)
    t = -np.abs(found.mean)[..., None] / np.sqrt(variance)
    return np.minimum(2 * stdtr(found.videos - 1, t) @ weights, 1)


def half_width(found: Moments, alpha: float) -> np.ndarray:
    """Of the interval: how far from the mean a mean has a p of alpha, by bisection."""
    variance, weights = variances(found)
    sd = np.sqrt(variance)
    # Among the many videos of a power, t is the normal distribution.
    tail = ndtr if found.videos > 1000 else partial(stdtr, found.videos - 1)
    scale = np.sqrt(variance.min(-1))
    low, high = np.zeros_like(scale), np.full_like(scale, 40.)  # log(1 + width / scale)
    for _ in range(28):
        middle = (low + high) / 2
        width = scale * np.expm1(middle)
        above = 2 * tail(-width[..., None] / sd) @ weights > alpha
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return scale * np.expm1(high)


def holm(p: Sequence[float]) -> list[float]:
    """The p of several tests, each corrected for their number (Holm 1979)."""
    order = np.argsort(p)
    corrected = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    result = np.empty(len(p))
    result[order] = np.minimum(np.maximum.accumulate(corrected), 1)
    return result.tolist()


def power(found: Estimate, seeds: int, effective: float, alpha: float = 1 - LEVEL,
          tolerance: float = 0) -> float:
    """The chance that so many seeds and videos decide, were all as it was measured.

    Args:
        found: of at least two seeds, or of a mean that has none.
        seeds: at least 2 if it has seeds.
        effective: videos, of equal weight.
        alpha: of the interval.
        tolerance: the chance is that of an interval inside ± this; if it is zero, of one
            that is all above zero, or all below, as the mean is.
    """
    share, value = 1 / effective, abs(found.value)
    square, weights = np.zeros(1), np.ones(1)
    rest = (found.sd_rest or 0) ** 2
    expected = (found.sd_seed or 0) ** 2 + share * rest
    if found.sd_seed is not None:
        quantiles = (np.arange(12) + .5) / 12
        square = expected * chi2.ppf(quantiles, seeds - 1) / (seeds - 1)
        weights = np.full(12, 1 / 12)
    each = np.full(len(square), found.sd_video ** 2)
    half = half_width(Moments(np.zeros(len(square)), seeds, max(2, round(effective)),
                              square, each, np.full(len(square), rest), share), alpha)
    sd = np.sqrt(share * found.sd_video ** 2 + expected / seeds)
    if tolerance:
        inside = ndtr((tolerance - half - value) / sd) - ndtr(
            (half - tolerance - value) / sd)
        return float(np.maximum(inside, 0) @ weights)
    return float(ndtr((value - half) / sd) @ weights)


def needed_seeds(found: Estimate, alpha: float = 1 - LEVEL, tolerance: float = 0
                 ) -> int | None:
    """Seeds that decide with a power of 80 %, on as many videos; see :func:`power`."""
    if found.sd_seed is None:
        return None
    return least(lambda seeds: power(found, seeds, found.effective, alpha, tolerance), 2,
                 MOST_SEEDS)


def needed_videos(found: Estimate, alpha: float = 1 - LEVEL, tolerance: float = 0
                  ) -> int | None:
    """Videos that decide with a power of 80 %, of as many seeds; see :func:`power`."""
    share = found.effective / found.videos
    return least(lambda videos: power(found, found.seeds, videos * share, alpha,
                                      tolerance), 2, MOST_VIDEOS)


def least(chance, low: int, high: int) -> int | None:
    """The least number with a chance of 80 %, which rises with it; None above most."""
    if chance(high) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        if chance(middle) < POWER:
            low = middle + 1
        else:
            high = middle
    return low
