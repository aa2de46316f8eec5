from .hooks import (ClassCheckHook, DescriptionHook, ExactResumeHook,
                    RankZeroLoggerHook, SubstituteHook)
from .optim import AutocastOptimWrapper
from .precision import PRECISIONS, apply_precision
from .selection import MarkedCheckpointHook, SelectionHook
from .zero_shot import ZeroShotLoop

__all__ = ['AutocastOptimWrapper', 'ClassCheckHook', 'DescriptionHook',
           'ExactResumeHook', 'MarkedCheckpointHook', 'PRECISIONS', 'RankZeroLoggerHook',
           'SelectionHook', 'SubstituteHook', 'ZeroShotLoop', 'apply_precision']
