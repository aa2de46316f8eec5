from .finite import FiniteHook
from .hooks import (
                    ClassCheckHook,
                    DescriptionHook,
                    ExactResumeHook,
                    RankZeroLoggerHook,
                    SubstituteHook,
)
from .optim import AutocastOptimWrapper
from .precision import PRECISIONS, apply_precision
from .schedule import StepScheduleHook
from .selection import MarkedCheckpointHook, SelectionHook
from .zero_shot import ZeroShotLoop

__all__ = ['AutocastOptimWrapper', 'ClassCheckHook', 'DescriptionHook',
           'ExactResumeHook', 'FiniteHook', 'MarkedCheckpointHook', 'PRECISIONS',
           'RankZeroLoggerHook', 'SelectionHook', 'StepScheduleHook', 'SubstituteHook',
           'ZeroShotLoop', 'apply_precision']
