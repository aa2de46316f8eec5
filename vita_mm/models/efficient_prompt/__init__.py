from vita_mm.errors import UserError
from vita_mm.models.common.description import (
    Part,
    Parts,
    count,
    positive,
    temporal,
    texts,
    with_classes,
)
from vita_mm.models.common.system import System, has_types

from .checkpoints import FORMAT
from .model import EfficientPromptTextHead


def with_learned_prompt(head: dict, classes: str | list[str],
                        templates: str | list[str] | None) -> dict:
    """What it has learned is of any classes."""
    if templates is not None:
        raise UserError('A5/A6 have a learned prompt for all classes, and no templates '
                        '(--templates): leave them out')
    return with_classes(head, classes, None)


SYSTEM = System(
    name='efficient_prompt', title='A5/A6',
    paper='Ju et al., "Prompting Visual-Language Models for Efficient Video '
          'Understanding", ECCV 2022',
    code='ju-chen/Efficient-Prompt, commit 1f69a18',
    config='configs/efficient_prompt/mini.py',
    paper_config='configs/efficient_prompt/a5.py',
    matches=has_types('CLIPVisionTransformer', 'EfficientPromptTextHead'),
    parts=Parts(
        on_classes=with_learned_prompt,
        backbone=Part('CLIPVisionTransformer', dict(temporal=temporal)),
        cls_head=Part('EfficientPromptTextHead', dict(
            classes=texts, num_context=count(1), prefix=count(0), postfix=count(0),
            temperature=positive))),
    conversion=FORMAT,
    own_frames=True)

__all__ = ['SYSTEM', 'EfficientPromptTextHead']
