from vita_mm.models.common.description import TEXT, Part, Parts, kind, temporal
from vita_mm.models.common.system import System, has_types

from .checkpoints import FORMAT
from .model import ActionCLIPTextHead

SYSTEM = System(
    name='actionclip', title='ActionCLIP',
    paper='Wang et al., "ActionCLIP: A New Paradigm for Video Action Recognition", '
          '2021',
    code='sallymmx/ActionCLIP, commit 31c34df',
    config='configs/actionclip/mini.py', paper_config='configs/actionclip/k400.py',
    matches=has_types('CLIPVisionTransformer', 'ActionCLIPTextHead'),
    parts=Parts(
        backbone=Part('CLIPVisionTransformer', dict(
            trained=kind(bool), temporal=temporal)),
        cls_head=Part('ActionCLIPTextHead', dict(
            **TEXT, trained=kind(bool), train_embedding=kind(bool)))),
    conversion=FORMAT,
    prompts=dict(actionclip='actionclip'))

__all__ = ['SYSTEM', 'ActionCLIPTextHead']
