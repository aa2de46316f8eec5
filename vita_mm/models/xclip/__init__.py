from vita_mm.models.common.system import System, has_types

from .model import XCLIPTextHead, XCLIPVisionTransformer

SYSTEM = System(
    name='xclip', title='X-CLIP',
    paper='Ni et al., "Expanding Language-Image Pretrained Models for General Video '
          'Recognition", ECCV 2022',
    code='microsoft/VideoX, folder X-CLIP, commit 1744b21',
    config='configs/xclip/mini.py', paper_config='configs/xclip/k400.py',
    matches=has_types('XCLIPVisionTransformer', 'XCLIPTextHead'), own_frames=True)

__all__ = ['SYSTEM', 'XCLIPTextHead', 'XCLIPVisionTransformer']
