from .actionclip import ActionCLIPTextHead
from .common.recognizer import CLIPRecognizer
from .common.text_head import CLIPTextHead
from .common.vision import CLIPVisionTransformer
from .efficient_prompt import EfficientPromptTextHead
from .evl import EVLHead, EVLVisionTransformer
from .vita_clip import VitaCLIP, VitaCLIPTextHead, VitaCLIPVisionTransformer
from .xclip import XCLIPTextHead, XCLIPVisionTransformer

__all__ = [
    'ActionCLIPTextHead', 'CLIPRecognizer', 'CLIPTextHead', 'CLIPVisionTransformer',
    'EVLHead', 'EVLVisionTransformer', 'EfficientPromptTextHead', 'VitaCLIP',
    'VitaCLIPTextHead', 'VitaCLIPVisionTransformer', 'XCLIPTextHead',
    'XCLIPVisionTransformer']
