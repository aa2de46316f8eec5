"""What the authors' released data loading does, written out: an opponent for speed.py.

https://github.com/TalalWasim/Vita-CLIP decodes whole videos, and works on floating-point
pixels of whole frames. Shapes: T frames, H x W pixels.
"""
import math
import random

import av
import numpy as np
import torch
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import to_pil_image, to_tensor

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
POLICY = 'rand-m7-n4-mstd0.5-inc1'
FRAMES, STRIDE, SIZE = 8, 16, 224
SPAN = (FRAMES - 1) * STRIDE + 1


def decode(path: str) -> list[av.VideoFrame]:
    """All frames of a video in the order in which they are shown."""
    with av.open(path) as container:
        frames = {frame.pts: frame for frame in container.decode(video=0)
                  if frame.pts is not None}
    return [frames[time] for time in sorted(frames)]


def floating(frames: list[av.VideoFrame]) -> Tensor:
    """(T, H, W, 3), from 0 to 1."""
    pixels = np.stack([frame.to_rgb().to_ndarray() for frame in frames])
    return torch.from_numpy(pixels).float() / 255


def normalised(frames: Tensor) -> Tensor:
    """(T, H, W, 3) -> (3, T, H, W)."""
    return ((frames - MEAN) / STD).permute(3, 0, 1, 2)


def training_clip(path: str) -> Tensor:
    """A random clip, augmented and cropped: (3, T, 224, 224)."""
    frames = decode(path)
    first = np.random.randint(max(len(frames) - SPAN + 1, 1))
    frames = floating(frames[first:first + SPAN:STRIDE])
    augment = rand_augment_transform(
        POLICY, dict(translate_const=int(0.45 * min(frames.shape[1:3]))))
    state, numpy_state = random.getstate(), np.random.get_state()
    augmented = []
    for frame in frames:
        random.setstate(state)
        np.random.set_state(numpy_state)
        augmented.append(to_tensor(augment(to_pil_image(frame.permute(2, 0, 1)))))
    frames = normalised(torch.stack(augmented).permute(0, 2, 3, 1))
    top, left, height, width = random_box(*frames.shape[2:])
    return resized(frames[:, :, top:top + height, left:left + width], (SIZE, SIZE))


def random_box(height: int, width: int) -> tuple[int, int, int, int]:
    """A box of 8 to 100 % of the area, 3:4 to 4:3: top, left, height, width."""
    for _ in range(10):
        area = random.uniform(0.08, 1) * height * width
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        tall, wide = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if tall <= height and wide <= width:
            return random.randint(0, height - tall), random.randint(0, width - wide), \
                tall, wide
    return 0, 0, height, width


def resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(frames, size=size, mode='bilinear', align_corners=False)


def evaluation_views(path: str, clips: int = 1, crops: int = 1) -> Tensor:
    """Views of a video: (clips * crops, 3, T, 224, 224)."""
    frames = normalised(floating(decode(path)))
    height, width = frames.shape[2:]
    short = min(height, width)
    frames = resized(frames, (height * SIZE // short, width * SIZE // short))
    starts = np.linspace(0, frames.shape[1] - SPAN, clips) if clips > 1 else \
        [(frames.shape[1] - SPAN) // 2]
    margin = max(frames.shape[2:]) - SIZE
    offsets = (0, margin // 2, margin) if crops == 3 else (margin // 2, )
    axis = 3 if width >= height else 2
    return torch.stack([
        frames.narrow(axis, offset, SIZE)[:, round(start):round(start) + SPAN:STRIDE]
        for offset in offsets for start in starts])
