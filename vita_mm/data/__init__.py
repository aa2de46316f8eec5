from .augment import RandAugmentCrop
from .dataset import ClipDataset, SeededSampler
from .decode import DecodeFrames, OpenVideo
from .frame_augment import FrameRandAugment, FrameTransform
from .metrics import SplitAccMetric, VideoAccMetric
from .pixels import FloatResize, PILResize, RoundedCenterCrop, ThreeCropToEnds
from .sampling import (
    FittingSampleFrames,
    RandomStrideSample,
    SegmentSample,
    TightSampleFrames,
)

__all__ = ['ClipDataset', 'DecodeFrames', 'FittingSampleFrames', 'FloatResize',
           'FrameRandAugment', 'FrameTransform', 'OpenVideo', 'PILResize',
           'RandAugmentCrop', 'RandomStrideSample', 'RoundedCenterCrop', 'SeededSampler',
           'SegmentSample', 'SplitAccMetric', 'ThreeCropToEnds', 'TightSampleFrames',
           'VideoAccMetric']
