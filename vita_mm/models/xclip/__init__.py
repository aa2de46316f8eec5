from .model import XCLIPTextHead, XCLIPVisionTransformer

__all__ = ['XCLIPTextHead', 'XCLIPVisionTransformer']
