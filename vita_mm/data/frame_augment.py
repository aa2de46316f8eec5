"""Augmentations of PIL images, drawn for each frame anew or once for a clip."""
import random
from abc import abstractmethod

import numpy as np
import torch
import torchvision
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from vita_mm.errors import UserError

DRAWS = ('frame', 'clip')


class FrameAugmentation(BaseTransform):
    """Changes the frames of some clips.

    Required key: ``imgs``, a list of (H, W, 3) uint8 RGB frames, changed.

    Args:
        draws: ``frame``: each is changed in its own way; ``clip``: all in one.
        prob: of a clip to be changed at all.
    """

    def __init__(self, draws: str = 'frame', prob: float = 1.) -> None:
        if draws not in DRAWS:
            raise UserError(f'{type(self).__name__} draws for each frame or clip: '
                            f'draws={draws!r} is neither')
        self.draws = draws
        self.prob = prob

    @abstractmethod
    def augment(self, image: Image.Image) -> Image.Image:
        """The image changed at random."""

    def transform(self, results: dict) -> dict:
        if random.random() >= self.prob:
            return results
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        frames = []
        for frame in results['imgs']:
            if self.draws == 'clip':  # rewound, each draws the same
                random.setstate(states[0])
                np.random.set_state(states[1])
                torch.set_rng_state(states[2])
            # A copy, which others may write to.
            frames.append(np.array(self.augment(Image.fromarray(frame))))
        results['imgs'] = frames
        return results


@TRANSFORMS.register_module()
class FrameTransform(FrameAugmentation):
    """A transform of torchvision on PIL images. MMAction2's ``TorchVisionWrapper`` has it
    on tensors, with one draw for a clip.

    Args:
        op: its name, such as ``ColorJitter``.
        draws, prob: see :class:`FrameAugmentation`.
        **options: of the transform.
    """

    def __init__(self, op: str, draws: str = 'frame', prob: float = 1., **options
                 ) -> None:
        super().__init__(draws, prob)
        try:
            self.op = getattr(torchvision.transforms, op)(**options)
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(f'FrameTransform cannot take op={op!r} with {options}: '
                            f'{error}') from error

    def augment(self, image: Image.Image) -> Image.Image:
        return self.op(image)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}({self.op}, draws={self.draws!r}, '
                f'prob={self.prob})')


def either(value: float) -> float:
    """The value or its negative."""
    return -value if random.random() > 0.5 else value


def affine(image: Image.Image, *coefficients: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, coefficients)


def solarize_add(image: Image.Image, addition: float) -> Image.Image:
    """Brighter by the addition, then what is bright inverted."""
    return ImageOps.solarize(
        image.point([min(255, int(level + addition)) for level in range(256)] * 3), 128)


def cut_out(image: Image.Image, side: float) -> Image.Image:
    """A grey square anywhere, of which at least a quarter is in the image."""
    width, height = image.size
    left = int(max(0, random.uniform(1, width) - side / 2))
    top = int(max(0, random.uniform(1, height) - side / 2))
    image = image.copy()
    ImageDraw.Draw(image).rectangle(
        (left, top, min(width, left + side), min(height, top + side)), (125, 123, 114))
    return image


# Each with the levels that magnitudes from 0 to 30 stand for.
OPERATIONS = {
    'auto_contrast': (lambda image, _: ImageOps.autocontrast(image), 0, 1),
    'equalize': (lambda image, _: ImageOps.equalize(image), 0, 1),
    'invert': (lambda image, _: ImageOps.invert(image), 0, 1),
    'rotate': (lambda image, angle: image.rotate(either(angle)), 0, 30),
    'posterize': (lambda image, bits: ImageOps.posterize(image, int(bits)), 0, 4),
    'solarize': (ImageOps.solarize, 0, 256),
    'solarize_add': (solarize_add, 0, 110),
    'color': (lambda image, factor: ImageEnhance.Color(image).enhance(factor), 0.1, 1.9),
    'contrast': (
        lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), 0.1, 1.9),
    'brightness': (
        lambda image, factor: ImageEnhance.Brightness(image).enhance(factor), 0.1, 1.9),
    'sharpness': (
        lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor), 0.1, 1.9),
    'shear_x': (lambda image, v: affine(image, 1, either(v), 0, 0, 1, 0), 0, 0.3),
    'shear_y': (lambda image, v: affine(image, 1, 0, 0, either(v), 1, 0), 0, 0.3),
    'cut_out': (cut_out, 0, 40),
    'translate_x': (lambda image, v: affine(image, 1, 0, either(v), 0, 1, 0), 0, 100),
    'translate_y': (lambda image, v: affine(image, 1, 0, 0, 0, 1, either(v)), 0, 100)}
HIGHEST = 30


@TRANSFORMS.register_module()
class FrameRandAugment(FrameAugmentation):
    """RandAugment as ActionCLIP has it (ildoonet/pytorch-randaugment): some of sixteen
    operations, with repetition, each always at the same magnitude, on pixels of the whole
    frame. Geometric ones take the nearest pixel and leave black.

    timm's differs in operations, levels and fill, and leaves out every other operation.

    Args:
        num_ops: that are done to a frame.
        magnitude: from 0 to 30.
        draws: see :class:`FrameAugmentation`.
    """

    def __init__(self, num_ops: int = 2, magnitude: int = 9, draws: str = 'frame'
                 ) -> None:
        super().__init__(draws)
        if not 0 <= magnitude <= HIGHEST or num_ops < 1:
            raise UserError(f'FrameRandAugment cannot take num_ops={num_ops} with '
                            f'magnitude={magnitude}: the one is from 1, the other from '
                            f'0 to {HIGHEST}')
        self.num_ops = num_ops
        self.magnitude = magnitude

    def augment(self, image: Image.Image) -> Image.Image:
        for act, least, most in random.choices(list(OPERATIONS.values()), k=self.num_ops):
            image = act(image, self.magnitude / HIGHEST * (most - least) + least)
        return image

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_ops={self.num_ops}, '
                f'magnitude={self.magnitude}, draws={self.draws!r})')
