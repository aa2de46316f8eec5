from .hooks import (ClassCheckHook, DescriptionHook, ExactResumeHook,
                    RankZeroLoggerHook, SubstituteHook)
from .optim import AutocastOptimWrapper
from .zero_shot import ZeroShotLoop

__all__ = ['AutocastOptimWrapper', 'ClassCheckHook', 'DescriptionHook',
           'ExactResumeHook', 'RankZeroLoggerHook', 'SubstituteHook', 'ZeroShotLoop']
