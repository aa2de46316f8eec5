from .dataset import ClipDataset, SeededSampler
from .transforms import ClipRandAugment

__all__ = ['ClipDataset', 'ClipRandAugment', 'SeededSampler']
