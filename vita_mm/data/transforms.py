"""Transforms that MMAction2 does not have."""
import functools
import random

import numpy as np
from mmaction.datasets.transforms import SampleFrames
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from PIL import Image
from timm.data.auto_augment import RandAugment, rand_augment_transform

from vita_mm.errors import UserError


@functools.lru_cache(maxsize=64)
def build_policy(policy: str, interpolation: str, short_side: int) -> RandAugment:
    # Translations are up to 45 % of the short side, as in PySlowFast and the released
    # code; the rest is timm's.
    return rand_augment_transform(policy, dict(
        translate_const=int(0.45 * short_side),
        interpolation=getattr(Image.Resampling, interpolation.upper())))


@TRANSFORMS.register_module()
class ClipRandAugment(BaseTransform):
    """timm's RandAugment with one random draw for all frames of a clip.

    Required and modified key: ``imgs``, a list of (H, W, 3) uint8 RGB frames.

    Args:
        policy: timm's description, such as ``rand-m7-n4-mstd0.5-inc1``.
        interpolation: of geometric operations: ``bicubic``, ``bilinear``, ``nearest``.
    """

    def __init__(self, policy: str, interpolation: str = 'bicubic') -> None:
        try:
            build_policy(policy, interpolation, 224)
        except (AssertionError, AttributeError, KeyError, ValueError) as error:
            raise UserError(f'ClipRandAugment cannot take policy={policy!r} with '
                            f'interpolation={interpolation!r}: {error}') from error
        self.policy = policy
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        frames = results['imgs']
        augment = build_policy(self.policy, self.interpolation, min(frames[0].shape[:2]))
        # timm draws from these two generators: rewound for every frame, they give each
        # frame of the clip the same operations and magnitudes.
        state, numpy_state = random.getstate(), np.random.get_state()
        augmented = []
        for frame in frames:
            random.setstate(state)
            np.random.set_state(numpy_state)
            augmented.append(np.asarray(augment(Image.fromarray(frame))))
        results['imgs'] = augmented
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(policy={self.policy!r}, '
                f'interpolation={self.interpolation!r})')


@TRANSFORMS.register_module()
class TightSampleFrames(SampleFrames):
    """Samples a training clip from any place where its frames fit.

    MMAction2's ``SampleFrames`` reserves clip_len * frame_interval frames in training,
    128 where the last of 8 frames at stride 16 is the 113th; the released code reserves
    113, as both do in evaluation.
    """

    def _get_ori_clip_len(self, fps_scale_ratio: float) -> float:
        return (self.clip_len - 1) * self.frame_interval + 1
