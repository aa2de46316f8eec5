"""How Vita-CLIP is described in its checkpoints."""
from vita_mm.models.common.description import (
    CONTEXT,
    TEXT,
    Part,
    Parts,
    count,
    kind,
    positive,
)


def with_manual_prompts(head: dict, classes: str | list[str],
                        templates: str | list[str] | None) -> dict:
    """On other classes, manual prompts stand in the place of learned contexts."""
    if templates is None:
        learned = head.get('context', 'csc') != 'none'
        templates = '{}' if learned else head.get('templates', '{}')
    kept = {key: value for key, value in head.items() if key not in CONTEXT}
    return {**kept, 'classes': classes, 'context': 'none', 'templates': templates}


PARTS = Parts(
    recognizer='VitaCLIP', on_classes=with_manual_prompts,
    backbone=Part('VitaCLIPVisionTransformer', dict(
        num_frames=count(1), summary=kind(bool), local=kind(bool), num_global=count(0),
        time_embedding=kind(bool), local_condition=kind(str),
        freeze_summary_proj=kind(bool), long_clips=kind(str), trained=kind(bool))),
    cls_head=Part('VitaCLIPTextHead', dict(
        **TEXT, **CONTEXT, trained=kind(bool), train_embedding=kind(bool),
        temperature=positive)))
