from .dataset import ClipDataset, SeededSampler
from .decode import DecodeFrames, OpenVideo
from .metrics import SplitAccMetric, VideoAccMetric
from .sampling import (
    FittingSampleFrames,
    RandomStrideSample,
    SegmentSample,
    TightSampleFrames,
)
from .transforms import RandAugmentCrop

__all__ = ['ClipDataset', 'DecodeFrames', 'FittingSampleFrames', 'OpenVideo',
           'RandAugmentCrop', 'RandomStrideSample', 'SeededSampler', 'SegmentSample',
           'SplitAccMetric', 'TightSampleFrames', 'VideoAccMetric']
