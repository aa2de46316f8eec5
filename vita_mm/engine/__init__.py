from .finite import FiniteHook
from .hooks import (
                    ClassCheckHook,
                    DescriptionHook,
                    ExactResumeHook,
                    RankZeroLoggerHook,
                    SubstituteHook,
)
from .optim import AutocastOptimWrapper, FlatDecayConstructor
from .precision import PRECISIONS, apply_precision
from .predictions import PredictionsHook
from .rates import WarmupCosineLR
from .schedule import StepScheduleHook
from .selection import MarkedCheckpointHook, SelectionHook
from .zero_shot import ZeroShotLoop

__all__ = ['AutocastOptimWrapper', 'ClassCheckHook', 'DescriptionHook',
           'ExactResumeHook', 'FiniteHook', 'FlatDecayConstructor',
           'MarkedCheckpointHook', 'PRECISIONS', 'PredictionsHook', 'RankZeroLoggerHook',
           'SelectionHook', 'StepScheduleHook', 'SubstituteHook', 'WarmupCosineLR',
           'ZeroShotLoop', 'apply_precision']
