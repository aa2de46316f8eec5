"""From a dataset as its owners distribute it to lists of videos and labels."""
from .build import prepare
from .layouts import LAYOUTS

__all__ = ['LAYOUTS', 'prepare']
