from .actionclip import ActionCLIPTextHead
from .efficient_prompt import EfficientPromptTextHead
from .evl import EVLHead, EVLVisionTransformer
from .recognizer import CLIPRecognizer, VitaCLIP
from .text import VitaCLIPTextHead
from .vision import CLIPVisionTransformer, VitaCLIPVisionTransformer
from .xclip import XCLIPTextHead, XCLIPVisionTransformer

__all__ = [
    'ActionCLIPTextHead', 'CLIPRecognizer', 'CLIPVisionTransformer', 'EVLHead',
    'EVLVisionTransformer', 'EfficientPromptTextHead', 'VitaCLIP',
    'VitaCLIPTextHead', 'VitaCLIPVisionTransformer', 'XCLIPTextHead', 'XCLIPVisionTransformer']
