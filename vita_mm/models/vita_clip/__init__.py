from .model import VitaCLIP
from .text_head import VitaCLIPTextHead
from .vision import VitaCLIPVisionTransformer

__all__ = ['VitaCLIP', 'VitaCLIPTextHead', 'VitaCLIPVisionTransformer']
