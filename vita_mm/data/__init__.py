from .dataset import ClipDataset, SeededSampler
from .metrics import SplitAccMetric, VideoAccMetric
from .transforms import ClipRandAugment, TightSampleFrames

__all__ = ['ClipDataset', 'ClipRandAugment', 'SeededSampler', 'SplitAccMetric',
           'TightSampleFrames', 'VideoAccMetric']
