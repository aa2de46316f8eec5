from .dataset import ClipDataset, SeededSampler
from .decode import DecodeFrames, OpenVideo
from .metrics import SplitAccMetric, VideoAccMetric
from .transforms import RandAugmentCrop, TightSampleFrames

__all__ = ['ClipDataset', 'DecodeFrames', 'OpenVideo', 'RandAugmentCrop',
           'SeededSampler', 'SplitAccMetric', 'TightSampleFrames', 'VideoAccMetric']
