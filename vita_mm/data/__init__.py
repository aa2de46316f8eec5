from .augment import RandAugmentCrop
from .dataset import ClipDataset, SeededSampler
from .decode import DecodeFrames, OpenVideo
from .frame_augment import FrameRandAugment, FrameTransform
from .metrics import SplitAccMetric, VideoAccMetric
from .pixels import FloatResize, PILResize, RoundedCenterCrop, ThreeCropToEnds
from .transforms import TightSampleFrames

__all__ = ['ClipDataset', 'DecodeFrames', 'FloatResize', 'FrameRandAugment',
           'FrameTransform', 'OpenVideo', 'PILResize', 'RandAugmentCrop',
           'RoundedCenterCrop', 'SeededSampler', 'SplitAccMetric', 'ThreeCropToEnds',
           'TightSampleFrames', 'VideoAccMetric']
