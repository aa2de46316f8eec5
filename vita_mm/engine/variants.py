"""Variants of a config: what a command line or a suite says, and no file needs to.

A config says which system is trained on which dataset; the frames and views of an
evaluation, its dataset, prompts and reading of long clips are said where it is asked for.
"""
import copy
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mmengine.config import Config

from vita_mm.data.view_steps import CENTRES, CROPS, OF_AUTHORS, RESIZING
from vita_mm.errors import UserError
from vita_mm.io.files import locate
from vita_mm.labels.class_names import packaged_classes, read_classes, read_templates
from vita_mm.systems import check_verb, find_system

from .pipelines import find_sampling, find_step, with_steps
from .runs import load_config, use_trained_model, use_views_of

# Dataset to the config whose test set it is, and the split of that; the miniature's play
# the roles of the others.
DATASETS = {
    'k400': ('configs/vita_k400.py', None), 'ssv2': ('configs/vita_ssv2.py', None),
    'hmdb51': ('configs/zero_shot/hmdb51.py', None),
    'ucf101': ('configs/zero_shot/ucf101.py', None),
    'k600': ('configs/zero_shot/k600.py', None),
    'k600_val': ('configs/zero_shot/k600.py', 'val'),
    'mini_k400': ('configs/vita_mini.py', None),
    'mini_ssv2': ('configs/vita_mini_motion.py', None),
    'mini_hmdb51': ('configs/zero_shot/mini_hmdb51.py', None),
    'mini_ucf101': ('configs/zero_shot/mini_ucf101.py', None),
    'mini_k600': ('configs/zero_shot/mini_k600.py', None)}
READINGS = ('frame_windows', 'tile')
CLIPS = ('drawn', 'even')
# How frames of a clip may be taken where nobody says how, to the step that does.
SAMPLINGS = {
    'parts': dict(type='UniformSample'),
    'stride': dict(type='FittingSampleFrames', frame_interval=16,
                   out_of_bound_opt='last_frame')}
DRAWS = ('frame', 'clip')


@dataclass(frozen=True)
class Variants:
    """How a config is changed.

    Attributes:
        dataset: a key of ``DATASETS``, or the file of a config with a test set.
        split: a name in the ``splits`` of the dataset's config, such as ``val`` of
            Kinetics-600, or the number of one of its official splits, from 1.
        frames: of a clip: in a config of a training of that, too, and for its model;
            with a dataset, and in a config without training, of the evaluation alone.
        stride: of the frames of a clip, where they are sampled at one; of the same as
            ``frames``.
        views: clips in time x crops in space, such as ``4x3``; crops are 1 or 3.
        clips: how those in time are taken by systems whose authors draw them at random:
            ``drawn``, or ``even``, evenly spread.
        sampling: how the frames of a clip are taken in evaluations of which the paper
            does not say it: in ``parts``, of each the middle, or at a ``stride``, the
            largest up to 16 that fits.
        resize: pixels of the shorter side of a frame, before the crop of its centre, in
            an evaluation.
        draws: whether the augmentations of a training are drawn for each ``frame`` of a
            clip or once for the ``clip``, where they are done frame by frame.
        reading: of clips of more frames than Vita-CLIP was trained on: ``frame_windows``
            or ``tile``.
        prompts: one of the config's sets, a list that comes with the package, or one
            template with ``{}`` where the class name goes.
        names: the column of the packaged list of classes whose names are used, such as
            ``folder`` of ``ucf101``: ApplyEyeMakeup for Apply Eye Makeup.

    Raises:
        ValueError: for a value that cannot be meant.
    """
    dataset: str | None = None
    split: int | str | None = None
    frames: int | None = None
    stride: int | None = None
    views: str | None = None
    clips: str | None = None
    sampling: str | None = None
    resize: int | None = None
    draws: str | None = None
    reading: str | None = None
    prompts: str | None = None
    names: str | None = None

    def __post_init__(self) -> None:
        for name in ('frames', 'stride', 'resize'):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f'{name} is a number from 1, not {value!r}')
        if self.views is not None and not re.fullmatch(r'[1-9]\d*x[13]', str(self.views)):
            raise ValueError('views are clips x crops with 1 or 3 crops, such as 4x3, '
                             f'not {self.views!r}')
        for name, known in (('reading', READINGS), ('clips', CLIPS),
                            ('sampling', SAMPLINGS), ('draws', DRAWS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise ValueError(f'{name} is {" or ".join(known)}, not {value!r}')
        if isinstance(self.split, int) and self.split < 1:
            raise ValueError(f'the splits are numbered from 1, not {self.split}')

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> 'Variants':
        """Those of a command line.

        Raises:
            UserError: for a value that cannot be meant.
        """
        try:
            return cls(**options)
        except ValueError as error:
            raise UserError(str(error)) from error

    def given(self) -> dict[str, Any]:
        """Those that are not None."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __bool__(self) -> bool:
        return bool(self.given())

    def __or__(self, other: 'Variants') -> 'Variants':
        """The other's where it says them, else these."""
        return Variants(**{**self.given(), **other.given()})

    def only(self, *names: str) -> 'Variants':
        """These of them."""
        return Variants(**{key: value for key, value in self.given().items()
                           if key in names})

    def without(self, *names: str) -> 'Variants':
        return self.only(*(item.name for item in fields(self) if item.name not in names))

    def words(self) -> str:
        """As on a command line, such as ``--frames 16 --views 4x3``."""
        return ' '.join(f'--{key} {value}' for key, value in self.given().items())


def apply_variants(config: Config, variants: Variants,
                   load: Callable[[str], Config] = load_config) -> Config:
    """A config with variants; that which is given stays as it is.

    Batches become smaller where a video has more frames, so that they fit where they
    fitted before; micro-batches become more.

    Args:
        load: reads the config of a dataset.

    Raises:
        UserError: if a variant has no meaning for this config.
    """
    if not variants:
        return config
    place = f'{config.filename} {variants.words()}'
    config, split = config.copy(), variants.split  # shallow in MMEngine (0.10.7)
    try:
        if variants.dataset is not None:
            path, own = find_dataset(variants.dataset)
            config = on_test_set_of(load(path), config)
            split = own if split is None else split
        if variants.names is not None:
            use_names(config, variants.names)
        if split is not None:
            use_split(config, split)
        if variants.sampling is not None:
            use_sampling(config, variants.sampling)
        if variants.frames is not None or variants.stride is not None:
            use_frames(config, variants.frames, variants.stride)
        if variants.views is not None:
            times, crops = map(int, variants.views.split('x'))
            use_views(config, times, crops)
        if variants.clips is not None:
            use_clips(config, variants.clips)
        if variants.resize is not None:
            use_resize(config, variants.resize)
        if variants.draws is not None:
            use_draws(config, variants.draws)
        if variants.reading is not None:
            use_reading(config, variants.reading)
        if variants.prompts is not None:
            use_prompts(config, variants.prompts)
    except UserError as error:
        raise UserError(f'{place}: {error}') from error
    return config


def find_dataset(name: str) -> tuple[str, str | None]:
    """The config whose test set a dataset is, and the split of that.

    Raises:
        UserError: if there is no such dataset.
    """
    if name in DATASETS:
        path, split = DATASETS[name]
        return locate(path), split
    if name.endswith('.py'):
        return name, None
    raise UserError(f'there is no dataset {name!r}: say {", ".join(DATASETS)} or the '
                    'file of a config with a test set')


def read_dataset(name: str) -> Config:
    """The config of the evaluation on a dataset, of Vita-CLIP.

    Raises:
        UserError: if there is no such dataset.
    """
    path, split = find_dataset(name)
    return apply_variants(load_config(path), Variants(split=split))


def on_test_set_of(evaluation: Config, trained: Config) -> Config:
    """A config's evaluation with the model of another, and with the pixels of that.

    Frames are chosen as the evaluation says; they are resized, cropped and normalised as
    in the one-view evaluation of the model's own config.

    Where its classes are not those of the model, they are told from the model by manual
    prompts: those of the evaluation, else those of the model's config, else the names.

    Raises:
        UserError: if the system of the model has no prompts.
    """
    if evaluation.get('test_dataloader') is None:
        raise UserError(f'{evaluation.filename} has no test_dataloader')
    found, model = copy.deepcopy(evaluation), trained.model
    head = found.model.cls_head
    foreign = head.classes != model.cls_head.get('classes')
    if foreign:
        system = find_system(model)
        if system is not None:
            check_verb('zero-shot', system)
        found.model.cls_head = dict(head, context='none')
    if not prompts_of(found) and prompts_of(trained):
        found.test_cfg = copy.deepcopy(trained.test_cfg)
    elif not prompts_of(found) and foreign:
        found.test_cfg = dict(type='ZeroShotLoop', prompts=dict(name='{}'))
    use_trained_model(found, trained)
    use_views_of(found, trained)
    add_prompts(found)
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler',
                'val_cfg', 'val_dataloader', 'val_evaluator'):
        found[key] = None
    found.precision = trained.get('precision', 'float32')
    imports = [name for config in (found, trained) for name in imports_of(config)]
    found.custom_imports = dict(imports=list(dict.fromkeys(imports)),
                                allow_failed_imports=False)
    return found


def imports_of(config: Config) -> list[str]:
    imports = (config.get('custom_imports') or {}).get('imports') or []
    return [imports] if isinstance(imports, str) else list(imports)


def prompts_of(config: Config) -> Mapping:
    """The sets of manual prompts that an evaluation has; empty if it has none."""
    return (config.get('test_cfg') or {}).get('prompts') or {}


def add_prompts(config: Config) -> None:
    """Have the sets of prompts that the system of the model was published with beside
    those of the evaluation, if it has any."""
    system = find_system(config.model)
    if system is not None and prompts_of(config):
        config.test_cfg.prompts.update(system.prompts)


def use_names(config: Config, column: str) -> None:
    """Evaluate with the names of another column of the packaged list of classes."""
    classes = config.model.cls_head.classes
    name = classes.partition(':')[0] if isinstance(classes, str) else None
    if name not in packaged_classes():
        raise UserError(f'--names {column} is for a list of classes that comes with the '
                        'package: ' + ', '.join(packaged_classes()))
    named = name if column == 'name' else f'{name}:{column}'
    read_classes(named)
    config.model = copy.deepcopy(config.model)
    config.model.cls_head.classes = named
    change_dataset(config, 'test', classes=named)


def use_split(config: Config, split: int | str) -> None:
    """Evaluate on other lists of the dataset."""
    lists = dict(config.get('splits') or {})
    official = config.test_dataloader.dataset.ann_file
    if split in lists:
        change_dataset(config, 'test', ann_file=lists[split])
        return
    if not isinstance(split, int) or not isinstance(official, list) \
            or split > len(official):
        known = [*lists, *(range(1, len(official) + 1)
                           if isinstance(official, list) else ())]
        raise UserError(f'there is no split {split!r}; it has '
                        + (', '.join(map(str, known)) or 'none'))
    change_dataset(config, 'test', ann_file=official[split - 1:split])
    evaluator = copy.deepcopy(config.test_evaluator)
    evaluator.num_splits = 1
    if evaluator.get('candidates'):
        evaluator.candidates = evaluator.candidates[split - 1:split]
    config.test_evaluator = evaluator


def use_frames(config: Config, frames: int | None, stride: int | None) -> None:
    """Have clips of so many frames, at this stride: in the training, too, if there is
    one."""
    trains = config.get('train_cfg') is not None
    for loop in ('train', 'val', 'test') if trains else ('test', ):
        if config.get(f'{loop}_dataloader') is None:
            continue
        before = find_sampling(pipeline_of(config, loop))
        change = {}
        if frames is not None:
            change['clip_len'] = frames
        if stride is not None:
            if 'frame_interval' not in before:
                raise UserError('there is no stride: ' + (
                    'it is drawn for each clip' if 'strides' in before
                    else 'frames are of equal parts of a video'))
            change['frame_interval'] = stride
        change_steps(config, loop, {before['type']: change})
        divide_batch(config, loop, change.get('clip_len', 1) / before['clip_len']
                     if frames is not None else 1)
    if trains and frames is not None and 'num_frames' in config.model.backbone:
        config.model = copy.deepcopy(config.model)
        config.model.backbone.num_frames = frames


def use_views(config: Config, times: int, crops: int) -> None:
    """Average over so many clips in time, times crops in space."""
    pipeline = pipeline_of(config, 'test')
    sampling, crop = find_sampling(pipeline), find_step(pipeline, *CROPS)
    three = crop['type'] not in CENTRES
    steps = {}
    if times != sampling.get('num_clips', 1):
        changed = {key: value for key, value in sampling.items() if key != 'num_clips'}
        steps[sampling['type']] = changed | (dict(num_clips=times) if times > 1 else {})
    if three != (crops == 3):
        size, resize = crop['crop_size'], find_step(pipeline, *RESIZING)['type']
        steps[crop['type']] = dict(type=RESIZING[resize][crops == 3], crop_size=size)
        if crops == 3:  # side by side, they cover the frame
            steps[resize] = dict(scale=(-1, size))
        elif config.get('val_dataloader') is not None:  # one view is as in validation
            steps[resize] = dict(find_step(pipeline_of(config, 'val'), *RESIZING))
    change_steps(config, 'test', steps)
    before = sampling.get('num_clips', 1) * (3 if three else 1)
    divide_batch(config, 'test', times * crops / before)


def use_clips(config: Config, clips: str) -> None:
    """Draw the clips of a video, or spread them evenly."""
    sampling = find_sampling(pipeline_of(config, 'test'))
    name = sampling['type']
    if name not in OF_AUTHORS:
        raise UserError(f'the clips of {name} are evenly spread: --clips is for systems '
                        'whose authors draw them, such as X-CLIP')
    if name == 'SegmentSample' and sampling.get('num_clips', 1) == 1:
        raise UserError('one clip is of the middles of its parts: --clips is for '
                        'several, such as --views 4x3')
    change_steps(config, 'test', {name: dict(clips=clips)})


def use_sampling(config: Config, sampling: str) -> None:
    """Take the frames of an evaluation so, at as many as it has."""
    before = find_sampling(pipeline_of(config, 'test'))
    if before['type'] in OF_AUTHORS:
        raise UserError(f'{before["type"]} takes the frames as the code of the system\'s '
                        'authors does: --sampling is for systems whose code takes none '
                        'so, such as Vita-CLIP')
    if before['type'] not in {step['type'] for step in SAMPLINGS.values()} \
            or config.get('train_cfg') is not None:
        raise UserError(f'the frames of {before["type"]} are taken as in training: '
                        '--sampling is for evaluations of which the paper does not say '
                        'how, such as --dataset hmdb51')
    if before['type'] != SAMPLINGS[sampling]['type']:
        kept = {key: before[key] for key in ('clip_len', 'num_clips', 'test_mode')
                if key in before}
        change_steps(config, 'test', {before['type']: SAMPLINGS[sampling] | kept})
def use_resize(config: Config, size: int) -> None:
    """Evaluate on the centre of frames whose shorter side has so many pixels."""
    pipeline = pipeline_of(config, 'test')
    resize, crop = find_step(pipeline, *RESIZING), find_step(pipeline, *CROPS)
    if crop['type'] not in CENTRES:
        raise UserError('three crops cover the frame, whose shorter side is theirs: '
                        '--resize is for one crop (--views 1x1)')
    if min(resize['scale']) != -1:
        raise UserError(f'frames are resized to {tuple(resize["scale"])}, whatever their '
                        'ratio: --resize is for a shorter side')
    smallest = min(crop['crop_size']) if not isinstance(crop['crop_size'], int) \
        else crop['crop_size']
    if size < smallest:
        raise UserError(f'a crop of {smallest} pixels does not fit a shorter side of '
                        f'{size}')
    change_steps(config, 'test', {resize['type']: dict(scale=(-1, size))})


def use_draws(config: Config, draws: str) -> None:
    """Draw what is done to frames in training for each of them, or for a clip."""
    if config.get('train_dataloader') is None:
        raise UserError('nothing is trained here: --draws is of the augmentations of a '
                        'training')
    found = [step['type'] for step in pipeline_of(config, 'train') if 'draws' in step]
    if not found:
        raise UserError('no augmentation of its training can be drawn for each frame: '
                        'it draws once for a clip, or has none')
    pipeline = [dict(step, draws=draws) if 'draws' in step else step
                for step in pipeline_of(config, 'train')]
    change_dataset(config, 'train', pipeline=pipeline)
    if 'train_pipeline' in config:
        config.train_pipeline = copy.deepcopy(pipeline)


def use_reading(config: Config, reading: str) -> None:
    """Read long clips in this way."""
    if config.model.backbone.type != 'VitaCLIPVisionTransformer':
        raise UserError(f'{config.model.backbone.type} has one way to read a clip: '
                        '--reading is for Vita-CLIP')
    config.model = copy.deepcopy(config.model)
    config.model.backbone.long_clips = reading


def use_prompts(config: Config, name: str) -> None:
    """Evaluate one set of prompts."""
    known = prompts_of(config)
    if not known:
        raise UserError('nothing is told by manual prompts here: --prompts is for '
                        'zero-shot evaluation')
    if name not in known:
        try:
            read_templates(name)
        except UserError as error:
            raise UserError(f'there are no prompts {name!r}: {", ".join(known)} are '
                            f'those of the config, and {error}') from error
    key = name if re.fullmatch(r'\w+', name) else 'template'
    config.test_cfg = copy.deepcopy(config.test_cfg)
    config.test_cfg.prompts = {key: known.get(name, name)}


def pipeline_of(config: Config, loop: str) -> list:
    """
    Raises:
        UserError: if the data are given otherwise.
    """
    dataset = (config.get(f'{loop}_dataloader') or {}).get('dataset') or {}
    if 'pipeline' not in dataset:
        raise UserError(f'the config has no pipeline in {loop}_dataloader.dataset')
    return dataset['pipeline']


def change_steps(config: Config, loop: str, steps: Mapping[str, Mapping]) -> None:
    pipeline = with_steps(pipeline_of(config, loop), **steps)
    change_dataset(config, loop, pipeline=pipeline)
    if f'{loop}_pipeline' in config:  # which tools of MMAction2 read
        config[f'{loop}_pipeline'] = copy.deepcopy(pipeline)


def change_dataset(config: Config, loop: str, **keys) -> None:
    """Set keys of a dataset in a copy of its dataloader."""
    loader = copy.deepcopy(config[f'{loop}_dataloader'])
    loader.dataset.update(keys)
    config[f'{loop}_dataloader'] = loader


def divide_batch(config: Config, loop: str, factor: float) -> None:
    """Give a batch fewer videos, as a power of two, where each has more frames."""
    loader = copy.deepcopy(config[f'{loop}_dataloader'])
    size = loader.get('batch_size', 1)
    loader.batch_size = min(size, 2 ** max(0, math.ceil(math.log2(size / factor))))
    config[f'{loop}_dataloader'] = loader
    wrapper = config.get('optim_wrapper') or {}
    if loop == 'train' and 'accumulative_counts' in wrapper:
        config.optim_wrapper = copy.deepcopy(wrapper)
        config.optim_wrapper.accumulative_counts *= size // loader.batch_size
