"""Frozen CLIP in the place of another model."""
import copy
from collections.abc import Mapping

from vita_mm.models.common.pixels import untrained_pixels


def frozen_model(model: Mapping) -> dict:
    """The ``model`` of frozen CLIP, on the same CLIP, frames and classes as another's.

    Args:
        model: of a config; manual prompts of its head stay as they are.
    """
    kept = {key: value for key, value in model['cls_head'].items()
            if key in ('classes', 'templates', 'average_clips', 'topk')}
    return copy.deepcopy(dict(
        type='CLIPRecognizer', clip=model['clip'],
        data_preprocessor=untrained_pixels(model['clip'], model['data_preprocessor']),
        backbone=dict(type='CLIPVisionTransformer'),
        cls_head=dict(type='CLIPTextHead', **kept)))
