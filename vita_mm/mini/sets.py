"""The miniature's datasets, in the roles of the paper's.

Colours and shapes form a grid of 64 looks. Three of its diagonals train the supervised
set, so that every word is trained; the zero-shot sets share out the others.
"""
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .scene import COLOURS, MOTIONS, SHAPES, Scene, random_scene


@dataclass(frozen=True)
class Size:
    """How many videos and how long a CLIP training; the default is the benchmark."""
    train_per_class: int = 10
    val_per_class: int = 3
    motion_train_per_class: int = 60
    motion_val_per_class: int = 16
    zero_shot_per_class: int = 8
    clip_steps: int = 1200
    stills_per_look: int = 300


@dataclass(frozen=True)
class ActionClass:
    """A class; what is None differs from video to video."""
    colour: str | None = None
    shape: str | None = None
    motion: str | None = None

    @property
    def name(self) -> str:
        return ' '.join(filter(None, (self.colour, self.shape, self.motion)))

    def scene(self, rng: np.random.Generator) -> Scene:
        return random_scene(rng, self.colour or str(rng.choice(list(COLOURS))),
                            self.shape or str(rng.choice(SHAPES)), self.motion)


@dataclass(frozen=True)
class Video:
    """A file to be written."""
    path: str
    scene: Scene
    num_frames: int
    fps: int


@dataclass(frozen=True)
class Split:
    """An annotation file: the class list it refers to, its videos with labels, and among
    which classes to choose, where not among all."""
    name: str
    classes_file: str
    classes: tuple[ActionClass, ...]
    videos: tuple[tuple[Video, int], ...]
    candidates: tuple[ActionClass, ...] = ()


# (colour, shape), diagonal by diagonal.
LOOKS = [(colour, SHAPES[(row + step) % len(SHAPES)])
         for step in range(len(SHAPES)) for row, colour in enumerate(COLOURS)]


def supervised_classes() -> tuple[ActionClass, ...]:
    """48 classes: 24 looks, each changing in one way and in its reverse."""
    pairs = [('growing', 'shrinking'), ('appearing', 'vanishing')] * 12
    return tuple(ActionClass(*look, motion)
                 for look, pair in zip(LOOKS[:24], pairs) for motion in pair)


def motion_classes() -> tuple[ActionClass, ...]:
    return tuple(ActionClass(motion=motion) for motion in MOTIONS)


def held_out_looks(first: int, last: int) -> tuple[ActionClass, ...]:
    return tuple(ActionClass(*look) for look in LOOKS[first:last])


def film(folder: str, classes: tuple[ActionClass, ...], per_class: int, seed: list[int]
         ) -> list[tuple[Video, int]]:
    """Videos of every class, of 3 to 5 seconds, with their labels, class by class."""
    videos = []
    for label, action in enumerate(classes):
        for index in range(per_class):
            rng = np.random.default_rng([*seed, label, index])
            fps = int(rng.choice([10, 12]))
            path = f'videos/{folder}/{label:02d}_{index:03d}.mp4'
            video = Video(path, action.scene(rng), int(fps * rng.uniform(3, 4.5)), fps)
            videos.append((video, label))
    return videos


def all_splits(size: Size, seed: int) -> Iterator[Split]:
    """Every annotation file of the benchmark."""
    for number, (role, classes, train, val) in enumerate((
            ('k400', supervised_classes(), size.train_per_class, size.val_per_class),
            ('ssv2', motion_classes(), size.motion_train_per_class,
             size.motion_val_per_class))):
        for part, per_class in enumerate((train, val)):
            name = ('train', 'val')[part]
            yield Split(f'{role}_{name}', f'{role}_classes', classes, tuple(
                film(f'{role}_{name}', classes, per_class, [seed, number, part])))

    for number, (role, classes) in enumerate((('hmdb51', held_out_looks(24, 36)),
                                              ('ucf101', held_out_looks(36, 48))), 2):
        videos = film(role, classes, size.zero_shot_per_class, [seed, number])
        for split in (1, 2, 3):
            # As in the originals: all classes, other videos.
            rng = np.random.default_rng([seed, number, 100, split])
            half = rng.permutation(len(videos))[:len(videos) // 2]
            yield Split(f'{role}_test_split{split}', f'{role}_classes', classes,
                        tuple(videos[index] for index in sorted(half)))

    pool = held_out_looks(48, 64)
    videos = film('k600', pool, size.zero_shot_per_class, [seed, 4])
    for split in (1, 2, 3):
        # Other classes, all their videos.
        rng = np.random.default_rng([seed, 4, 100, split])
        chosen = set(rng.permutation(len(pool))[:12].tolist())
        yield Split(f'k600_split{split}', 'k600_classes', pool,
                    tuple((video, label) for video, label in videos if label in chosen),
                    tuple(pool[label] for label in sorted(chosen)))
