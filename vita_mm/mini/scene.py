"""The miniature's world: one coloured shape over drifting clutter.

A scene can be drawn at any moment from 0 to 1: a still is one moment, a video many, and
a video played backwards holds the same moments in another order.
"""
import functools
from dataclasses import dataclass

import numpy as np

COLOURS = dict(
    red=(220, 40, 40), orange=(240, 140, 30), yellow=(235, 225, 50),
    green=(50, 170, 60), cyan=(50, 205, 215), blue=(45, 75, 220),
    purple=(150, 60, 190), white=(245, 245, 245))
SHAPES = ('circle', 'square', 'triangle', 'star', 'ring', 'cross', 'diamond', 'moon')
BASE_RADIUS = 0.22  # of a shape, as a share of the frame's side
GROUNDS = dict(brown=(92, 72, 54), grey=(105, 105, 110), navy=(38, 44, 74),
               olive=(84, 90, 52))
# A motion is a change and whether it is played backwards: two motions of one change show
# the same frames in opposite order, so that no frame tells them apart.
MOTIONS = {
    'growing': ('size', False), 'shrinking': ('size', True),
    'appearing': ('opacity', False), 'vanishing': ('opacity', True),
    'warming up': ('warmth', False), 'cooling down': ('warmth', True)}
NUM_SPECKS = 12


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Attributes:
        colour, shape, ground: keys of the tables above.
        place: x and y of the shape at moment 0.5, as shares of the frame's side.
        drift: how far it wanders in x and y from moment 0 to 1.
        log_size: of its radius, in units of ``BASE_RADIUS``.
        turn: its angle, in radians.
        change: what else changes: size, opacity, warmth or None.
        backwards: whether a video of it is played backwards.
        clutter: seed of background, specks, flicker and jitter.
    """
    colour: str
    shape: str
    ground: str
    place: tuple[float, float]
    drift: tuple[float, float]
    log_size: float
    turn: float
    change: str | None
    backwards: bool
    clutter: int

    def look(self, moment: float) -> tuple[float, np.ndarray, float]:
        """Radius, colour (3 values of 0 to 255) and opacity at a moment."""
        log_size, colour, opacity = self.log_size, as_array(COLOURS[self.colour]), 1.
        if self.change == 'size':
            log_size += 1.4 * (moment - 0.5)
        elif self.change == 'opacity':
            opacity = np.clip(1.6 * moment - 0.3, 0, 1)
        elif self.change == 'warmth':
            cold, warm = as_array(COLOURS['blue']), as_array(COLOURS['red'])
            colour = cold + np.float32(moment) * (warm - cold)
        return BASE_RADIUS * np.exp(log_size), colour, opacity


def as_array(colour: tuple[int, int, int]) -> np.ndarray:
    return np.array(colour, np.float32)


def random_scene(rng: np.random.Generator, colour: str, shape: str,
                 motion: str | None = None) -> Scene:
    """A scene of this appearance and motion that differs in all else."""
    direction = rng.uniform(0, 2 * np.pi)
    change, backwards = MOTIONS[motion] if motion else (None, False)
    return Scene(
        colour, shape, str(rng.choice(list(GROUNDS))),
        place=tuple(rng.uniform(0.3, 0.7, 2)),
        drift=(0.16 * np.cos(direction), 0.16 * np.sin(direction)),
        log_size=rng.uniform(-0.35, 0.35) if change != 'size' else rng.uniform(-0.3, 0),
        turn=rng.uniform(-0.2, 0.2), change=change, backwards=backwards,
        clutter=int(rng.integers(2**31)))


def coverage(shape: str, x: np.ndarray, y: np.ndarray, softness: float) -> np.ndarray:
    """How much of each point a shape of radius 1 around the origin covers, 0 to 1."""
    radius = np.hypot(x, y)
    if shape == 'circle':
        outside = radius - 0.9
    elif shape == 'square':
        outside = np.maximum(abs(x), abs(y)) - 0.8
    elif shape == 'triangle':
        outside = np.maximum(y - 0.6, 0.87 * abs(x) - 0.5 * y - 0.55)
    elif shape == 'star':
        # Folded into one half of one of its five points.
        angle = np.arctan2(x, -y)
        fold = abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        outside = 1.15 * radius * np.cos(fold - np.pi / 5) - 0.52 \
            + 0.55 * radius * np.sin(fold)
    elif shape == 'ring':
        outside = abs(radius - 0.75) - 0.22
    elif shape == 'cross':
        outside = np.minimum(np.maximum(abs(x) - 0.28, abs(y) - 0.9),
                             np.maximum(abs(y) - 0.28, abs(x) - 0.9))
    elif shape == 'diamond':
        outside = 1.25 * abs(x) + 0.8 * abs(y) - 0.85
    else:  # moon
        outside = np.maximum(radius - 0.9, 0.8 - np.hypot(x - 0.5, y))
    return np.clip(0.5 - outside / softness, 0, 1)


class Painter:
    """Draws one scene at any moment, ``side`` pixels high and wide."""

    def __init__(self, scene: Scene, side: int) -> None:
        self.scene, self.side = scene, side
        rng = np.random.default_rng(scene.clutter)
        axis = (np.arange(side, dtype=np.float32) + 0.5) / side
        self.x, self.y = np.meshgrid(axis, axis)
        waves, phases = rng.uniform(2, 7, (2, 2)), rng.uniform(0, 6.28, 2)
        self.waves = [np.float32(a) * self.x + np.float32(b) * self.y + np.float32(phase)
                      for (a, b), phase in zip(waves, phases)]
        self.drift = rng.uniform(-5, 5, 2)
        self.specks = rng.uniform(0, 1, (NUM_SPECKS, 2))
        self.speck_speed = rng.uniform(-0.5, 0.5, (NUM_SPECKS, 2))
        self.speck_colour = rng.uniform(40, 210, (NUM_SPECKS, 3))
        self.flicker = rng.uniform((3, 0), (12, 6))
        self.jitter = rng.uniform(20, 60, 2)

    def frame(self, moment: float) -> np.ndarray:
        """(side, side, 3) uint8 RGB."""
        frame = self.ground(moment)
        self.paint_shape(frame, moment)
        frame *= 1 + 0.12 * np.sin(self.flicker[0] * moment + self.flicker[1])
        return np.clip(frame, 0, 255).astype(np.uint8)

    def ground(self, moment: float) -> np.ndarray:
        texture = functools.reduce(np.add, (
            np.sin(wave + np.float32(drift * moment))
            for wave, drift in zip(self.waves, self.drift)))
        frame = as_array(GROUNDS[self.scene.ground]) + 16 * texture[..., None]
        reach = max(1, round(0.02 * self.side))
        places = (self.specks + self.speck_speed * moment) % 1 * self.side
        for (x, y), colour in zip(places.astype(int), self.speck_colour):
            frame[max(0, y - reach):y + reach, max(0, x - reach):x + reach] = colour
        return frame

    def paint_shape(self, frame: np.ndarray, moment: float) -> None:
        """Blend the shape into ``frame``, in place."""
        scene = self.scene
        x, y = np.array(scene.place) + np.array(scene.drift) * (moment - 0.5) \
            + 0.012 * np.sin(self.jitter * moment)
        radius, colour, opacity = scene.look(moment)
        u, v = (self.x - np.float32(x)) / radius, (self.y - np.float32(y)) / radius
        cos, sin = np.cos(scene.turn), np.sin(scene.turn)
        mask = opacity * coverage(scene.shape, cos * u + sin * v, cos * v - sin * u,
                                  2 / (self.side * radius))[..., None]
        frame += mask * (colour - frame)
