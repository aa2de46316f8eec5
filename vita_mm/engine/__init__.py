from .hooks import (ClassCheckHook, ExactResumeHook, RankZeroLoggerHook,
                    SubstituteHook)
from .optim import AutocastOptimWrapper
from .zero_shot import ZeroShotLoop

__all__ = ['AutocastOptimWrapper', 'ClassCheckHook', 'ExactResumeHook',
           'RankZeroLoggerHook', 'SubstituteHook', 'ZeroShotLoop']
