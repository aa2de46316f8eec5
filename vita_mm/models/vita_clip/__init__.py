from vita_mm.models.common.system import System, has_types

from .model import VitaCLIP
from .text_head import VitaCLIPTextHead
from .vision import VitaCLIPVisionTransformer

SYSTEM = System(
    name='vita_clip', title='Vita-CLIP',
    paper='Wasim et al., "Vita-CLIP: Video and text adaptive CLIP via Multimodal '
          'Prompting", CVPR 2023',
    code='TalalWasim/Vita-CLIP',
    config='configs/vita_mini.py', paper_config='configs/vita_k400.py',
    matches=has_types('VitaCLIPVisionTransformer', 'VitaCLIPTextHead'),
    long_clips=('frame_windows', 'tile'))

__all__ = ['SYSTEM', 'VitaCLIP', 'VitaCLIPTextHead', 'VitaCLIPVisionTransformer']
