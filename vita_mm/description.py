"""What a checkpoint is of, written into it: enough to use it without its config.

It is JSON in ``checkpoint['meta']['vita_mm']``. A checkpoint is untrusted input: on
reading every field is checked, and which classes are built from it is not up to it.
"""
import json

from .classes import read_classes
from .errors import UserError
from .models.clip import read_architecture

KEY = 'vita_mm'
NONE = type(None)
FIELDS = dict(
    clip=dict(arch=(str, dict), pretrained=(str, NONE), quick_gelu=(bool, NONE)),
    backbone=dict(num_frames=int, summary=bool, local=bool, num_global=int,
                  time_embedding=bool, local_condition=str, freeze_summary_proj=bool,
                  long_clips=str),
    cls_head=dict(classes=list, context=str, num_context=int, context_position=str,
                  context_init=(str, NONE), templates=(str, list)),
    data_preprocessor=dict(mean=list, std=list),
    sampling=dict(type=str, clip_len=int, frame_interval=int))
SAMPLERS = ('SampleFrames', 'UniformSample')


def describe(model: dict, pipeline: list[dict]) -> dict:
    """A description of a config's model and of how it samples a view.

    Args:
        model: config of a ``VitaCLIP``.
        pipeline: of its evaluation.

    Raises:
        UserError: if the class list cannot be read, or no transform samples frames.
    """
    sampler = next((dict(step) for step in pipeline if 'clip_len' in step), None)
    if sampler is None:
        raise UserError('the pipeline has no transform that samples frames')
    given = dict(model, sampling=sampler)
    description = {part: {key: given[part][key] for key in fields if key in given[part]}
                   for part, fields in FIELDS.items()}
    description['cls_head']['classes'] = read_classes(description['cls_head']['classes'])
    arch = description['clip']['arch']
    if isinstance(arch, str) and arch.endswith('.json'):
        description['clip']['arch'] = read_architecture(arch)
    return json.loads(json.dumps(description))


def read_description(checkpoint: dict, path: str) -> dict:
    """The description in a checkpoint, checked.

    Raises:
        UserError: if there is none, or a field is unknown or not of its type.
    """
    text = checkpoint.get('meta', {}).get(KEY) \
        if isinstance(checkpoint.get('meta', {}), dict) else None
    if text is None:
        raise UserError(f'{path} does not say what model it is of: give its config')
    try:
        description = json.loads(text)
        check_fields(description)
    except (TypeError, ValueError) as error:
        raise UserError(f'{path} describes its model in a way that is not understood '
                        f'({error}): give its config') from error
    return description


def check_fields(description: dict) -> None:
    """Raises ValueError naming what is missing, unknown, or not of its type."""
    if not isinstance(description, dict) or description.keys() != FIELDS.keys():
        raise ValueError('it must have ' + ', '.join(FIELDS))
    for part, fields in FIELDS.items():
        for key, value in dict(description[part]).items():
            kinds = fields.get(key)
            if kinds is None:
                raise ValueError(f'there is no {part}.{key}')
            exact = isinstance(value, bool) and bool not in as_tuple(kinds)
            if not isinstance(value, kinds) or exact:
                raise ValueError(f'{part}.{key} cannot be {value!r}')
    if description['sampling'].get('type') not in SAMPLERS:
        raise ValueError(f'sampling.type is none of {", ".join(SAMPLERS)}')
    for key in ('mean', 'std'):
        values = description['data_preprocessor'].get(key, [])
        if len(values) != 3 or not all(isinstance(x, (int, float)) for x in values):
            raise ValueError(f'data_preprocessor.{key} is not three numbers')


def as_tuple(kinds: type | tuple) -> tuple:
    return kinds if isinstance(kinds, tuple) else (kinds, )


def model_config(description: dict) -> dict:
    """The config of the recognizer; its types are fixed here."""
    return dict(
        type='VitaCLIP', clip=description['clip'],
        backbone=dict(description['backbone'], type='VitaCLIPVisionTransformer'),
        cls_head=dict(description['cls_head'], type='VitaCLIPTextHead',
                      average_clips='prob'),
        data_preprocessor=dict(description['data_preprocessor'],
                               type='ActionDataPreprocessor', format_shape='NCTHW'))


def view_pipeline(description: dict, height: int, width: int) -> list[dict]:
    """The pipeline of one centre view of frames of this size in pixels."""
    return [
        dict(type='DecordInit', num_threads=1),
        dict(description['sampling'], test_mode=True),
        dict(type='DecordDecode'),
        dict(type='Resize', scale=(-1, max(height, width))),
        dict(type='CenterCrop', crop_size=(width, height)),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs')]
