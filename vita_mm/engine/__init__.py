from .hooks import ClassCheckHook, ExactResumeHook
from .optim import AutocastOptimWrapper

__all__ = ['AutocastOptimWrapper', 'ClassCheckHook', 'ExactResumeHook']
