from .finite import FiniteHook
from .hooks import (ClassCheckHook, DescriptionHook, ExactResumeHook,
                    RankZeroLoggerHook, SubstituteHook)
from .optim import AutocastOptimWrapper
from .schedule import StepScheduleHook
from .zero_shot import ZeroShotLoop

__all__ = ['AutocastOptimWrapper', 'ClassCheckHook', 'DescriptionHook',
           'ExactResumeHook', 'FiniteHook', 'RankZeroLoggerHook', 'StepScheduleHook',
           'SubstituteHook', 'ZeroShotLoop']
