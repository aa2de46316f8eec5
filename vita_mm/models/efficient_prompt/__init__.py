from vita_mm.models.common.system import System, has_types

from .model import EfficientPromptTextHead

SYSTEM = System(
    name='efficient_prompt', title='A5/A6',
    paper='Ju et al., "Prompting Visual-Language Models for Efficient Video '
          'Understanding", ECCV 2022',
    code='ju-chen/Efficient-Prompt, commit 1f69a18',
    config='configs/efficient_prompt/mini.py', paper_config='configs/efficient_prompt/a5.py',
    matches=has_types('CLIPVisionTransformer', 'EfficientPromptTextHead'),
    own_frames=True)

__all__ = ['SYSTEM', 'EfficientPromptTextHead']
