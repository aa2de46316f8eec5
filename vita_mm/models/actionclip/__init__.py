from vita_mm.models.common.system import System, has_types

from .model import ActionCLIPTextHead

SYSTEM = System(
    name='actionclip', title='ActionCLIP',
    paper='Wang et al., "ActionCLIP: A New Paradigm for Video Action Recognition", '
          '2021',
    code='sallymmx/ActionCLIP, commit 31c34df',
    config='configs/actionclip/mini.py', paper_config='configs/actionclip/k400.py',
    matches=has_types('CLIPVisionTransformer', 'ActionCLIPTextHead'),
    prompts=dict(actionclip='actionclip'))

__all__ = ['SYSTEM', 'ActionCLIPTextHead']
