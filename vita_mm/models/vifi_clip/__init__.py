"""ViFi-CLIP has no classes of its own: all of CLIP is trained, with a manual prompt."""
from vita_mm.models.common.system import System


def matches(model) -> bool:
    backbone, head = model.get('backbone', {}), model.get('cls_head', {})
    return (backbone.get('type') == 'CLIPVisionTransformer'
            and head.get('type') in ('CLIPTextHead', 'VitaCLIPTextHead')
            and bool(backbone.get('trained')) and bool(head.get('trained')))


SYSTEM = System(
    name='vifi_clip', title='ViFi-CLIP',
    paper='Rasheed et al., "Fine-tuned CLIP Models are Efficient Video Learners", '
          'CVPR 2023',
    code='muzairkhattak/ViFi-CLIP, commit e2d1948',
    config='configs/vifi_clip/mini.py', paper_config='configs/vifi_clip/k400.py',
    matches=matches, prompts=dict(vifi_clip='a photo of a {}.'))

__all__ = ['SYSTEM']
