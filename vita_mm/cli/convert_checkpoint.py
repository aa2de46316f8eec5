"""Checkpoints between released code and ours: what tools/convert_checkpoint.py does.

Functions take its arguments.
"""
import argparse
import json

from mmaction.registry import MODELS
from mmaction.utils import register_all_modules
from mmengine.config import Config

from vita_mm.errors import UserError
from vita_mm.inference import build_model, read_model
from vita_mm.io.checkpoints import write_atomically
from vita_mm.labels.class_names import read_classes
from vita_mm.models.common.clip import read_architecture
from vita_mm.models.common.description import KEY, describe
from vita_mm.models.common.released import Format, convert, read_comparator
from vita_mm.models.vita_clip.checkpoints import (
    ReleasedCheckpoint,
    projection_report,
    read_released,
    released_checkpoint,
    same_architecture,
)

# Of configs/released/vita_k400.py.
STANDARD = dict(backbone=dict(num_frames=8, summary=True, local=True, num_global=8),
                cls_head=dict(context='csc', num_context=8, context_position='end'))
OPENAI_PIXELS = dict(mean=[122.7709383, 116.7460125, 104.09373615],
                     std=[68.5005327, 66.6321579, 70.32316305])


def from_comparator(args: argparse.Namespace, layout: Format, tensors: dict) -> None:
    if args.config is None:
        raise UserError(f'{args.input} is a checkpoint of {layout.system}: give the '
                        f'config of its model, such as --config {layout.config}')
    register_all_modules()
    config = Config.fromfile(args.config).model
    if args.clip is not None:
        config.clip.pretrained = args.clip
    model = MODELS.build(config)
    state = convert(model, layout, tensors, args.input)
    model.load_state_dict(state)
    write_atomically(dict(meta=dict(converted_from=args.input), state_dict=state),
                     args.output)
    print(f'{args.output}: {len(state) - 1} tensors of {layout.system}; evaluate it '
          f'with {args.config}')


def from_released(args: argparse.Namespace) -> None:
    found = read_comparator(args.input)
    if found is not None:
        from_comparator(args, *found)
        return
    for name in ('config', 'clip'):
        if getattr(args, name) is not None:
            raise UserError(f'--{name} is an option of --to released, or for '
                            'checkpoints of X-CLIP, ActionCLIP or EVL, which '
                            f'{args.input} is not')
    released = read_released(
        args.input, classes=args.classes, vision_heads=args.vision_heads,
        text_heads=args.text_heads, context_position=args.context_position or 'end')
    clip = find_clip(released, args.clip_out)
    meta = dict(converted_from=args.input)
    if 'classes' in released.cls_head:
        meta[KEY] = json.dumps(describe(
            dict(clip=clip, backbone=released.backbone, cls_head=released.cls_head,
                 data_preprocessor=OPENAI_PIXELS),
            [dict(type='SampleFrames', clip_len=released.backbone['num_frames'],
                  frame_interval=16, out_of_bound_opt='repeat_last')]))
    if args.clip_out:
        write_atomically(released.clip.model.state_dict(), args.clip_out)
        print(f'{args.clip_out}: the CLIP inside, as an open_clip checkpoint')
    write_atomically(dict(meta=meta, state_dict=released.state_dict()), args.output)
    print(f'{args.output}: {len(released.trained)} trained tensors')
    print(f'  backbone: {released.backbone}')
    head = {key: value for key, value in released.cls_head.items() if key != 'classes'}
    print(f'  cls_head: {head}, {len(released.cls_head.get("classes", ()))} classes')
    print(f'  Mc = {head.get("num_context", 0)}, told from the contexts')
    print(f'  CLIP inside: sha256 {released.clip.identity["sha256"]}')
    print(f'  {projection_report(released.trained)}')
    found = options(released, clip)
    print('  evaluate it with configs/released/vita_k400.py '
          + ' '.join(['--cfg-options', *found] if found else []))
    for part in unlike_standard(released, clip):
        print(f'    but with its own {part}, in a config of yours')


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


def to_released(args: argparse.Namespace) -> None:
    model = build_model(*read_model(args.input, args.config, args.clip))
    checkpoint = released_checkpoint(model)
    write_atomically(checkpoint, args.output)
    print(f'{args.output}: {len(checkpoint["model"])} tensors in the released format')
