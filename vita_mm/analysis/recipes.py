"""How systems are trained and evaluated: the authors' recipes beside those of configs.

Theirs are data, in ``recipes.yaml``, each value with the file that states it. Ours are
read from the configs: parameters are counted in the groups that MMEngine's constructor
makes of the real model, rates are those of the schedules as they run, pipelines are told
in words.
"""
import copy
import functools
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from vita_mm.engine.runs import load_config
from vita_mm.engine.schedule import StepScheduleHook
from vita_mm.errors import UserError
from vita_mm.io.files import locate
from vita_mm.models.common.clip import LoadedCLIP, load_clip
from vita_mm.systems import find_system, get_system

from .recipe_words import (
    ABSENT,
    evaluation,
    tell_mixing,
    tell_rest,
    training_data,
    words,
)

FILE = Path(__file__).with_name('recipes.yaml')
# Of Kinetics-400 for training, in the copy that MMAction2's checkpoints were trained on
# (its tools/data/kinetics/README.md).
VIDEOS = 240_436
POINTS = 10
# Of the highest rate, in per cent: what the rate moves by in a step of a warm-up.
NEAR = 0.03
NOTHING = 1e-8  # of a rate: what a cosine may leave at its last step
NOT_STATED = 'not stated'
# In the order of the tables; `parameters at` and `rates from` begin the keys of groups.
KEYS = (
    'optimizer', 'betas', 'eps', 'gradient clipping', 'trained parameters',
    'parameters at', 'rates from', 'warm-up', 'length', 'batch', 'division',
    'left over by an epoch',
    'training frames', 'short videos, training', 'training order', 'training resize',
    'RandAugment', 'training crop', 'training size', 'flip', 'colour jitter', 'grey',
    'other training steps', 'mixing', 'label smoothing', 'loss', 'mean', 'std',
    'channels', 'evaluation frames', 'short videos, evaluation', 'views',
    'clips of a video', 'evaluation resize', 'evaluation crop',
    'other evaluation steps', 'scores of views', 'left over in evaluation', 'precision')

Value = str | tuple[float, ...]


@dataclass(frozen=True)
class Schedule:
    """When and how far the authors train.

    Attributes:
        kind: a name of :data:`SCHEDULES`.
        rates: where the groups of parameters start from, the first is CLIP's own.
        gpus, clips, accumulation: how a batch is divided: processes, clips of each at
            once, and how often before a step.
        source: the files that say so.
        epochs, steps: the length, in one of the two.
        warmup: epochs.
        least: the rate that the cosine ends at.
        period: steps of half a wave of the cosine; by default the length.
    """
    kind: str
    rates: Sequence[float]
    gpus: int
    clips: int
    accumulation: int
    source: str
    epochs: int = 0
    steps: int = 0
    warmup: float = 0
    least: float = 0.
    period: int = 0

    @property
    def rounds(self) -> int:
        """Forward passes of an epoch of each process."""
        return math.ceil(VIDEOS / self.gpus) // self.clips

    @property
    def length(self) -> int:
        """Optimizer steps; passes of an epoch that are too few for one are lost."""
        return self.steps or self.epochs * (self.rounds // self.accumulation)

    def rate(self, step: int, start: float) -> float:
        """The rate of a step, counted from 0, of a group that starts from ``start``."""
        return SCHEDULES[self.kind](self, step, start)


def cosine(start: float, least: float, part: float) -> float:
    return least + (start - least) * (1 + math.cos(math.pi * min(part, 1))) / 2


def timm_cosine(schedule: Schedule, step: int, start: float) -> float:
    """timm's CosineLRScheduler, which counts passes, and is set behind a step to the pass
    just done; the warm-up takes the place of the cosine's beginning."""
    done = step * schedule.accumulation - 1
    if done < schedule.warmup * schedule.rounds:
        return start * max(done, 0) / (schedule.warmup * schedule.rounds)
    return cosine(start, schedule.least, done / (schedule.epochs * schedule.rounds))


def torch_cosine(schedule: Schedule, step: int, start: float) -> float:
    """torch's CosineAnnealingLR, set behind each step for the next."""
    return cosine(start, schedule.least, step / (schedule.period or schedule.length))


def torch_restarts(schedule: Schedule, step: int, start: float) -> float:
    """torch's CosineAnnealingWarmRestarts, set behind each step to the number of it."""
    return cosine(start, schedule.least, max(step - 1, 0) / schedule.period)


def actionclip_cosine(schedule: Schedule, step: int, start: float) -> float:
    """ActionCLIP's own: set before the first step of an epoch and each tenth, to the part
    of epochs that is done; the cosine begins behind the warm-up."""
    epoch, inner = divmod(step, schedule.rounds)
    inner = max((inner + 1) // 10 * 10 - 1, 0)
    done = epoch + inner / schedule.rounds
    if done < schedule.warmup:
        return start * done / schedule.warmup
    return cosine(start, schedule.least, (done - schedule.warmup)
                  / (schedule.epochs - schedule.warmup))


SCHEDULES: dict[str, Callable[[Schedule, int, float], float]] = {
    'timm cosine': timm_cosine, 'torch cosine': torch_cosine,
    'torch restarts': torch_restarts, 'actionclip cosine': actionclip_cosine}


@dataclass(frozen=True)
class Recipe:
    """What the authors state.

    Attributes:
        config: ours that follows it.
        title: of the table.
        place: where the files are: a repository and its commit, or a paper.
        values: by key, each with the file that states it.
        schedule: see :class:`Schedule`.
        reasons: by key, why ours is not the same.
        unstated: why ours is what it is where nothing is stated; then what ``values``
            leaves out is not stated.
    """
    config: str
    title: str
    place: str
    values: Mapping[str, tuple[str, str]]
    schedule: Schedule
    reasons: Mapping[str, str]
    unstated: str = ''


def read_recipes(path: Path = FILE) -> dict[str, Recipe]:
    """The authors' recipes by our config, such as ``configs/xclip/k400.py``.

    In the file ``like`` names a config whose recipe is taken over, but for the values
    that are listed in ``without``.
    """
    content = yaml.safe_load(path.read_text(encoding='utf-8'))
    found: dict[str, Recipe] = {}
    for config, given in content['recipes'].items():
        base = found.get(given.get('like', ''))
        values = {key: value for key, value in (base.values if base else {}).items()
                  if key not in given.get('without', ())}
        values |= {key: (tell(value), source)
                   for key, (value, source) in given.get('values', {}).items()}
        schedule = asdict(base.schedule) if base else {}
        found[config] = Recipe(
            config=config, title=given['title'],
            place=given.get('place') or (base.place if base else ''), values=values,
            schedule=Schedule(**schedule | given['schedule']),
            reasons=dict(given.get('reasons', {})),
            unstated=given.get('unstated', ''))
    return found


def tell(value: Any) -> str:
    return f'{value:,}' if isinstance(value, int) else str(value)


def read_theirs(recipe: Recipe, steps: Sequence[int]) -> dict[str, tuple[Value, str]]:
    """The authors' recipe by key, each value with its source."""
    schedule = recipe.schedule
    found: dict[str, tuple[Value, str]] = {
        'warm-up': (tell_warmup(schedule.warmup), schedule.source),
        'length': (f'{schedule.length:,} steps', schedule.source),
        'batch': (tell_batch(schedule.gpus * schedule.clips * schedule.accumulation),
                  schedule.source),
        'division': (tell_division(schedule.gpus, schedule.clips, schedule.accumulation),
                     schedule.source)}
    for start in schedule.rates:
        found[key_of_rates(start)] = (tuple(
            100 * schedule.rate(step, start) / start for step in steps), schedule.source)
    return found | dict(recipe.values)


def points(length: int) -> list[int]:
    """The steps, from the first to the last, at which rates are compared."""
    return [round(part * (length - 1) / (POINTS - 1)) for part in range(POINTS)]


def tell_warmup(epochs: float) -> str:
    return f'{epochs:g} epochs' if epochs else ABSENT


def tell_batch(clips: int) -> str:
    return f'{clips} clips'


def tell_division(gpus: int, clips: int, accumulation: int) -> str:
    return f'{gpus} GPU{"s" * (gpus > 1)} × {clips} clips × {accumulation}'


def key_of_rates(start: float) -> str:
    return f'rates from {start:g}, %'


def read_ours(path: str, steps: Sequence[int]) -> dict[str, Value]:
    """The recipe of a config by key: what it has of :data:`KEYS`.

    Args:
        path: of a training on Kinetics-400.
        steps: at which rates are wanted.
    """
    config = load_config(locate(path))
    wrapper = build_wrapper(config)
    return {**optimization(config, wrapper), **rates_of(config, wrapper, steps),
            **training_data(config), **evaluation(config),
            'precision': config.get('precision', 'float32')}


@functools.lru_cache(maxsize=1)
def random_clip(arch: str) -> LoadedCLIP:
    """A CLIP with random weights, on torch's meta device."""
    level = MMLogger.get_current_instance().level
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # they are meant
    clip = load_clip(arch)
    MMLogger.get_current_instance().setLevel(level)
    clip.model.to('meta')
    return clip


def build_wrapper(config: Config) -> OptimWrapper:
    """The optimizer of a config's real model, none of whose weights is computed."""
    init_default_scope('mmaction')
    model = copy.deepcopy(config.model.to_dict())
    model['clip'] = copy.deepcopy(random_clip(model['clip']['arch']))
    model.pop('data_preprocessor', None)  # has no parameters
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)  # a line for each parameter
    try:
        with torch.device('meta'):
            built = MODELS.build(model)
        return build_optim_wrapper(built, copy.deepcopy(config.optim_wrapper))
    finally:
        logger.setLevel(level)


def optimization(config: Config, wrapper: OptimWrapper) -> dict[str, Value]:
    """Optimizer, groups of parameters, and what is minimised."""
    counts: Counter[tuple[float, float]] = Counter()
    for group in wrapper.optimizer.param_groups:
        counts[group['lr'], group['weight_decay']] += sum(
            weight.numel() for weight in group['params'] if weight.requires_grad)
    first = wrapper.optimizer.param_groups[0]
    head = config.model.cls_head
    smoothing = head.get('label_smooth_eps', 0)
    return {
        'optimizer': type(wrapper.optimizer).__name__,
        'betas': ', '.join(f'{beta:g}' for beta in first['betas']),
        'eps': f'{first["eps"]:g}',
        'gradient clipping': words(config.optim_wrapper.get('clip_grad')),
        'trained parameters': f'{sum(counts.values()):,}',
        **{f'parameters at {rate:g}, decay {decay:g}': f'{number:,}'
           for (rate, decay), number in sorted(counts.items()) if number},
        'mixing': tell_mixing(config.model.get('data_preprocessor', {}).get('blending')),
        'label smoothing': f'{smoothing:g}' if smoothing else ABSENT,
        'loss': 'KL divergence, both ways' if head.type == 'ActionCLIPTextHead'
                else 'cross-entropy'}


def rates_of(config: Config, wrapper: OptimWrapper, steps: Sequence[int]
             ) -> dict[str, Value]:
    """Length, division and rates, from the schedules as they run."""
    loader, accumulation = config.train_dataloader, wrapper._accumulative_counts
    batch = config.auto_scale_lr.base_batch_size
    gpus = batch // (loader.batch_size * accumulation)
    rounds = math.ceil(VIDEOS / gpus) / loader.batch_size
    rounds = math.floor(rounds) if loader.get('drop_last') else math.ceil(rounds)
    epochs = config.train_cfg.max_epochs
    total = math.ceil(epochs * rounds / accumulation)
    starts = sorted({group['lr'] for group in wrapper.optimizer.param_groups})
    trace = rehearse(config, starts, rounds, accumulation, total)
    peak = int(trace[:, 0].argmax()) * accumulation / rounds
    return {
        'warm-up': tell_warmup(round(peak, 1)),
        'length': f'{length_of(config, trace[:, 0]):,} steps',
        'batch': tell_batch(batch),
        'division': tell_division(gpus, loader.batch_size, accumulation),
        'left over by an epoch': tell_rest(loader),
        **{key_of_rates(start): tuple(
            float(100 * trace[step, place] / start) if step < total else 0.
            for step in steps) for place, start in enumerate(starts)}}


def length_of(config: Config, rates: np.ndarray) -> int:
    """The steps of a training, without those that fill its last epoch at a rate of
    nothing once a schedule written in steps has ended."""
    ends = (each[key] for each in config.param_scheduler for key in ('end', 'T_max')
            if not each.get('by_epoch', True) and key in each)
    return min([len(rates), *(end for end in ends if end < len(rates)
                              and rates[end:].max() < NOTHING * rates.max())])


def rehearse(config: Config, starts: list[float], rounds: int, accumulation: int,
             total: int) -> np.ndarray:
    """The rates (steps, groups) of a training, one step after another, by the schedules
    that :class:`StepScheduleHook` builds."""
    weights = [torch.nn.Parameter(torch.zeros(())) for _ in starts]
    wrapper = OptimWrapper(torch.optim.SGD(
        [dict(params=[weight], lr=start) for weight, start in zip(weights, starts)]),
        accumulative_counts=accumulation)
    epochs = config.train_cfg.max_epochs
    runner: Any = SimpleNamespace(
        optim_wrapper=wrapper, cfg=config, param_schedulers=[], _train_loop=None,
        train_dataloader=range(rounds), max_epochs=epochs, max_iters=epochs * rounds)
    runner.build_param_scheduler = lambda given: Runner._build_param_scheduler(
        runner, given, wrapper)
    hook = StepScheduleHook()
    hook.settings = [{} for _ in starts]
    hook.build(runner)
    trace = np.empty((total, len(starts)))
    wrapper.step()  # as schedules want it before they move
    for step in range(total):
        trace[step] = [group['lr'] for group in wrapper.optimizer.param_groups]
        for schedule in runner.param_schedulers:
            schedule.step()
    return trace


@dataclass(frozen=True)
class Row:
    """A key of a recipe.

    Attributes:
        key: see :data:`KEYS`.
        theirs, ours: what both have; rates in per cent of where they start.
        source: what states theirs.
        same: whether they agree.
        reason: why not; '' if nothing says so.
    """
    key: str
    theirs: Value
    ours: Value
    source: str
    same: bool
    reason: str


def compare(recipe: Recipe) -> list[Row]:
    """The authors' recipe and ours, key by key, in the order of :data:`KEYS`."""
    steps = points(recipe.schedule.length)
    theirs = read_theirs(recipe, steps)
    ours = read_ours(recipe.config, steps)
    rows = []
    for key in sorted(theirs.keys() | ours.keys(), key=place):
        other, source = theirs.get(key, (
            NOT_STATED if recipe.unstated else ABSENT, ''))
        own = ours.get(key, ABSENT)
        reason = recipe.reasons.get(key, '')
        if other == NOT_STATED:
            reason = reason or recipe.unstated
        rows.append(Row(key, other, own, source, agree(other, own), reason))
    return rows


def place(key: str) -> tuple[int, float, str]:
    """Where a key stands; groups and rates, whose keys hold numbers, by the number."""
    for number, name in enumerate(KEYS):
        if key == name:
            return number, 0., key
        if name in ('parameters at', 'rates from') and key.startswith(name):
            return number, float(key[len(name):].partition(',')[0]), key
    raise UserError(f'{FILE.name}: there is no key {key!r} of a recipe')


def agree(theirs: Value, ours: Value) -> bool:
    """Whether two values are the same; rates, to within what they move by in a step."""
    if isinstance(theirs, str) or isinstance(ours, str):
        return theirs == ours
    return len(theirs) == len(ours) and all(
        abs(one - other) <= NEAR for one, other in zip(theirs, ours))


def stale(recipe: Recipe, rows: list[Row]) -> list[str]:
    """The keys for which a reason is given although both agree, or neither has them."""
    differing = {row.key for row in rows if not row.same}
    return sorted(recipe.reasons.keys() - differing)


def report(systems: Iterable[str] = ()) -> str:
    """The tables of some systems, by default of all, in Markdown.

    Raises:
        UserError: if there is no such system, or it has no recipe.
    """
    chosen = [get_system(name) for name in systems]
    recipes = list(read_recipes().values())
    if chosen:
        of = {recipe.config: find_system(load_config(locate(recipe.config)).model)
              for recipe in recipes}
        for system in chosen:
            if system not in of.values():
                raise UserError(f'{system.title} has no recipe: nothing of it is trained')
        recipes = [recipe for recipe in recipes if of[recipe.config] in chosen]
    return '\n'.join(line for recipe in recipes
                     for line in section(recipe, compare(recipe)))


def section(recipe: Recipe, rows: Iterable[Row]) -> list[str]:
    """The lines of a recipe's table."""
    lines = [f'## {recipe.title}', '', f'Theirs: {recipe.place}. Ours: '
             f'`{recipe.config}`.', '',
             '| key | theirs | ours | why not the same | theirs is stated in |',
             '| --- | --- | --- | --- | --- |']
    for row in rows:
        ours, reason = ('the same', '') if row.same else (show(row.ours), row.reason)
        lines.append('| ' + ' | '.join((
            row.key, show(row.theirs), ours, reason, row.source)) + ' |')
    return [*lines, '']


def show(value: Value) -> str:
    return value if isinstance(value, str) else ', '.join(
        f'{round(each, 2):g}' for each in value)
