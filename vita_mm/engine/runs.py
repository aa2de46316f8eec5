"""From a config file and a command line to an MMEngine Runner."""
import argparse
import copy
import difflib
import hashlib
import logging
import os
import re
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
import torch.distributed
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError
from mmengine.dist import get_world_size, init_dist
from mmengine.logging import print_log
from mmengine.runner import Runner

# Tools outside of the package take it from here, with read_config.
from vita_mm.cli.arguments import add_common_arguments  # noqa: F401
from vita_mm.data.dataset import check_batches
from vita_mm.data.view_steps import with_frames_of, with_pixels_of
from vita_mm.description import read_description
from vita_mm.errors import UserError
from vita_mm.io.files import ROOT, locate
from vita_mm.io.processes import die_with_parent
from vita_mm.systems import find_system
from vita_mm.tracking import guard, hide_credentials

from .config_text import OnceFormatted
from .plugins import add_to_path, check_plugins, explain, folder_of
from .precision import apply_precision

CONSTRUCTORS = 'DefaultOptimWrapperConstructor', 'FlatDecayConstructor'
# Of that one, which passes over any other.
RATES = ('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult',
         'flat_decay_mult', 'dwconv_decay_mult', 'dcn_offset_lr_mult',
         'bypass_duplicate')

RUNNER_KEYS = {
    'model', 'work_dir', 'experiment_name', 'train_dataloader', 'val_dataloader',
    'test_dataloader', 'train_cfg', 'val_cfg', 'test_cfg', 'auto_scale_lr',
    'optim_wrapper', 'param_scheduler', 'val_evaluator', 'test_evaluator',
    'default_hooks', 'custom_hooks', 'data_preprocessor', 'load_from', 'resume',
    'launcher', 'env_cfg', 'log_processor', 'log_level', 'visualizer', 'default_scope',
    'randomness', 'custom_imports', 'model_wrapper_cfg', 'compile', 'precision'}
# Options of a DataLoader that it refuses without workers.
OF_WORKERS = {'persistent_workers', 'prefetch_factor', 'multiprocessing_context',
              'timeout'}
GLOO_TIMEOUT = timedelta(minutes=30)


def read_config(args: argparse.Namespace) -> Config:
    """The config with the command line's variants and overrides.

    Raises:
        UserError: if it cannot be read, or one of its keys is misspelt.
    """
    from .variants import Variants, apply_variants  # which reads configs of datasets
    variants = Variants.of(getattr(args, 'variants', {}))
    config = apply_variants(load_config(args.config), variants)
    override(config, args.cfg_options, '--cfg-options')
    config.launcher = args.launcher
    config.work_dir = (args.work_dir or config.get('work_dir')
                       or default_work_dir(args.config, variants.given()))
    return config


def default_work_dir(path: str | Path, variants: dict | None = None) -> str:
    """The work dir of a config and its variants, another one for each.

    It is in the folder ``work_dirs`` of the current one what the config's path is below
    ``configs``, that of the current folder or of the project, or else below the current
    folder. A config from elsewhere, or of a name that a file in one of these has too,
    gets a name that ends in a digest of its path.
    """
    path = Path(os.path.abspath(locate(str(path)))).with_suffix('.py')
    ending = ''.join(f',{key}={printable_name(value)}'
                     for key, value in (variants or {}).items())
    here = Path.cwd()
    places = [here / 'configs', ROOT / 'configs', here]
    place = next((place for place in places if path.is_relative_to(place)), None)
    if place is not None:
        name = path.relative_to(place)
        if not any((other / name).exists() and not (other / name).samefile(path)
                   for other in places[:places.index(place)]):
            return f'work_dirs/{name.with_suffix("")}{ending}'
    digest = hashlib.sha256(str(path).encode()).hexdigest()
    return f'work_dirs/{path.stem}-{digest[:8]}{ending}'


def printable_name(value) -> str:
    """For the name of a folder; what is no plain word gets a digest."""
    text = str(value)
    if re.fullmatch(r'\w+', text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return '-'.join([*re.findall(r'\w+', text)[-3:], digest[:8]])


def load_config(path: str | Path) -> Config:
    """The config of a file of the current folder or else of the project.

    Plug-ins that it imports may lie beside it.

    Raises:
        UserError: if it cannot be read, or one of its keys is misspelt.
    """
    path = locate(str(path))
    add_to_path([folder_of(path)])
    try:
        config = Config.fromfile(path)
    except ImportError as error:
        raise UserError(f'cannot read the config {path}: {explain(error)}') from error
    except (OSError, SyntaxError, KeyError, TypeError, ConfigParsingError) as error:
        raise UserError(f'cannot read the config {path}: {error}') from error
    if config._imported_names:
        config = plain_config(config)
    check_plugins(config, path)
    check_keys(config.keys(), str(path))
    hide_credentials(config)
    return config


def plain_config(config: Config) -> Config:
    """A config of MMEngine's pure Python style as one of the other: classes become their
    names, and functions, which MMEngine (0.10.7) could not write down, are left out."""
    return Config({key: value for key, value in config.to_dict().items()
                   if not isinstance(value, (FunctionType, ModuleType))},
                  filename=config.filename)


def override(config: Config, options: dict, place: str) -> None:
    """Set dotted keys of a config.

    Raises:
        UserError: if a key is misspelt, does not fit, or would change nothing.
    """
    check_options(options, place)
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f'{place}: it does not fit {config.filename}: {error}'
                        ) from error
    hide_credentials(config)


def use_trained_model(config: Config, trained: Config) -> None:
    """Give an evaluation the model of a training.

    An evaluation with manual prompts has classes that were not trained on: these stay
    its own, and so does what the trained head's class names in ``of_evaluation``; its
    frames are those of the training, see :func:`use_views_of`. Its reading of long clips
    stays its own too. A model that is not built on a ``clip`` of ours, such as one of
    MMAction2's, is taken whole.

    Raises:
        UserError: if such a model is asked for classes that were not trained on.
    """
    own, model = config.model, copy.deepcopy(trained.model)
    if 'clip' not in model or 'clip' not in own:
        if (config.get('test_cfg') or {}).get('prompts') and 'clip' not in model:
            raise UserError(f'{config.filename} asks for classes by prompts, but the '
                            f'{model.get("type")} of {trained.filename} has no text side')
        config.model = model
        if trained.get('data_preprocessor'):
            config.data_preprocessor = copy.deepcopy(trained.data_preprocessor)
        return
    reading = own.backbone.get('long_clips')
    for part in ('clip', 'backbone', 'data_preprocessor'):
        if part in model:
            own[part] = model[part]
    if reading is not None:
        own.backbone.long_clips = reading
    head = model.cls_head
    if own.cls_head.get('context') == 'none':
        found = MODELS.get(head.type) if isinstance(head.type, str) else head.type
        head.update({key: own.cls_head[key] for key in getattr(
            found, 'of_evaluation', ('classes', )) if key in own.cls_head})
    own.cls_head = head
    if find_system(model) is None:
        own.type = model.type
    if (config.get('test_cfg') or {}).get('prompts'):
        use_views_of(config, trained)


def use_views_of(config: Config, trained: Config) -> None:
    """Take, resize and crop the frames of an evaluation as a training's own one-view
    evaluation does, as many as before. A pipeline that does so otherwise than in one step
    each stays as it is."""
    loader = copy.deepcopy(config.get('test_dataloader'))
    pipelines = [one.dataset.pipeline for one in (
        loader, trained.get('val_dataloader') or trained.get('test_dataloader'))
        if one is not None and 'pipeline' in (one.get('dataset') or {})]
    if len(pipelines) < 2:
        return
    pipeline, own = pipelines
    loader.dataset.pipeline = with_frames_of(with_pixels_of(pipeline, own), own)
    config.test_dataloader = loader
    if 'test_pipeline' in config:
        config.test_pipeline = copy.deepcopy(loader.dataset.pipeline)


def keep_trained_pixels(config: Config, checkpoint: dict, options: Mapping) -> None:
    """Normalise frames as they were for the model of a checkpoint, where its config has
    other values by now.

    A converted checkpoint was not trained here: its config says what its authors did.

    Args:
        checkpoint: its content.
        options: of the command line, which come first.
    """
    own = (config.get('model') or {}).get('data_preprocessor')
    meta = checkpoint.get('meta')
    if own is None or not isinstance(meta, dict) or 'converted_from' in meta:
        return
    try:
        trained = read_description(checkpoint, '')['data_preprocessor']
    except UserError:  # it does not describe itself
        return
    differing = {
        name: value for name, value in trained.items()
        if plain(own.get(name)) != value
        and f'model.data_preprocessor.{name}' not in options}
    if differing:
        own.update(differing)
        print_log(f'frames are normalised as those that the checkpoint was trained on, '
                  f'not as {config.filename} says: {differing}', 'current',
                  logging.WARNING)


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def check_keys(keys, place: str) -> None:
    """Refuse a top-level key that is nearly one of MMEngine's.

    Configs may define variables of their own, so an unknown key is no error by itself.
    """
    for key in sorted(set(keys) - RUNNER_KEYS):
        near = difflib.get_close_matches(key, RUNNER_KEYS, n=1, cutoff=0.8)
        if near and not is_another(key, near[0]):
            raise UserError(f'{place}: unknown key {key!r}; did you mean {near[0]!r}?')


def is_another(key: str, known: str) -> bool:
    """Whether two keys have but their last word in common, as ``image_dataloader`` and
    ``val_dataloader``."""
    (first, _, last), (known_first, _, known_last) = (
        word.rpartition('_') for word in (key, known))
    return last == known_last and not difflib.get_close_matches(first, [known_first],
                                                                cutoff=0.5)


def check_options(options: dict, place: str) -> None:
    """Refuse an override that would change nothing.

    Variables of a config, such as ``root``, act while the file is read.
    """
    for key in (key.split('.')[0] for key in options):
        check_keys([key], place)
        if key not in RUNNER_KEYS:
            raise UserError(
                f'{place}: {key!r} is no key of a run, so that it would change '
                'nothing; name the keys that use it, such as '
                'test_dataloader.dataset.ann_file, or write a config')


def keep_test_only(config: Config) -> None:
    """Take the training and validation loops out of a config.

    The videos are then read once: workers that wait for another time would only delay
    the end.
    """
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler',
                'val_cfg', 'val_dataloader', 'val_evaluator'):
        config[key] = None
    config.test_dataloader.persistent_workers = False


def clips_per_step(config: Config) -> int:
    """Clips of an optimizer step: batch size x accumulation x processes."""
    return (config.train_dataloader.get('batch_size', 1) * get_world_size()
            * config.optim_wrapper.get('accumulative_counts', 1))


def scale_rate(config: Config) -> None:
    """Scale the learning rate to the clips of a step, if the config wants it.

    MMEngine's own scaling (0.10.7) does not see accumulation: it is switched off.
    """
    scaling = config.get('auto_scale_lr') or {}
    if config.get('optim_wrapper') and scaling.get('enable'):
        config.optim_wrapper.optimizer.lr *= (
            clips_per_step(config) / scaling['base_batch_size'])
        scaling['enable'] = False


def build_runner(config: Config) -> Runner:
    """A Runner on whatever this machine has: GPUs with NCCL, else CPUs with gloo.

    The loops are built too, but for the test loop of a training: its data need not be
    there.

    Raises:
        UserError: if the config names a class or an argument that does not exist, or a
            precision that is not to be had.
    """
    join_group(config)
    apply_precision(config)
    if torch.cuda.is_available():
        # Else torch refuses matrix products where results are to repeat themselves.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        for part in ('train', 'val', 'test'):
            if config.get(f'{part}_dataloader'):
                # From pinned memory the copy to a GPU is faster; without one torch warns.
                config[f'{part}_dataloader'].setdefault('pin_memory', True)
    elif config.launcher != 'none':
        # MMEngine's default wrapper names a device.
        config.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    for part in ('train', 'val', 'test'):
        loader = config.get(f'{part}_dataloader')
        if loader and loader.get('num_workers') == 0:
            for key in OF_WORKERS & loader.keys():
                del loader[key]
    try:
        scale_rate(config)
        runner = Runner.from_cfg(OnceFormatted.of(config))
        loops = ('test', ) if runner._train_loop is None else ('train', )
        for name in ('val', *loops):
            if getattr(runner, f'_{name}_loop') is not None:
                loop = getattr(runner, f'{name}_loop')  # builds it, and its dataset
                check_batches(name, loop.dataloader)
        if runner.optim_wrapper is not None:
            check_rates(runner.optim_wrapper, runner.model)
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        return runner
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f'the config does not build: {error}') from error


def check_rates(optim_wrapper: Any, model: torch.nn.Module) -> None:
    """Refuse rates of single parameters that MMEngine would not find, and say nothing.

    What other constructors of optimizers take is theirs to say.

    Raises:
        UserError: naming the key.
    """
    if optim_wrapper.get('constructor', CONSTRUCTORS[0]) not in CONSTRUCTORS:
        return
    rates = optim_wrapper.get('paramwise_cfg') or {}
    if rates and 'lr' not in optim_wrapper['optimizer']:
        raise UserError('optim_wrapper.paramwise_cfg needs an optimizer.lr to multiply')
    parts = rates.get('custom_keys', {})
    for place, given, known in (
            ('', rates, RATES),
            *((f".custom_keys['{part}']", rate, ('lr_mult', 'decay_mult'))
              for part, rate in parts.items())):
        for key in given.keys() - set(known):
            raise UserError(f'optim_wrapper.paramwise_cfg{place}: unknown key {key!r}; '
                            f'known are {", ".join(known)}')
    names = [name for name, _ in model.named_parameters()]
    for part in parts:
        if not any(part in name for name in names):
            raise UserError('optim_wrapper.paramwise_cfg.custom_keys: no parameter has '
                            f'{part!r} in its name')


def join_group(config: Config) -> None:
    """Join the processes of the config's launcher, if that has not been done."""
    if config.launcher == 'none' or torch.distributed.is_initialized():
        return
    if config.launcher == 'pytorch':
        die_with_parent()
    if torch.cuda.is_available():
        init_dist(config.launcher, **config.env_cfg.dist_cfg)
    else:
        # init_dist (MMEngine 0.10.7) would call torch.cuda.
        join_gloo_group(config.launcher)


def evaluate(config: Config, checkpoint: str | None, parent: dict | None = None) -> dict:
    """The metrics of a config's test loop, in a tracked run.

    Args:
        config: with ``work_dir`` and ``experiment_name``; it is changed.
        checkpoint: None for frozen CLIP.
        parent: of the MLflow run, see :class:`MLflowTracking`.
    """
    config.load_from = checkpoint
    for backend in (config.get('visualizer') or {}).get('vis_backends') or ():
        if backend['type'] == 'MLflowTracking':
            backend.parent = parent
    keep_test_only(config)
    runner = build_runner(config)
    with guard(runner):
        return runner.test()


def join_gloo_group(launcher: str) -> None:
    if launcher == 'slurm':
        nodes = os.environ['SLURM_NODELIST']
        hosts = subprocess.run(['scontrol', 'show', 'hostname', nodes],
                               capture_output=True, text=True, check=True).stdout
        os.environ.setdefault('MASTER_ADDR', hosts.split()[0])
        os.environ.setdefault('MASTER_PORT', '29500')
        os.environ.update(
            RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'],
            LOCAL_RANK=os.environ['SLURM_LOCALID'])
    torch.distributed.init_process_group('gloo', timeout=GLOO_TIMEOUT)
