"""ViFi-CLIP has no classes of its own: all of CLIP is trained but its token embedding,
with a manual prompt."""
from collections.abc import Mapping

from vita_mm.models.common.description import TEXT, Part, Parts, kind
from vita_mm.models.common.system import System, is_manual

from .checkpoints import FORMAT

HEADS = ('CLIPTextHead', 'VitaCLIPTextHead')


def matches(model: Mapping) -> bool:
    backbone, head = model.get('backbone', {}), model.get('cls_head', {})
    return (backbone.get('type') == 'CLIPVisionTransformer' and is_manual(head, HEADS)
            and bool(backbone.get('trained')) and bool(head.get('trained')))


SYSTEM = System(
    name='vifi_clip', title='ViFi-CLIP',
    paper='Rasheed et al., "Fine-tuned CLIP Models are Efficient Video Learners", '
          'CVPR 2023',
    code='muzairkhattak/ViFi-CLIP, commit e2d1948',
    config='configs/vifi_clip/mini.py', paper_config='configs/vifi_clip/k400.py',
    matches=matches,
    parts=Parts(
        backbone=Part('CLIPVisionTransformer', {}, fixed=dict(trained=True)),
        cls_head=Part('CLIPTextHead', dict(**TEXT, train_embedding=kind(bool)),
                      fixed=dict(trained=True, context='none'))),
    conversion=FORMAT,
    prompts=dict(vifi_clip='a photo of a {}.'))

__all__ = ['SYSTEM']
