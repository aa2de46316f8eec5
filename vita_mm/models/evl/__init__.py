from .model import EVLHead, EVLVisionTransformer

__all__ = ['EVLHead', 'EVLVisionTransformer']
