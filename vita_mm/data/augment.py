"""timm's RandAugment and a random crop, of a whole clip alike."""
import functools
import random
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from mmaction.datasets.transforms import RandomResizedCrop
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from PIL import Image
from timm.data import auto_augment
from timm.data.auto_augment import RandAugment, rand_augment_transform

from vita_mm.errors import UserError

# Operations on each pixel by itself, and those that move pixels; all others look at the
# whole image.
POINTWISE = {auto_augment.invert, auto_augment.posterize, auto_augment.solarize,
             auto_augment.solarize_add, auto_augment.color, auto_augment.brightness}
GEOMETRIC = {auto_augment.rotate, auto_augment.shear_x, auto_augment.shear_y,
             auto_augment.translate_x_rel, auto_augment.translate_y_rel,
             auto_augment.translate_x_abs, auto_augment.translate_y_abs}


class Operation:
    """An augmentation whose parameters have been drawn."""

    def __init__(self, function: Callable, levels: tuple, options: dict) -> None:
        self.function = function
        self.levels = levels
        self.options = options

    def __call__(self, image: 'Image.Image | Window') -> Image.Image:
        return self.function(image, *self.levels, **self.options)


@functools.lru_cache(maxsize=64)
def build_policy(policy: str, interpolation: str, short_side: int) -> RandAugment:
    """timm's RandAugment, which draws operations instead of doing them: called with a
    list, it adds them there."""
    # Translations are up to 45 % of the short side, as in PySlowFast and the released
    # code; the rest is timm's.
    augment = rand_augment_transform(policy, dict(
        translate_const=int(0.45 * short_side),
        interpolation=getattr(Image.Resampling, interpolation.upper())))
    for operation in augment.ops:
        operation.aug_fn = functools.partial(record, operation.aug_fn)
    return augment


def record(function: Callable, operations: list[Operation], *levels, **options
           ) -> list[Operation]:
    return [*operations, Operation(function, levels, options)]


class Window:
    """Stands for an image of which a geometric operation computes one box only.

    Columns and rows before the box are computed and dropped: a moved origin would round
    coordinates otherwise, and pixels with them.
    """
    rotate = Image.Image.rotate  # asks for size, copy and transform

    def __init__(self, image: Image.Image, box: tuple) -> None:
        self.image = image
        self.box = box
        self.size = image.size

    def copy(self) -> Image.Image:
        return self.image.crop(self.box)

    def transform(self, size: tuple, *args, **kwargs) -> Image.Image:
        return self.image.transform(self.box[2:], *args, **kwargs).crop(self.box)


def augmented_box(image: Image.Image, operations: list[Operation], box: tuple
                  ) -> Image.Image:
    """What the operations give in a box (left, top, right, bottom) of an image; outside
    of it only what they need for that."""
    needing_all = len(operations)
    while needing_all and operations[needing_all - 1].function in POINTWISE:
        needing_all -= 1
    first, rest = operations[:needing_all], operations[needing_all:]
    move = first.pop() if first and first[-1].function in GEOMETRIC else None
    for operation in first:
        image = operation(image)
    image = move(Window(image, box)) if move else image.crop(box)
    for operation in rest:
        image = operation(image)
    return image


@TRANSFORMS.register_module()
class RandAugmentCrop(BaseTransform):
    """timm's RandAugment and then a ``RandomResizedCrop``, with one random draw for all
    frames of a clip. Pixels that the crop drops are not augmented.

    Required key: ``imgs``, a list of (H, W, 3) uint8 RGB frames, changed to frames of the
    crop's size, as is ``img_shape``.

    Args:
        policy: timm's description, such as ``rand-m7-n4-mstd0.5-inc1``.
        interpolation: of geometric operations: ``bicubic``, ``bilinear``, ``nearest``.
        area_range, aspect_ratio_range: as in ``RandomResizedCrop``.
        boxes: whose crop it is where ten draws do not fit the frame, which is one clip in
            some thousands: the largest square (``mmaction``), or the largest crop of an
            allowed ratio (``torchvision``, and the released code).
    """

    def __init__(self, policy: str, interpolation: str = 'bicubic',
                 area_range: tuple = (0.08, 1.0),
                 aspect_ratio_range: tuple = (3 / 4, 4 / 3),
                 boxes: str = 'mmaction') -> None:
        if boxes not in ('mmaction', 'torchvision'):
            raise UserError(f'RandAugmentCrop has boxes of mmaction or torchvision, not '
                            f'of {boxes!r}')
        try:
            build_policy(policy, interpolation, 224)
        except (AssertionError, AttributeError, KeyError, ValueError) as error:
            raise UserError(f'RandAugmentCrop cannot take policy={policy!r} with '
                            f'interpolation={interpolation!r}: {error}') from error
        self.policy = policy
        self.interpolation = interpolation
        self.crop = RandomResizedCrop(area_range, aspect_ratio_range)
        self.boxes = boxes

    def draw_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in frames of this size."""
        area, ratio = self.crop.area_range, self.crop.aspect_ratio_range
        if self.boxes == 'mmaction':
            return self.crop.get_crop_bbox((height, width), area, ratio)
        top, left, height, width = torchvision.transforms.RandomResizedCrop.get_params(
            torch.empty(1, height, width, device='meta'), list(area), list(ratio))
        return left, top, left + width, top + height

    def transform(self, results: dict) -> dict:
        shape = results['imgs'][0].shape[:2]
        operations = build_policy(self.policy, self.interpolation, min(shape))([])
        box = self.draw_box(*shape)
        # A few operations draw when they act: rewound for every frame, they give each
        # frame of the clip the same.
        state = random.getstate()
        frames = []
        for frame in results['imgs']:
            random.setstate(state)
            frames.append(np.array(  # a copy, which others may write to
                augmented_box(Image.fromarray(frame), operations, box)))
        results.update(imgs=frames, img_shape=frames[0].shape[:2])
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(policy={self.policy!r}, '
                f'interpolation={self.interpolation!r}, '
                f'area_range={self.crop.area_range}, '
                f'aspect_ratio_range={self.crop.aspect_ratio_range}, '
                f'boxes={self.boxes!r})')
