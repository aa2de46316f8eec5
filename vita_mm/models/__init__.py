from .recognizer import VitaCLIP
from .text import VitaCLIPTextHead
from .vision import VitaCLIPVisionTransformer

__all__ = ['VitaCLIP', 'VitaCLIPTextHead', 'VitaCLIPVisionTransformer']
