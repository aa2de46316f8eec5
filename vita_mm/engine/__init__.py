from .hooks import ClassCheckHook, ExactResumeHook, RankZeroLoggerHook
from .optim import AutocastOptimWrapper

__all__ = ['AutocastOptimWrapper', 'ClassCheckHook', 'ExactResumeHook',
           'RankZeroLoggerHook']
