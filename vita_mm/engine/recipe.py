"""What decides a training, and which of them a work dir holds."""
import ast
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process

from vita_mm.errors import UserError
from vita_mm.io.checkpoints import newest_whole_checkpoint, read_tensors
from vita_mm.io.files import lock, read_json, write_json
from vita_mm.tracking.values import cut, flatten

from .precision import PRECISIONS
from .runs import clips_per_step, join_group

FILE = 'recipe.json'
PARTS = ('model', 'data_preprocessor', 'train_dataloader', 'optim_wrapper',
         'param_scheduler', 'train_cfg', 'auto_scale_lr', 'randomness', 'precision')
# How a batch is divided is told by the clips a step; samples are seeded by epoch and
# index, whoever reads them.
IDLE = {'train_dataloader.batch_size', 'train_dataloader.num_workers',
        'train_dataloader.persistent_workers', 'train_dataloader.prefetch_factor',
        'train_dataloader.pin_memory', 'optim_wrapper.accumulative_counts',
        'train_cfg.val_interval', 'train_cfg.val_begin', 'train_cfg.dynamic_intervals',
        'model.backbone.checkpointing'}
# These only look on.
OBSERVERS = {'ConfusionHook', 'DescriptionHook', 'FiniteHook', 'PredictionsHook',
             'SelectionHook', 'TrackingHook'}
# These too, or they divide a training's work; others may change what is trained.
WATCHING = OBSERVERS | {'ClassCheckHook', 'ExactResumeHook', 'SubstituteHook',
                        'TextOncePerStepHook'}
# These follow from the precision, and are in the config once a runner is built of it; of
# older configs the precision follows from them.
WRAPPERS = {precision.wrapper.__name__: name
            for name, precision in reversed(PRECISIONS.items())}
# The state of an optimizer fits no other.
FIXED = ('optim_wrapper.optimizer.type', 'optim_wrapper.constructor',
         'optim_wrapper.paramwise_cfg')
CLIPS = 'clips_per_step'
SHOWN = 12


def prepare_work_dir(config: Config, resume: str | None = None,
                     changed: Sequence[str] = ()) -> tuple[object, list[str]]:
    """Make a work dir this training's own, and set what it goes on from.

    The config's processes must all call it. The work dir is locked until the process
    ends; what another training left there goes to a folder ``earlier-TIME`` in it,
    unless this one resumes it; ``recipe.json`` then says what is trained there.

    Args:
        config: resolved; its ``load_from`` and ``resume`` are set.
        resume: a checkpoint, ``'auto'`` for the newest whole one of the work dir if
            there is one, None for a start from the beginning.
        changed: keys, or first parts of keys, that are meant to differ from the
            checkpoint's recipe.

    Returns:
        The lock, to be kept, and what is to be said in the log.

    Raises:
        UserError: on all processes, if another process trains in the work dir, the
            checkpoint cannot be read or is of another recipe.
    """
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper'):
        if not config.get(key):
            raise UserError(f'{config.filename} only evaluates: there is no {key} in it')
    join_group(config)
    held = None
    found: list[Any] = [None]  # for all processes: checkpoint and notes, or the error
    if is_main_process():
        work_dir = Path(config.work_dir)
        try:
            held = lock(work_dir / 'lock', f'another training runs in {work_dir}')
            found[0] = enter(work_dir, config, resume, changed)
        except UserError as error:
            found[0] = error
        except OSError as error:
            found[0] = UserError(f'{error.filename or work_dir} cannot be written: '
                                 f'{error.strerror}; give another --work-dir')
    broadcast_object_list(found)
    if isinstance(found[0], UserError):
        raise found[0]
    checkpoint, notes = found[0]
    if checkpoint is not None:
        config.load_from, config.resume = checkpoint, True
    return held, notes


def enter(work_dir: Path, config: Config, resume: str | None, changed: Sequence[str]
          ) -> tuple[str | None, list[str]]:
    """The checkpoint to go on from, and notes; see :func:`prepare_work_dir`."""
    recipe = make_recipe(config)
    path, notes, history = None, [], []
    if resume == 'auto':
        path = newest_whole_checkpoint(work_dir)
    elif resume:
        path = Path(resume)
        reached = read_position(path)
    if path is None:
        aside = checkpoints(work_dir)
    else:
        old, history = read_recipe(path)
        if old is None:
            notes.append(f'{path} does not say of which recipe it is: it is resumed as '
                         'if it were of this one')
            old = recipe
        if CLIPS not in old:
            notes.append(f'{path} does not say how many clips a step had; now they are '
                         f'{recipe[CLIPS]}')
            old[CLIPS] = recipe[CLIPS]
        differing = find_differing(old, recipe)
        check_changes(path, differing, changed, old.keys() | recipe.keys())
        if differing:
            notes.append(f'resumed from {path} with what was changed: '
                         + tell(differing, len(differing)))
            history.append(dict(time=now(), checkpoint=str(path), changed=differing))
        aside = []
        if path.resolve().parent != work_dir.resolve():
            aside = checkpoints(work_dir)
        elif resume != 'auto':
            aside = [file for file in checkpoints(work_dir) if is_later(file, reached)]
    if aside:
        folder = set_aside(work_dir, aside)
        notes.append(f'{len(aside)} checkpoints of an earlier training in {work_dir} '
                     f'are now in {folder}')
    write_json(work_dir / FILE, dict(recipe=recipe, history=history))
    return path and str(path), notes


def make_recipe(config: Config) -> dict:
    """The values of a config that decide a training, by their dotted keys.

    ``clips_per_step`` stands for batch size, accumulation and number of processes.
    """
    given = {part: config[part] for part in PARTS if config.get(part) is not None}
    content: dict[str, Any] = without_lists(Config(given).to_dict())
    content['custom_hooks'] = {
        hook['type']: hook for hook in config.get('custom_hooks') or ()
        if hook['type'] not in WATCHING}
    content.setdefault('precision', WRAPPERS.get(
        content.get('optim_wrapper', {}).get('type'), 'float32'))
    if not content.get('auto_scale_lr', {}).get('enable'):
        content.pop('auto_scale_lr', None)
    leaves = {key: value for key, value in flatten(content)
              if key not in IDLE and value != {}}
    if leaves.get('optim_wrapper.type') in WRAPPERS:
        del leaves['optim_wrapper.type']
        leaves.pop('optim_wrapper.dtype', None)
    leaves[CLIPS] = clips_per_step(config)
    return json.loads(json.dumps(leaves, default=str))


def without_lists(value) -> Any:
    """Lists of dicts as dicts by their places, so that each leaf has a key."""
    if isinstance(value, dict):
        return {key: without_lists(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and any(isinstance(x, dict) for x in value):
        return {str(place): without_lists(each) for place, each in enumerate(value)}
    return value


def read_recipe(checkpoint: Path) -> tuple[dict | None, list]:
    """The recipe that a checkpoint is of, and how it was changed before.

    It is in the file beside it; for older checkpoints, in the config that MMEngine put
    into them, which does not say of how many processes it was.
    """
    file = read_json(checkpoint.parent / FILE)
    if isinstance(file, dict) and isinstance(file.get('recipe'), dict):
        return file['recipe'], list(file.get('history') or [])
    try:
        text = read_tensors(checkpoint)['meta']['cfg']
        recipe = make_recipe(Config(read_values(text)))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError,
            MemoryError, SyntaxError):
        return None, []
    del recipe[CLIPS]
    return recipe, []


def read_position(checkpoint: Path) -> dict:
    """The epochs and iterations that a checkpoint has behind it.

    Raises:
        UserError: if it cannot be read, or is none that a training can go on from.
    """
    content = read_tensors(checkpoint)
    meta = content.get('meta')
    found = {key: meta.get(key) if isinstance(meta, dict) else None
             for key in ('epoch', 'iter')}
    if 'optimizer' not in content or any(type(each) is not int
                                         for each in found.values()):
        raise UserError(f'{checkpoint} holds weights alone, so that no training can go '
                        'on from it: start a new one with --cfg-options '
                        f'load_from={checkpoint}')
    return found


def read_values(text: str) -> dict:
    """The values in a config's text, without executing it: it is untrusted.

    Raises:
        ValueError: if it is anything but names set to values, lists and ``dict(...)``.
    """
    found = {}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            raise ValueError('a config has only assignments')
        found[node.targets[0].id] = read_value(node.value)
    return found


def read_value(node: ast.expr):
    match node:
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=keywords):
            return {each.arg: read_value(each.value) for each in keywords}
        case ast.Dict(keys=keys, values=values):
            named = [key for key in keys if key is not None]
            if len(named) < len(values):
                raise ValueError('a config unpacks no dict')
            return {ast.literal_eval(key): read_value(value)
                    for key, value in zip(named, values)}
        case ast.List(elts=items):
            return [read_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(read_value(item) for item in items)
    return ast.literal_eval(node)


def find_differing(old: dict, new: dict) -> dict[str, list]:
    """Each key that differs with its old and new value, None where there is none."""
    return {key: [old.get(key), new.get(key)] for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)}


def check_changes(checkpoint: Path, differing: dict, changed: Sequence[str], known
                  ) -> None:
    """Raises UserError unless what differs is what was named."""
    def covers(name: str, key: str) -> bool:
        return key == name or key.startswith(f'{name}.')

    for name in changed:
        if not any(covers(name, key) for key in known):
            raise UserError(f'--change: {name!r} is no key of a recipe, as they are in '
                            f'{FILE}')
    fixed = [key for key in differing if any(covers(name, key) for name in FIXED)]
    if fixed:
        raise UserError(
            f'{checkpoint} cannot be resumed with another optimizer '
            f'({tell({key: differing[key] for key in fixed})}): start a new training '
            'with --cfg-options load_from=CHECKPOINT')
    rest = {key: values for key, values in differing.items()
            if not any(covers(name, key) for name in changed)}
    if rest:
        raise UserError(
            f'{checkpoint} is of another recipe ({tell(rest)}): if that is meant, resume '
            f'it with --change {" ".join(name_keys([*differing]))}; if not, give this '
            'training a --work-dir of its own')


def tell(differing: dict[str, list], most: int = SHOWN) -> str:
    """The differing keys in words."""
    def word(value) -> str:
        return 'not set' if value is None else cut(value, 60)

    told = [f'{key} {word(old)} → {word(new)}'
            for key, (old, new) in list(differing.items())[:most]]
    more = len(differing) - most
    return '; '.join(told) + (f'; and {more} more' if more > 0 else '')


def name_keys(keys: list[str]) -> list[str]:
    """The keys, or where they are many the parts that they are of."""
    return keys if len(keys) <= SHOWN else sorted({key.split('.')[0] for key in keys})


def checkpoints(work_dir: Path) -> list[Path]:
    """All that a training left to be resumed or evaluated, the newest first."""
    files = [file for pattern in ('epoch_*.pth', 'iter_*.pth', 'best_*.pth')
             for file in work_dir.glob(pattern)]
    return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)


def is_later(file: Path, reached: dict) -> bool:
    """Whether a checkpoint's name says that it is of a later epoch or iteration."""
    found = re.search(r'(epoch|iter)_(\d+)\.pth$', file.name)
    return found is not None and int(found[2]) > reached[found[1]]


def set_aside(work_dir: Path, files: list[Path]) -> Path:
    """Move checkpoints, and their recipe behind them, to a folder of their own."""
    stamp, number = now(), 1
    folder = work_dir / f'earlier-{stamp}'
    while folder.exists():
        number += 1
        folder = work_dir / f'earlier-{stamp}-{number}'
    folder.mkdir()
    for file in files:
        os.replace(file, folder / file.name)
    if (work_dir / FILE).exists():
        os.replace(work_dir / FILE, folder / FILE)
    # It names a file that has moved.
    (work_dir / 'last_checkpoint').unlink(missing_ok=True)
    return folder


def now() -> str:
    return time.strftime('%Y%m%d_%H%M%S')
