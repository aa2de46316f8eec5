"""Frozen CLIP has no classes of its own: the mean of its frames, manual prompts."""
from vita_mm.models.common.system import System

# Without any of them Vita-CLIP's backbone is CLIP's.
PROMPTS = ('summary', 'local', 'num_global', 'time_embedding')
NOTHING = 'nothing of frozen CLIP is trained'


def matches(model) -> bool:
    backbone, head = model.get('backbone', {}), model.get('cls_head', {})
    if head.get('type') not in ('CLIPTextHead', 'VitaCLIPTextHead') \
            or head.get('context') not in (None, 'none') or head.get('trained'):
        return False
    if backbone.get('type') == 'VitaCLIPVisionTransformer':
        return not any(backbone.get(name, True) for name in PROMPTS)
    return (backbone.get('type') == 'CLIPVisionTransformer'
            and not backbone.get('trained') and not backbone.get('temporal'))


SYSTEM = System(
    name='frozen_clip', title='frozen CLIP',
    paper='Radford et al., "Learning Transferable Visual Models From Natural Language '
          'Supervision", ICML 2021',
    code='openai/CLIP',
    config='configs/frozen_clip/mini_k400.py', paper_config='configs/frozen_clip/k400.py',
    matches=matches, refusals=dict(
        train=f'{NOTHING}: evaluate it',
        convert=f'{NOTHING}: its weights are a CLIP of open_clip as they are'))

__all__ = ['SYSTEM']
