from .dataset import ClipDataset, SeededSampler
from .decode import DecodeFrames, OpenVideo
from .metrics import SplitAccMetric, VideoAccMetric
from .transforms import ClipRandAugment, TightSampleFrames

__all__ = ['ClipDataset', 'ClipRandAugment', 'DecodeFrames', 'OpenVideo',
           'SeededSampler', 'SplitAccMetric', 'TightSampleFrames', 'VideoAccMetric']
