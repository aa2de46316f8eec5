"""Which frames of a video ours takes, beside those that the authors' loaders took.

The step that chooses frames is the one of the system's config, in its training or its
evaluation, with the row's clip length, stride and number of views.
"""
import csv
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmaction.registry import TRANSFORMS

from vita_mm.engine.pipelines import find_sampling
from vita_mm.engine.variants import Variants, apply_variants, pipeline_of
from vita_mm.errors import UserError

from .finding import Finding, config_of

COLUMNS = ('system', 'phase', 'frames', 'stride', 'views', 'view', 'seed', 'length',
           'indices')
# Of Vita-CLIP and EVL, in place of a stride: their configs of Kinetics have one.
PARTS_AT_RANDOM = 'tsn'
RATE = 30  # frames a second of the videos
# Of ours, at most so many are drawn until a random row of theirs is seen to be possible:
# enough that the first and last places where a clip can begin are among them.
DRAWS, DRAWS_PER_FRAME, FIRST = 2000, 24, 250
# Where each of the steps between frames was drawn as often, no others are to be expected.
OFTEN = 5


@dataclass(frozen=True)
class Group:
    """Rows of one sampler. ``phase`` is train, test, or both with `` and `` between."""
    system: str
    phase: str
    frames: int
    stride: str
    views: int

    def __str__(self) -> str:
        return (f'{self.system} {self.phase}: {self.frames} frames, {self.stride}, '
                f'{self.views} views')


@dataclass(frozen=True)
class Row:
    """Frames of one view of a video of ``length`` frames, counted from 0; ``seed`` is
    None where nothing is random."""
    view: int
    seed: int | None
    length: int
    indices: np.ndarray


def check_frames(path: Path) -> list[Finding]:
    """
    Raises:
        UserError: if a table of frames is not as docs/parity.md says.
    """
    return [check_group(group, rows) for group, rows in read_rows(path).items()]


def read_rows(path: Path) -> dict[Group, list[Row]]:
    groups: dict[Group, list[Row]] = defaultdict(list)
    with open(path, newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        lacking = set(COLUMNS) - set(reader.fieldnames or ())
        if lacking:
            raise UserError(f'{path} has no column {", ".join(sorted(lacking))}')
        for row in reader:
            try:
                group = Group(row['system'], row['phase'], int(row['frames']),
                              row['stride'], int(row['views']))
                indices = np.array(row['indices'].split(), dtype=int)
                if len(indices) != group.frames:
                    raise ValueError(f'{len(indices)} indices, not {group.frames}')
                groups[group].append(Row(
                    int(row['view']), int(row['seed']) if row['seed'] else None,
                    int(row['length']), indices))
            except ValueError as error:
                raise UserError(f'{path}, line {reader.line_num}: {error}') from error
    return groups


def check_group(group: Group, rows: list[Row]) -> Finding:
    """Ours and theirs at all lengths of a group."""
    what, found = f'frames of {group}', []
    try:
        for phase in group.phase.split(' and '):
            sampler = find_sampler(group, phase)
            if sampler is None:
                return Finding(what, 'the config samples otherwise', None)
            found.append(sampler.compare(rows))
    except UserError as error:
        return Finding(what, str(error), False)
    return Finding(what, '\n'.join(dict.fromkeys(words for words, _ in found)),
                   all(equal for _, equal in found))


def find_sampler(group: Group, phase: str) -> 'Sampler | None':
    """Ours of a group; None if the config has none of its kind.

    Raises:
        UserError: if there is no such system or phase.
    """
    config = config_of(group.system)
    if group.stride == PARTS_AT_RANDOM and 'frame_interval' in find_sampling(
            pipeline_of(config, phase)):
        return None
    changed = apply_variants(config, Variants(
        frames=group.frames, views=f'{group.views}x1',
        stride=int(group.stride) if group.stride.isdigit() else None))
    return Sampler(TRANSFORMS.build(dict(find_sampling(pipeline_of(changed, phase)))),
                   group.frames)


@dataclass(frozen=True)
class Sampler:
    """A step that chooses ``frames`` frames for each clip."""
    transform: Callable[[dict], dict | tuple | None]
    frames: int

    def draw(self, length: int, number: int = 0) -> np.ndarray:
        """The frames that ours takes now, (views, frames). Draws that follow from the
        sample are of the sample of this number."""
        found: Any = self.transform(dict(
            total_frames=length, start_index=0, avg_fps=RATE, modality='RGB',
            filename=f'{number}.mp4', sample_idx=number))
        return np.asarray(found['frame_inds']).reshape(-1, self.frames)

    def compare(self, rows: list[Row]) -> tuple[str, bool]:
        """What is found, in words, and whether it counts as equal."""
        by_length: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            by_length[row.length].append(row)
        if all(row.seed is None for row in rows):
            shifts = {length: self.shift(length, own)
                      for length, own in by_length.items()}
            off = {length: shift for length, shift in shifts.items() if shift}
            if not off:
                return f'the same at {len(shifts)} lengths', True
            return (f'off by up to {max(off.values())} at {len(off)} of {len(shifts)} '
                    f'lengths: {list_some(off)}', False)
        others: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            if not self.repeats(row):
                others[row.length].append(row)
        if not others:
            return f'{len(rows)} draws of theirs are the same for equal seeds', True
        impossible = {length: self.impossible(length, own)
                      for length, own in others.items()}
        off = [length for length, number in impossible.items() if number]
        if off:
            return (f'{sum(impossible.values())} of {len(rows)} draws of theirs are none '
                    f'of ours, at lengths {list_some(off)}', False)
        return f'{len(rows)} draws of theirs are possible in ours', True

    def shift(self, length: int, rows: list[Row]) -> int:
        """The largest difference of a frame."""
        ours = self.draw(length)
        return max(int(np.abs(ours[row.view] - row.indices).max()) for row in rows)

    def repeats(self, row: Row) -> bool:
        """Whether the row's seed gives its frames here, too."""
        seed_all(row.seed or 0)
        return bool((self.draw(row.length)[row.view] == row.indices).all())

    def impossible(self, length: int, rows: list[Row]) -> int:
        """How many of the rows are no draws of ours."""
        limit, drawn, left = max(DRAWS, DRAWS_PER_FRAME * length), [], rows
        seed_all(0)
        while left and len(drawn) < limit:
            wanted = min(max(2 * len(drawn), FIRST), limit)
            drawn += [self.draw(length, number) for number in range(len(drawn), wanted)]
            seen = np.stack(drawn)
            left = [row for row in left
                    if not is_possible(row.indices, seen[:, row.view])]
        return len(left)


def is_possible(theirs: np.ndarray, drawn: np.ndarray) -> bool:
    """Whether frames could be of a sampler that gave these, (draws, frames): each within
    the range of its place, and in steps that it takes, if all of these have been seen."""
    if (theirs < drawn.min(0)).any() or (theirs > drawn.max(0)).any():
        return False
    steps, counts = np.unique(np.diff(drawn, axis=1), axis=0, return_counts=True)
    return counts.min() < OFTEN or bool((np.diff(theirs) == steps).all(axis=1).any())


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def list_some(values: Iterable[int]) -> str:
    found = [str(value) for value in values]
    return ' '.join(found[:8]) + (' …' if len(found) > 8 else '')
