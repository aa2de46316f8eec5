"""What a checkpoint says of the model that it is of: its parts, and what each may hold.

A checkpoint is untrusted input: every field is checked, and which classes are built is up
to the system that it names, not to it. What is a system's own, the options of its two
sides, is said by its wing in a :class:`Parts`. Descriptions are written and read by
:mod:`vita_mm.description`.
"""
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import mode

from mmengine.config import Config

from vita_mm.data.view_steps import CENTRES, CROPS, RESIZING, find_pixels
from vita_mm.errors import UserError
from vita_mm.io.files import lasting
from vita_mm.labels.class_names import read_classes, read_templates

from .clip import read_architecture

KEY = 'vita_mm'  # in checkpoint['meta']
MOST = 4096  # frames, prompts or context vectors: no file makes us allocate more
DEEPEST = 128  # layers of a transformer
Check = Callable[[object], bool]


def kind(*types: type) -> Check:
    return lambda value: type(value) in types


def count(least: int, most: int = MOST) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def texts(value) -> bool:
    return type(value) is list and all(type(text) is str for text in value)


def number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def positive(value) -> bool:
    return number(value) and value > 0


def three_numbers(value) -> bool:
    return type(value) is list and len(value) == 3 and all(map(number, value))


def three_positive(value) -> bool:
    return three_numbers(value) and min(value) > 0


depth = count(1, DEEPEST)
TEMPORAL: dict[str, Check] = dict(
    num_positions=count(1), num_layers=depth, residual=kind(bool), position_std=number,
    linear_std=lambda value: value is None or number(value), eps=positive)


def temporal(value) -> bool:
    """Arguments of a ``TemporalTransformer``."""
    return (type(value) is dict and {'num_positions', 'num_layers'} <= value.keys()
            and all(key in TEMPORAL and TEMPORAL[key](part)
                    for key, part in value.items()))


# Of every head with a text side, and of those with a learned context.
TEXT: dict[str, Check] = dict(classes=texts, templates=texts)
CONTEXT: dict[str, Check] = dict(
    context=kind(str), num_context=count(1), context_position=kind(str),
    context_init=kind(str, type(None)))


@dataclass(frozen=True)
class Part:
    """One side of a system's model.

    Attributes:
        type: the registered class that is built.
        fields: options by name, and what each may hold; what the class does with the
            values is checked by it.
        fixed: options that every model of the system has.
        idle: more options of configs that change nothing in the probabilities of a view.
    """
    type: str
    fields: Mapping[str, Check]
    fixed: Mapping[str, object] = field(default_factory=dict)
    idle: frozenset[str] = frozenset()

    def is_idle(self, key: str, value: object) -> bool:
        return key in self.idle or (key in self.fixed and value == self.fixed[key])


def with_classes(head: dict, classes: str | list[str],
                 templates: str | list[str] | None) -> dict:
    """Options of a head on other classes; its own templates, where none are given."""
    given = {} if templates is None else dict(templates=templates)
    return {**head, 'classes': classes, **given}


@dataclass(frozen=True)
class Parts:
    """How a system's models are described.

    Attributes:
        backbone, cls_head: the two sides.
        recognizer: the registered class that holds them.
        on_classes: from the options of a head to those on other classes (zero-shot), as
            :func:`with_classes`. It raises UserError where templates have no meaning.
    """
    backbone: Part
    cls_head: Part
    recognizer: str = 'CLIPRecognizer'
    on_classes: Callable[[dict, str | list[str], str | list[str] | None], dict] = (
        with_classes)


CLIP: dict[str, Check] = dict(
    arch=lambda arch: type(arch) is dict or (
        type(arch) is str and not arch.endswith('.json')),
    pretrained=kind(str, type(None)), quick_gelu=kind(bool, type(None)))
PIXELS: dict[str, Check] = dict(
    mean=three_numbers, std=three_positive, to_rgb=kind(bool))
# How frames are resized, where it is not by MMAction2, and their shorter side, where that
# is not the model's; what takes the centre follows from the first.
RESIZE: dict[str, Check] = dict(
    type=lambda value: type(value) is str and value in RESIZING, short_side=count(1))
STRIDE: dict[str, Check] = dict(
    type=kind(str), clip_len=count(1), frame_interval=count(1),
    out_of_bound_opt=lambda value: value in ('loop', 'repeat_last', 'last_frame'))
SAMPLING: dict[str, dict[str, Check]] = dict(
    SampleFrames=dict(
        STRIDE, out_of_bound_opt=lambda value: value in ('loop', 'repeat_last')),
    TightSampleFrames=STRIDE,
    FittingSampleFrames=STRIDE,
    UniformSample=dict(type=kind(str), clip_len=count(1)),
    SegmentSample=dict(type=kind(str), clip_len=count(1),
                       rule=lambda value: value in ('xclip', 'actionclip')))
NEEDED: dict[str, set[str]] = dict(
    clip={'arch'}, backbone=set(), cls_head={'classes'},
    data_preprocessor={'mean', 'std'}, sampling={'type', 'clip_len'})
OPTIONAL: dict[str, set[str]] = dict(resize={'type'})
# Options of a config that change nothing in the probabilities of one centre view.
IDLE: dict[str, set[str]] = dict(
    clip=set(), backbone={'type', 'checkpointing', 'compile'},
    cls_head={'type', 'loss_cls', 'topk', 'average_clips', 'label_smooth_eps',
              'context_std'},
    data_preprocessor={'type', 'format_shape', 'blending'},
    sampling={'test_mode', 'num_clips', 'clips', 'twice_sample', 'keep_tail_frames',
              'sample_range', 'num_sample_positions'})


def describe_parts(parts: Parts, model: Mapping, pipeline: list[dict],
                   classes: list[str] | None = None) -> dict:
    """The description of a config's model, but for the system's name.

    Args:
        parts: of its system.
        model: of a config.
        pipeline: of its evaluation.
        classes: the names, where they are not to be read from ``model`` again.

    Raises:
        UserError: if it has what a description cannot say, or a list cannot be read.
    """
    given = {part: dict(model.get(part) or {}) for part in NEEDED}
    given['sampling'] = centre_view(next(
        (dict(step) for step in pipeline if 'clip_len' in step), {}))
    name = given['data_preprocessor'].get('type', 'ActionDataPreprocessor')
    if name != 'ActionDataPreprocessor':
        raise UserError('the config cannot be described: data_preprocessor is a '
                        f'{name}, not an ActionDataPreprocessor')
    description = {
        part: {key: value for key, value in options.items() if key not in IDLE[part]}
        for part, options in given.items()}
    for name, part in (('backbone', parts.backbone), ('cls_head', parts.cls_head)):
        description[name] = {key: value for key, value in description[name].items()
                             if not part.is_idle(key, value)}
    resize = describe_resize(pipeline)
    if resize is not None:
        description['resize'] = resize
    head, clip = description['cls_head'], description['clip']
    head['classes'] = classes or read_classes(head.get('classes', []), repeated=True)
    if 'templates' in head:
        head['templates'] = read_templates(head['templates'])
    if str(clip.get('arch')).endswith('.json'):
        clip['arch'] = read_architecture(clip['arch'])
    if isinstance(clip.get('pretrained'), str):
        clip['pretrained'] = lasting(clip['pretrained'])
    description = json.loads(json.dumps(description))
    try:
        check_fields(description, parts)
    except ValueError as error:
        raise UserError(f'the config cannot be described: {error}') from error
    return description


def centre_view(sampling: dict) -> dict:
    """A step that samples the one view at the centre that this one does."""
    name = sampling.get('type')
    if name == 'RandomStrideSample':  # whose even clips these are
        return dict(
            type='FittingSampleFrames', clip_len=sampling['clip_len'],
            frame_interval=mode(sampling['strides']), out_of_bound_opt='last_frame')
    if name == 'DenseSampleFrames' or (
            name == 'TightSampleFrames'
            and sampling.get('out_of_bound_opt') != 'last_frame'):
        return dict(sampling, type='SampleFrames')
    return sampling
def describe_resize(pipeline: list[dict]) -> dict | None:
    """How a pipeline resizes frames for its view of the centre; None if MMAction2 does it
    to the size of the view, or it is not by a shorter side."""
    found = find_pixels(pipeline)
    if found is None:
        return None
    resize, crop = pipeline[found]
    if resize.keys() != {'type', 'scale'} or min(resize['scale']) != -1:
        return None
    short = {} if crop['crop_size'] == max(resize['scale']) else dict(
        short_side=max(resize['scale']))
    return dict(type=resize['type'], **short) if short or resize['type'] != 'Resize' \
        else None


def check_fields(description: dict, parts: Parts) -> None:
    """Raises ValueError naming what is missing, unknown, or not what it is to be."""
    if type(description) is not dict or description.keys() - OPTIONAL.keys() \
            != NEEDED.keys():
        raise ValueError('it must have ' + ', '.join(NEEDED))
    for part, needed in (NEEDED | OPTIONAL).items():
        if part not in description:
            continue
        if type(description[part]) is not dict:
            raise ValueError(f'{part} cannot be {str(description[part]):.80}')
        missing = needed - description[part].keys()
        if missing:
            raise ValueError(f'{part} lacks ' + ', '.join(sorted(missing)))
    sampler = description['sampling']['type']
    if type(sampler) is not str or sampler not in SAMPLING:
        raise ValueError(f'sampling.type is none of {", ".join(SAMPLING)}')
    fields = dict(clip=CLIP, backbone=parts.backbone.fields,
                  cls_head=parts.cls_head.fields, data_preprocessor=PIXELS,
                  sampling=SAMPLING[sampler], resize=RESIZE)
    for part, known in fields.items():
        for key, value in description.get(part, {}).items():
            if key not in known:
                raise ValueError(f'there is no {part}.{key}')
            if not known[key](value):
                raise ValueError(f'{part}.{key} cannot be {str(value):.80}')


def evaluation_pipeline(config: Mapping | Config) -> list[dict]:
    """The pipeline of a config's test set, or of its validation set, which has one view,
    where there is none or it takes three crops of a frame.

    Raises:
        UserError: if it has neither.
    """
    datasets = [(config.get(name) or {}).get('dataset') or {}
                for name in ('test_dataloader', 'val_dataloader')]
    pipelines = [one['pipeline'] for one in datasets if 'pipeline' in one]
    if not pipelines:
        raise UserError('the config has no pipeline in test_dataloader.dataset')
    three = any(step['type'] in CROPS and step['type'] not in CENTRES
                for step in pipelines[0])
    return pipelines[-1 if three else 0]


def model_config(description: dict, parts: Parts) -> dict:
    """The config of a described model, but for ``clip``; its types are the system's."""
    sides = {name: dict(description[name], **part.fixed, type=part.type)
             for name, part in (('backbone', parts.backbone),
                                ('cls_head', parts.cls_head))}
    return dict(sides, type=parts.recognizer, data_preprocessor=dict(
        description['data_preprocessor'], type='ActionDataPreprocessor',
        format_shape='NCTHW'))


def view_pipeline(description: dict, height: int, width: int) -> list[dict]:
    """The pipeline of one centre view of frames of this size in pixels."""
    resize = description.get('resize', dict(type='Resize'))
    kind, short_side = resize['type'], max(height, width, resize.get('short_side', 0))
    return [
        dict(type='OpenVideo'),
        dict(description['sampling'], test_mode=True),
        dict(type='DecodeFrames'),
        dict(type=kind, scale=(-1, short_side)),
        dict(type=RESIZING[kind][0], crop_size=(width, height)),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs')]
