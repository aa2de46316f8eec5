from .model import EfficientPromptTextHead

__all__ = ['EfficientPromptTextHead']
