"""What a checkpoint is of, written into it: enough to use it without its config.

It is JSON in ``checkpoint['meta']['vita_mm']``. A checkpoint is untrusted input: on
reading every field is checked, and which classes are built from it is not up to it.
"""
import json
import math
from collections.abc import Callable

from vita_mm.errors import UserError
from vita_mm.io.files import lasting
from vita_mm.labels.class_names import read_classes, read_templates

from .clip import demands_quick_gelu, read_architecture
from .recognizer import pack_identity, unpack_identity

KEY = 'vita_mm'
MOST = 4096  # frames, prompts or context vectors: no file makes us allocate more
TYPES = dict(backbone='VitaCLIPVisionTransformer', cls_head='VitaCLIPTextHead',
             data_preprocessor='ActionDataPreprocessor')


def kind(*types: type) -> Callable:
    return lambda value: type(value) in types


def count(least: int) -> Callable:
    return lambda value: type(value) is int and least <= value <= MOST


def texts(value) -> bool:
    return type(value) is list and all(type(text) is str for text in value)


def three_numbers(value) -> bool:
    return type(value) is list and len(value) == 3 and all(
        type(number) in (int, float) and math.isfinite(number) for number in value)


# What each part may hold; what the classes do with the values is checked by them.
FIELDS = dict(
    clip=dict(arch=lambda arch: type(arch) is dict or (
                  type(arch) is str and not arch.endswith('.json')),
              pretrained=kind(str, type(None)), quick_gelu=kind(bool, type(None))),
    backbone=dict(num_frames=count(1), summary=kind(bool), local=kind(bool),
                  num_global=count(0), time_embedding=kind(bool),
                  local_condition=kind(str), freeze_summary_proj=kind(bool),
                  long_clips=kind(str)),
    cls_head=dict(classes=texts, context=kind(str), num_context=count(1),
                  context_position=kind(str), context_init=kind(str, type(None)),
                  templates=texts),
    data_preprocessor=dict(mean=three_numbers,
                           std=lambda std: three_numbers(std) and min(std) > 0))
SAMPLING = dict(
    SampleFrames=dict(
        type=kind(str), clip_len=count(1), frame_interval=count(1),
        out_of_bound_opt=lambda value: value in ('loop', 'repeat_last')),
    UniformSample=dict(type=kind(str), clip_len=count(1)))
NEEDED = dict(clip={'arch'}, backbone=set(), cls_head={'classes'},
              data_preprocessor={'mean', 'std'}, sampling={'type', 'clip_len'})
# Options of a config that change nothing in the probabilities of one centre view.
IDLE = dict(
    clip=set(), backbone={'type', 'checkpointing', 'compile'},
    cls_head={'type', 'loss_cls', 'topk', 'average_clips'},
    data_preprocessor={'type', 'format_shape'},
    sampling={'test_mode', 'num_clips', 'twice_sample', 'keep_tail_frames'})


def describe(model: dict, pipeline: list[dict], classes: list[str] | None = None
             ) -> dict:
    """A description of a config's model and of how it samples a view.

    Args:
        model: config of a ``VitaCLIP``.
        pipeline: of its evaluation.
        classes: the names, where they are not to be read from ``model`` again.

    Raises:
        UserError: if it has what a description cannot say, or a list cannot be read.
    """
    given = {part: dict(model.get(part) or {}) for part in FIELDS}
    given['sampling'] = next(
        (dict(step) for step in pipeline if 'clip_len' in step), {})
    for part, name in TYPES.items():
        if given[part].get('type', name) != name:
            raise UserError(f'{part} is a {given[part]["type"]}, not a {name}')
    description = {
        part: {key: value for key, value in options.items() if key not in IDLE[part]}
        for part, options in given.items()}
    head, clip = description['cls_head'], description['clip']
    head['classes'] = classes or read_classes(head.get('classes', []))
    if 'templates' in head:
        head['templates'] = read_templates(head['templates'])
    if str(clip.get('arch')).endswith('.json'):
        clip['arch'] = read_architecture(clip['arch'])
    if isinstance(clip.get('pretrained'), str):
        clip['pretrained'] = lasting(clip['pretrained'])
    description = json.loads(json.dumps(description))
    try:
        check_fields(description)
    except ValueError as error:
        raise UserError(f'the config cannot be described: {error}') from error
    return description


def evaluation_pipeline(config: dict) -> list[dict]:
    """The pipeline of a config's test set, else of its validation set.

    Raises:
        UserError: if it has neither.
    """
    for name in ('test_dataloader', 'val_dataloader'):
        dataset = (config.get(name) or {}).get('dataset', {})
        if 'pipeline' in dataset:
            return dataset['pipeline']
    raise UserError('the config has no pipeline in test_dataloader.dataset')


def read_description(checkpoint: dict, path: str) -> dict:
    """The description in a checkpoint, checked.

    Raises:
        UserError: if there is none, or a field is missing, unknown or not what it is to
            be.
    """
    meta = checkpoint.get('meta')
    text = meta.get(KEY) if isinstance(meta, dict) else None
    if text is None:
        raise UserError(f'{path} does not say what model it is of: give its config '
                        '(--config CONFIG)')
    try:
        description = json.loads(text)
        check_fields(description)
    except (RecursionError, TypeError, ValueError) as error:
        raise UserError(f'{path} describes its model in a way that is not understood '
                        f'({error}): give its config (--config CONFIG)') from error
    return description


def tell_activation(checkpoint: dict) -> None:
    """Write the activation of an old checkpoint's CLIP from its description, where there
    is one, to where :func:`vita_mm.models.common.recognizer.check_settings` compares it."""
    state = checkpoint.get('state_dict')
    if not isinstance(state, dict) or '_extra_state' not in state:
        return
    try:
        clip = read_description(checkpoint, '')['clip']
        identity = unpack_identity(state['_extra_state'])
        quick_gelu = clip.get('quick_gelu')
        if quick_gelu is None and isinstance(clip['arch'], str):
            quick_gelu = demands_quick_gelu(clip['arch'], str(clip.get('pretrained')))
        if quick_gelu is None:
            quick_gelu = bool(read_architecture(clip['arch']).get('quick_gelu'))
    except UserError:  # no description, or another fault that loading names
        return
    if identity['clip']['settings'] is None:
        identity['clip']['quick_gelu'] = quick_gelu
        state['_extra_state'] = pack_identity(**identity)


def check_fields(description: dict) -> None:
    """Raises ValueError naming what is missing, unknown, or not what it is to be."""
    if type(description) is not dict or description.keys() != NEEDED.keys():
        raise ValueError('it must have ' + ', '.join(NEEDED))
    for part, needed in NEEDED.items():
        if type(description[part]) is not dict:
            raise ValueError(f'{part} cannot be {str(description[part]):.80}')
        missing = needed - description[part].keys()
        if missing:
            raise ValueError(f'{part} lacks ' + ', '.join(sorted(missing)))
    sampler = description['sampling']['type']
    if type(sampler) is not str or sampler not in SAMPLING:
        raise ValueError(f'sampling.type is none of {", ".join(SAMPLING)}')
    for part, fields in dict(FIELDS, sampling=SAMPLING[sampler]).items():
        for key, value in description[part].items():
            if key not in fields:
                raise ValueError(f'there is no {part}.{key}')
            if not fields[key](value):
                raise ValueError(f'{part}.{key} cannot be {str(value):.80}')


def model_config(description: dict) -> dict:
    """Arguments of ``VitaCLIP``, but for ``clip``; their types are fixed here."""
    parts = {part: dict(description[part], type=name) for part, name in TYPES.items()}
    parts['cls_head'].update(average_clips='prob')
    parts['data_preprocessor'].update(format_shape='NCTHW')
    return parts


def view_pipeline(description: dict, height: int, width: int) -> list[dict]:
    """The pipeline of one centre view of frames of this size in pixels."""
    return [
        dict(type='OpenVideo'),
        dict(description['sampling'], test_mode=True),
        dict(type='DecodeFrames'),
        dict(type='Resize', scale=(-1, max(height, width))),
        dict(type='CenterCrop', crop_size=(width, height)),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs')]
