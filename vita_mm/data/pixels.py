"""Frames resized and cropped as torchvision does on PIL images, or in float32.

MMAction2's own ``Resize``, ``CenterCrop`` and ``ThreeCrop`` round to whole grey levels by
OpenCV, which does not smooth what it makes smaller; the longer side is rounded there, and
cut off here. Which system has which is said in its config.
"""
from abc import abstractmethod

import numpy as np
import torch
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize

from vita_mm.errors import UserError


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


class Resizing(BaseTransform):
    """Frames of another size, its arguments as those of MMAction2's ``Resize``.

    Required keys: ``imgs``, a list of (H, W, 3) uint8 RGB frames, and ``img_shape``;
    both are changed.

    Args:
        scale: (width, height) in pixels; with ``keep_ratio`` one of them is -1, the other
            is that of the shorter side, and the longer side is cut off to whole pixels.
    """

    def __init__(self, scale: tuple[int, int], keep_ratio: bool = True) -> None:
        width, height = scale
        if keep_ratio != (min(scale) == -1) or max(scale) < 1:
            raise UserError(
                f'{type(self).__name__} cannot take scale={tuple(scale)} with '
                f'keep_ratio={keep_ratio}: give (-1, SHORTER_SIDE), or (WIDTH, HEIGHT) '
                'with keep_ratio=False')
        self.scale = (width, height)
        self.keep_ratio = keep_ratio

    def new_shape(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that frames of this size get."""
        if not self.keep_ratio:
            return self.scale[1], self.scale[0]
        short = min(height, width)
        return (height * max(self.scale) // short, width * max(self.scale) // short)

    def transform(self, results: dict) -> dict:
        frames = results['imgs']
        shape = self.new_shape(*frames[0].shape[:2])
        results.update(imgs=self.resize(frames, shape), img_shape=shape,
                       keep_ratio=self.keep_ratio)
        return results

    @abstractmethod
    def resize(self, frames: list[np.ndarray], shape: tuple[int, int]
               ) -> list[np.ndarray]:
        """The frames with this (height, width)."""

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(scale={self.scale}, '
                f'keep_ratio={self.keep_ratio})')


@TRANSFORMS.register_module()
class PILResize(Resizing):
    """Resizes PIL images, which are smoothed where they become smaller.

    Args:
        scale, keep_ratio: see :class:`Resizing`.
        interpolation: ``bicubic``, ``bilinear``, or another of torchvision's.
    """

    def __init__(self, scale: tuple[int, int], keep_ratio: bool = True,
                 interpolation: str = 'bicubic') -> None:
        super().__init__(scale, keep_ratio)
        try:
            self.interpolation = InterpolationMode(interpolation)
        except ValueError as error:
            raise UserError(f'PILResize has no interpolation={interpolation!r}: give '
                            'bicubic or bilinear') from error

    def resize(self, frames: list[np.ndarray], shape: tuple[int, int]
               ) -> list[np.ndarray]:
        resize = Resize(shape, self.interpolation)
        # Copies, which others may write to.
        return [np.array(resize(Image.fromarray(frame))) for frame in frames]


@TRANSFORMS.register_module()
class FloatResize(Resizing):
    """Resizes bilinearly in float32, to which no rounding or smoothing is added; the
    frames are (H, W, 3) float32 of 0 to 255 afterwards.

    Mean and standard deviation commute with it, so it does not matter that the released
    Vita-CLIP and EVL normalise first.
    """

    def resize(self, frames: list[np.ndarray], shape: tuple[int, int]
               ) -> list[np.ndarray]:
        pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()
        resized = torch.nn.functional.interpolate(
            pixels, size=shape, mode='bilinear', align_corners=False)
        return list(resized.permute(0, 2, 3, 1).numpy())


class Cropping(BaseTransform):
    """Views of a frame, each of the same size.

    Required keys: ``imgs``, a list of (H, W, 3) frames, changed to those of all views,
    one view after another, as are ``img_shape`` and ``crop_bbox``.

    Args:
        crop_size: (width, height) in pixels, or both.
    """

    def __init__(self, crop_size: int | tuple[int, int]) -> None:
        self.crop_size = pair(crop_size)

    @abstractmethod
    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """(left, top) of each view of a frame of this size."""

    def transform(self, results: dict) -> dict:
        frames = results['imgs']
        width, height = self.crop_size
        corners = self.corners(*frames[0].shape[:2])
        results['imgs'] = [frame[top:top + height, left:left + width]
                           for left, top in corners for frame in frames]
        results['img_shape'] = (height, width)
        results['crop_bbox'] = np.array([
            (left, top, left + width, top + height) for left, top in corners])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(crop_size={self.crop_size})'


@TRANSFORMS.register_module()
class RoundedCenterCrop(Cropping):
    """The centre as torchvision's ``CenterCrop`` takes it: half a pixel is rounded to the
    even one, where MMAction2's cuts it off."""

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        return [(round((width - self.crop_size[0]) / 2),
                 round((height - self.crop_size[1]) / 2))]


@TRANSFORMS.register_module()
class ThreeCropToEnds(Cropping):
    """Start, middle and end of the longer side. MMAction2's ``ThreeCrop`` ends a pixel
    before the end where what is left over is odd."""

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        right, bottom = width - self.crop_size[0], height - self.crop_size[1]
        if min(right, bottom) != 0:
            raise UserError(f'three crops of {self.crop_size} do not cover frames of '
                            f'{width}x{height} pixels: resize the shorter side to that '
                            'of the crop')
        return [(0, 0), (right // 2, bottom // 2), (right, bottom)]
