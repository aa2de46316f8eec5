"""Frozen CLIP has no classes of its own: the mean of its frames, manual prompts."""
from collections.abc import Mapping

from vita_mm.models.common.description import CONTEXT, TEXT, Part, Parts
from vita_mm.models.common.system import System, is_manual

HEADS = ('CLIPTextHead', 'VitaCLIPTextHead')
# Without any of them Vita-CLIP's backbone is CLIP's, whatever else is said of them.
PROMPTS = ('summary', 'local', 'num_global', 'time_embedding')
OF_PROMPTS = ('num_frames', 'local_condition', 'freeze_summary_proj', 'long_clips')
NOTHING = 'nothing of frozen CLIP is trained'


def matches(model: Mapping) -> bool:
    backbone, head = model.get('backbone', {}), model.get('cls_head', {})
    if not is_manual(head, HEADS) or head.get('trained') or backbone.get('trained') \
            or backbone.get('temporal'):
        return False
    if backbone.get('type') == 'VitaCLIPVisionTransformer':
        return not any(backbone.get(name, True) for name in PROMPTS)
    return backbone.get('type') == 'CLIPVisionTransformer'


SYSTEM = System(
    name='frozen_clip', title='frozen CLIP',
    paper='Radford et al., "Learning Transferable Visual Models From Natural Language '
          'Supervision", ICML 2021',
    code='openai/CLIP, in the code of mlfoundations/open_clip',
    config='configs/frozen_clip/mini_k400.py', paper_config='configs/frozen_clip/k400.py',
    matches=matches,
    parts=Parts(
        backbone=Part('CLIPVisionTransformer', {}, idle=frozenset(
            {*PROMPTS, *OF_PROMPTS, 'trained', 'temporal'})),
        cls_head=Part('CLIPTextHead', TEXT, idle=frozenset(
            {*CONTEXT, 'trained', 'train_embedding'}))),
    refusals=dict(
        train=f'{NOTHING}: evaluate it',
        convert=f'{NOTHING}: its weights are a CLIP of open_clip as they are'))

__all__ = ['SYSTEM']
