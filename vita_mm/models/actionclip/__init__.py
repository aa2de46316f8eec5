from .model import ActionCLIPTextHead

__all__ = ['ActionCLIPTextHead']
