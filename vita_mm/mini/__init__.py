"""A miniature benchmark that makes its own videos and its own CLIP."""
from .build import build
from .sets import Size

__all__ = ['Size', 'build']
