"""Conversion of Vita-CLIP's checkpoints, as the verb does it.

A released file says by itself what model it is of, and holds the CLIP that it was trained
on: no config is needed.
"""
from collections.abc import Mapping
from typing import Any

from vita_mm.labels.class_names import read_classes
from vita_mm.models.common.clip import read_architecture
from vita_mm.models.common.conversion import WRAPPER, Converted
from vita_mm.models.common.recognizer import CLIPRecognizer

from .checkpoints import (
    ReleasedCheckpoint,
    projection_report,
    released_checkpoint,
    same_architecture,
    understand,
)

# Of configs/released/vita_k400.py.
STANDARD = dict(backbone=dict(num_frames=8, summary=True, local=True, num_global=8),
                cls_head=dict(context='csc', num_context=8, context_position='end'))
OPENAI_PIXELS = dict(mean=[122.7709383, 116.7460125, 104.09373615],
                     std=[68.5005327, 66.6321579, 70.32316305])
SIGN = 'visual.patch_embed.proj.weight'


class VitaCLIPConversion:
    """A :class:`vita_mm.models.common.conversion.Conversion`."""
    options = ('clip_out', 'classes', 'vision_heads', 'text_heads', 'context_position')
    needs_model = False

    def recognises(self, content: Mapping) -> bool:
        tensors = content.get('model')
        return isinstance(tensors, dict) and (
            SIGN in tensors or WRAPPER + SIGN in tensors)

    def settings(self, content: Mapping, head: Mapping, path: str, **options: Any
                 ) -> dict:
        return {}  # no model is needed

    def read(self, content: Mapping, path: str, model: CLIPRecognizer | None = None,
             clip_out: str | None = None, **options: Any) -> Converted:
        """``clip_out`` is where the CLIP inside will be; ``options`` are of
        :func:`understand`."""
        released = understand(content, path, **options)
        clip = find_clip(released, clip_out)
        said = 'classes' in released.cls_head
        return Converted(
            released.state_dict(),
            model=dict(clip=clip, backbone=released.backbone, cls_head=released.cls_head,
                       data_preprocessor=OPENAI_PIXELS) if said else None,
            pipeline=[dict(
                type='TightSampleFrames', clip_len=released.backbone['num_frames'],
                frame_interval=16, out_of_bound_opt='last_frame'),
                      dict(type='FloatResize', scale=(-1, 224)),
                      dict(type='CenterCrop', crop_size=224)],
            clip=released.clip.model.state_dict(), report=report(released, clip))

    def write(self, model: CLIPRecognizer) -> dict:
        return released_checkpoint(model)


def report(released: ReleasedCheckpoint, clip: dict) -> list[str]:
    """What is in the file, and how it is evaluated."""
    head = {key: value for key, value in released.cls_head.items() if key != 'classes'}
    found = options(released, clip)
    return [
        f'  backbone: {released.backbone}',
        f'  cls_head: {head}, {len(released.cls_head.get("classes", ()))} classes',
        f'  Mc = {head.get("num_context", 0)}, told from the contexts',
        f'  CLIP inside: sha256 {released.clip.identity["sha256"]}',
        f'  {projection_report(released.trained)}',
        '  evaluate it with configs/released/vita_k400.py '
        + ' '.join(['--cfg-options', *found] if found else []),
        *(f'    but with its own {part}, in a config of yours'
          for part in unlike_standard(released, clip))]


def find_clip(released: ReleasedCheckpoint, clip_out: str | None) -> dict:
    """How a config names the CLIP inside."""
    same = same_architecture(released.clip_config, read_architecture('ViT-B-16'))
    arch = 'ViT-B-16' if same else released.clip_config
    return dict(arch=arch, pretrained=clip_out or 'openai', quick_gelu=True)


def options(released: ReleasedCheckpoint, clip: dict) -> list[str]:
    """What differs from that config, for its command line."""
    found = [f'model.{part}.{key}={getattr(released, part)[key]}'
             for part, values in STANDARD.items() for key, value in values.items()
             if key in getattr(released, part) and getattr(released, part)[key] != value]
    num_frames = released.backbone['num_frames']
    if num_frames != STANDARD['backbone']['num_frames']:
        found.append(f'test_dataloader.dataset.pipeline.1.clip_len={num_frames}')
    if clip['pretrained'] != 'openai':
        found += [f'model.clip.pretrained={clip["pretrained"]}',
                  'model.clip.quick_gelu=True']
    return found


def unlike_standard(released: ReleasedCheckpoint, clip: dict) -> list[str]:
    """What differs from that config and has no place on its command line."""
    parts = []
    if clip['arch'] != 'ViT-B-16':
        parts.append('CLIP architecture (model.clip.arch)')
    if released.cls_head.get('classes') not in (None, read_classes('kinetics400')):
        parts.append('classes (of model.cls_head and of the dataset)')
    return parts
