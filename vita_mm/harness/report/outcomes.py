"""Right or wrong on each video: what numbers are the means of, and differences of two."""
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any, cast

import numpy as np
from pandas.util import hash_array

from vita_mm.analysis.predictions import Predictions, read
from vita_mm.errors import UserError

COMMON = 0.9  # of the videos of two evaluations that are of the same test set
METRIC = re.compile(r'(?:(?P<prompts>.*)/)?acc/(?:(?P<split>split\d+)_)?top(?P<k>\d+)')


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Of the N videos of an evaluation that count.

    Attributes:
        videos: hashes of their names, (N,), each once and in their order: a suite has
            hundreds of evaluations of the same thousands of videos.
        right: 1 or 0; of a video of several splits, which have other candidates, the
            share of them in which it is right, (N,).
        weights: how much a video is of the number that is printed, the mean over the
            splits of their accuracies, (N,); their sum is 1.
    """
    videos: np.ndarray
    right: np.ndarray
    weights: np.ndarray


# By seed: what is trained has several, all else seed 0 alone.
BySeed = Mapping[int, Outcomes]


def read_outcomes(path: Path, metric: str) -> Outcomes | None:
    """What a metric is the mean of; None if a run's file of predictions does not tell.

    Args:
        path: of the predictions, see :mod:`vita_mm.analysis.predictions`.
        metric: as the evaluation names it, such as ``acc/top1``.
    """
    try:
        return remembered(path, path.stat().st_mtime_ns, metric)
    except (OSError, UserError):
        return None


@lru_cache(1024)
def remembered(path: Path, _changed: int, metric: str) -> Outcomes | None:
    asked = METRIC.fullmatch(metric)
    if asked is None:
        return None
    splits = [found for (prompts, split), found in read(path).items()
              if prompts == (asked['prompts'] or '')
              and asked['split'] in (None, split)]
    return outcomes_of(splits, int(asked['k'])) if splits else None


def outcomes_of(splits: list[Predictions], k: int) -> Outcomes:
    """Whether the right class is among the first k, weighted as the mean of splits."""
    names, right, weights = [], [], []
    for split in splits:
        counts = split.rank > 0
        names.append(hash_names(numbered(split.video)[counts]))
        right.append(split.rank[counts] <= k)
        weights.append(np.full(counts.sum(), 1 / len(splits) / counts.sum()))
    videos, place = np.unique(np.concatenate(names), return_inverse=True)
    of_each = np.concatenate(weights)
    total = np.bincount(place, of_each)
    return Outcomes(videos, np.bincount(place, of_each * np.concatenate(right)) / total,
                    total)


def hash_names(names: np.ndarray) -> np.ndarray:
    """A number for each name, the same for the same name everywhere."""
    # pandas (3.0) declares this function as an object.
    return cast(Any, hash_array)(names.astype(object))


def numbered(names: np.ndarray) -> np.ndarray:
    """The names; what a list has several times is numbered from the second on."""
    if len(np.unique(names)) == len(names):
        return names
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f'{name} ({seen[name]})')
    return np.array(result)


def stacked(cell: BySeed) -> tuple[np.ndarray, np.ndarray]:
    """The outcomes of all seeds, (seeds, videos), and the weights of the videos."""
    return aligned([cell[seed] for seed in sorted(cell)])


def difference(above: BySeed, below: BySeed, above_trains: bool, below_trains: bool
               ) -> tuple[np.ndarray, np.ndarray] | None:
    """Of two cells, (seeds, videos), and the weights of the videos.

    Seeds and videos are those that both have. Where nothing is trained there is one
    value, which goes with every seed of the other.

    Returns:
        None if they have no seed in common, or are hardly of the same videos.
    """
    if above_trains and not below_trains:
        below = dict.fromkeys(above, next(iter(below.values())))
    if below_trains and not above_trains:
        above = dict.fromkeys(below, next(iter(above.values())))
    seeds = sorted(above.keys() & below.keys())
    if not seeds:
        return None
    sides = [side[seed] for side in (above, below) for seed in seeds]
    right, weights = aligned(sides)
    if len(weights) < max(2, COMMON * max(len(side.videos) for side in sides)):
        return None
    return right[:len(seeds)] - right[len(seeds):], weights


def aligned(evaluations: list[Outcomes]) -> tuple[np.ndarray, np.ndarray]:
    """The outcomes of the videos that all have, (evaluations, videos), and of the first
    the weights of these videos."""
    first = evaluations[0]
    if all(np.array_equal(first.videos, other.videos) for other in evaluations[1:]):
        return np.stack([each.right for each in evaluations]), first.weights
    common = reduce(np.intersect1d, [each.videos for each in evaluations])
    places = [np.searchsorted(each.videos, common) for each in evaluations]
    return (np.stack([each.right[place] for each, place in zip(evaluations, places)]),
            first.weights[places[0]])
