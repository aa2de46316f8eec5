"""What the result of a run depends on: its config, our code, the data, CLIP."""
import ast
import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from vita_mm.engine.plugins import plugins_of
from vita_mm.engine.recipe import OBSERVERS as OBSERVER_TYPES
from vita_mm.errors import UserError
from vita_mm.io.digests import TRUSTED, digest_files, digests_of, trusts_data
from vita_mm.io.files import locate
from vita_mm.labels.class_names import read_classes, read_templates
from vita_mm.tracking.values import flatten

from .closure import digest_code, stock_libraries
from .records import Inputs

ALWAYS = ('model', 'data_preprocessor', 'custom_hooks', 'default_hooks')
TRAINING = (*ALWAYS, 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler',
            'auto_scale_lr', 'randomness', 'model_wrapper_cfg', 'sync_bn', 'compile')
TESTING = (*ALWAYS, 'test_dataloader', 'test_cfg', 'test_evaluator')
# The number of clips a step is auto_scale_lr.base_batch_size, however it is divided;
# samples are seeded by epoch and index, whoever reads them. Of CLIP, the content counts.
IDLE = {'auto_scale_lr.enable', 'train_cfg.val_interval', 'train_cfg.val_begin',
        'train_cfg.dynamic_intervals', 'model.clip.pretrained',
        'model.backbone.checkpointing',
        *(f'{loop}_dataloader.{key}' for loop in ('train', 'test') for key in (
            'batch_size', 'num_workers', 'persistent_workers', 'pin_memory',
            'prefetch_factor'))}
# Where a model names its own class and those of its parts.
DECIDES = re.compile(r'model\.((?!data_preprocessor\.)\w+\.)?type')
# Hooks that only look on.
OBSERVERS = {'runtime_info', 'timer', 'logger', 'checkpoint', 'visualization'}
# Keys of files that are digested with what they belong to: a last word, or all of a key.
DIGESTED = {'ann_file', 'classes', 'model.clip.arch', 'model.clip.pretrained'}


class Part(NamedTuple):
    """What stands under one key of a config.

    Attributes:
        value: MMEngine's, of which this is.
        settings: the same as plain dicts and lists.
        leaves: dotted key to value, without those that are idle.
        types: dotted key to the class that is named there.
        paths: dotted key to what may be a file.
    """
    value: object
    settings: Any
    leaves: dict[str, str]
    types: dict[str, str | type]
    paths: dict[str, str]


class InputFinder:
    """Finds the inputs of runs; what they share is looked at once.

    Args:
        trust_data: do not read videos, see :func:`vita_mm.io.digests.digests_of`.
    """

    def __init__(self, trust_data: bool | None = None) -> None:
        self.trust_data = trusts_data() if trust_data is None else trust_data
        self._parts: dict[tuple[str, int], Part] = {}
        self._code: dict[tuple, dict] = {}
        self._stock: dict[frozenset, dict[str, str]] = {}
        self._datasets: dict[str, tuple[str, str] | UserError] = {}
        self._files: dict[str, str | None] = {}

    def of(self, config: Config) -> Inputs:
        """The inputs of a run; ``weights`` are not known here.

        Args:
            config: resolved; it trains if it has a ``train_cfg``.
        """
        parts = self._parts_of(config)
        leaves = dict(precision=repr(config.get('precision') or 'float32'))
        for part in parts.values():
            leaves.update(part.leaves)
        found: dict[str, dict[str, str]] = dict(data={}, looks={}, clip={})
        missing = None
        try:
            self._find_files(found, parts,
                             'test' if config.get('train_cfg') is None else 'train')
            weights = config.get('load_from')
            if weights:
                found['data']['load_from'] = self._digest(weights) or weights
        except (UserError, OSError) as error:
            missing = str(error)
        return Inputs(config=leaves, code=self._find_code(parts, config),
                      data=found['data'], looks=found['looks'], clip=found['clip'],
                      missing=missing)

    def code_of(self, config: Config) -> dict[str, str]:
        """The digests of the code alone, see :class:`Inputs`."""
        return self._find_code(self._parts_of(config), config)

    def _parts_of(self, config: Config) -> dict[str, Part]:
        keys = TESTING if config.get('train_cfg') is None else TRAINING
        return {key: self._part(key, config.get(key)) for key in keys
                if config.get(key) is not None}

    def _part(self, key: str, value) -> Part:
        """Configs share most of their parts, which are not changed in place."""
        known = self._parts.get((key, id(value)))
        if known is None:
            settings = deciding(key, Config({key: value}).to_dict()[key])
            named = list(walk(settings, key))
            known = self._parts[key, id(value)] = Part(
                value, settings,
                {name: repr(ordered(leaf)) for name, leaf in flatten({key: settings})
                 if name not in IDLE},
                {name: leaf for name, leaf in named if last_word(name) in (
                    'type', 'constructor') and isinstance(leaf, (str, type))},
                {name: leaf for name, leaf in named
                 if not {name, last_word(name)} & DIGESTED
                 and isinstance(leaf, str) and {'.', os.sep} & set(leaf)})
        return known

    def _find_code(self, parts: dict[str, Part], config: Config) -> dict[str, str]:
        types = frozenset().union(*(part.types.values() for part in parts.values()))
        plugins = tuple(plugins_of(config))
        if (types, plugins) not in self._code:
            self._code[types, plugins] = digest_code(types, plugins)
        model = parts['model'].types if 'model' in parts else {}
        deciding = frozenset(
            kind for name, kind in model.items() if DECIDES.fullmatch(name))
        if deciding not in self._stock:
            self._stock[deciding] = stock_libraries(deciding)
        return {**self._code[types, plugins], **self._stock[deciding]}

    def _find_files(self, found: dict[str, dict[str, str]], parts: dict[str, Part],
                    loop: str) -> None:
        settings = {key: part.settings for key, part in parts.items()}
        data = found['data']
        for name in ('arch', 'pretrained'):
            value = lookup(settings, f'model.clip.{name}')
            if isinstance(value, str):  # a tag of open_clip stands for itself
                found['clip'][name] = self._digest(value) or value
        for part in parts.values():
            data.update((name, digest) for name, path in part.paths.items()
                        if (digest := self._digest(path)))
        classes = lookup(settings, 'model.cls_head.classes')
        if isinstance(classes, (str, list, tuple)):
            names = classes if isinstance(classes, str) else list(classes)
            data['classes'] = digest_text(repr(read_classes(
                names, repeated=True)))
        if loop == 'test':
            data.update(self._digest_protocol(settings))
        loader = settings.get(f'{loop}_dataloader')
        if not loader:
            raise UserError(f'the config has no {loop}_dataloader')
        data[loop], found['looks'][loop] = self._digest_dataset(loader['dataset'], loop)

    def _digest_protocol(self, settings: dict) -> Iterator[tuple[str, str]]:
        """The lists that an evaluation reads beside its dataset."""
        evaluator = settings.get('test_evaluator')
        candidates = evaluator.get('candidates') if isinstance(evaluator, dict) else None
        for number, file in enumerate(candidates or [], 1):
            if (digest := self._digest(file)) is None:
                raise UserError(f'cannot read {file}, a list of candidates')
            yield f'candidates {number}', digest
        prompts = lookup(settings, 'test_cfg.prompts')
        for name, templates in prompts.items() if isinstance(prompts, dict) else ():
            yield f'prompts {name}', digest_text(repr(read_templates(templates)))

    def _digest_dataset(self, settings: dict, loop: str) -> tuple[str, str]:
        """Digests of a dataset, whatever is then done with its videos."""
        if 'pipeline' in settings:  # else it is no dataset of samples, but wraps one
            settings = dict(settings, pipeline=[], serialize_data=False)
        key = repr(settings)
        if key not in self._datasets:
            init_default_scope('mmaction')
            try:
                self._datasets[key] = digests_of(DATASETS.build(settings),
                                                 self.trust_data)
            except (UserError, OSError) as error:
                self._datasets[key] = UserError(str(error))
            except (KeyError, TypeError, ValueError, AssertionError) as error:
                self._datasets[key] = UserError(
                    f'the dataset of {loop}_dataloader does not build: {error}')
        found = self._datasets[key]
        if isinstance(found, UserError):
            raise found
        return found

    def _digest(self, path: str) -> str | None:
        """Digest of a file; None if there is none."""
        if path not in self._files:
            found = locate(path)
            self._files[path] = digest_files([found]).get(found)
        return self._files[path]


def deciding(key: str, settings):
    """What stands under a key of a config without the hooks that only look on."""
    if key == 'custom_hooks':
        return [hook for hook in settings if not isinstance(hook, dict)
                or last_word(str(hook.get('type'))) not in OBSERVER_TYPES]
    if key == 'default_hooks':
        return {name: hook for name, hook in settings.items() if name not in OBSERVERS}
    return settings


def lookup(config, key: str):
    """The value at a dotted key; None where there is none."""
    for part in key.split('.'):
        try:
            config = config[int(part)] if isinstance(config, list) else config.get(part)
        except (AttributeError, IndexError, ValueError):
            return None
    return config


def ordered(value):
    """The same with the keys of its dicts in order, in which they mean nothing."""
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return type(value)(map(ordered, value))
    return value


def last_word(key: str) -> str:
    return key.rpartition('.')[2]


def walk(value, name: str) -> Iterator[tuple[str, object]]:
    """The leaves of nested dicts and lists with dotted names."""
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from walk(inner, f'{name}.{key}')
    else:
        yield name, value


def identity(inputs: Inputs, *more) -> str:
    """One text for equal inputs, and another for others."""
    content = [inputs.config, inputs.code, inputs.data, inputs.clip, inputs.missing]
    return digest_text(json.dumps([*content, *more], sort_keys=True))


def differences(old: Inputs, new: Inputs, trust_code: bool = False) -> list[str]:
    """Why a result with the old inputs is not one with the new; empty if it is."""
    found = []
    for key in changed_keys(old.config, new.config):
        found.append(f'{key}: {old.config.get(key)} -> {new.config.get(key)}')
    for part, name in (('code', 'code'), ('data', 'data'), ('clip', 'CLIP')):
        if part == 'code' and trust_code:
            continue
        before, after = getattr(old, part), getattr(new, part)
        # A report can be written where the data are not: what is missing may be equal.
        keys = set(after) if new.missing else set(before) | set(after)
        changed = sorted(key for key in keys if before.get(key) != after.get(key)
                         and not (part == 'data' and is_trusted(old, new, key)))
        if changed:
            found.append(f'{name} changed: {", ".join(changed)}')
    found += [f'the videos of {key} were trusted, not read: say --trust-data again, or '
              'run it again' for key in sorted(new.data)
              if trusts(old, key) and not trusts(new, key)]
    if old.weights != new.weights:
        found.append('the model is trained anew')
    return found


def changed_keys(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """The keys of a config that have other values; runs of before keep the order in
    which their dicts were written."""
    def equal(key: str) -> bool:
        try:
            return ast.literal_eval(old[key]) == ast.literal_eval(new[key])
        except (KeyError, SyntaxError, ValueError):
            return False

    return [key for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and not equal(key)]


def check_code(config: Config, inputs: Inputs) -> None:
    """The numbers must be of the code that the plan saw.

    Raises:
        UserError: naming the files that are others now, or are found elsewhere.
    """
    now = InputFinder().code_of(config)
    changed = sorted(name for name in now.keys() & inputs.code.keys()
                     if now[name] != inputs.code[name])
    if changed:
        raise UserError(f'{", ".join(changed)} changed since the run was planned, or '
                        'another file of its name comes first on the path: start the '
                        'suite again')


def is_trusted(old: Inputs, new: Inputs, key: str) -> bool:
    """Whether data are not known to have changed, for one side was not read."""
    return trusts(old, key) != trusts(new, key) \
        and old.looks.get(key) == new.looks.get(key)


def trusts(inputs: Inputs, key: str) -> bool:
    return inputs.data.get(key, '').startswith(TRUSTED)


def digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
