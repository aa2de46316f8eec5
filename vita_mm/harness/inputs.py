"""What the result of a run depends on: its config, our code, the data, CLIP."""
import ast
import functools
import hashlib
from pathlib import Path

from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import vita_mm
from vita_mm.classes import read_classes, read_templates
from vita_mm.errors import UserError
from vita_mm.tracking.probes import digest_dataset, digest_file
from vita_mm.tracking.values import flatten

TRAINING = ('model', 'data_preprocessor', 'train_dataloader', 'train_cfg',
            'optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'randomness')
TESTING = ('model', 'data_preprocessor', 'test_dataloader', 'test_cfg',
           'test_evaluator')
# The number of clips a step is auto_scale_lr.base_batch_size, however it is divided;
# samples are seeded by epoch and index, whoever reads them.
IDLE = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor',
        'train_dataloader.batch_size', 'test_dataloader.batch_size',
        'auto_scale_lr.enable', 'train_cfg.val_interval', 'train_cfg.val_begin',
        'model.clip.pretrained')
# Packages whose code decides numbers; the others only carry them.
CODE = ('models', 'data', 'engine', 'classes.py', 'splits.py')


def find_inputs(config: Config, weights: str | None = None) -> dict:
    """The inputs of a run, in parts that can be compared one by one.

    Args:
        config: resolved; it trains if it has a ``train_cfg``.
        weights: digest of the checkpoint that is evaluated.

    Returns:
        ``config`` (dotted key to value), ``code`` (file to digest), ``data`` (loop or
        list to digest), ``clip`` (file to digest), ``weights``, and ``missing``: why
        some of these files cannot be read, if so.
    """
    trains = config.get('train_cfg') is not None
    keys = TRAINING if trains else TESTING
    content = {key: config[key] for key in keys if config.get(key) is not None}
    leaves = {key: repr(value) for key, value in flatten(Config(content).to_dict())
              if not key.endswith(IDLE)}
    found = dict(config=leaves, code=digest_code(), data={}, clip={}, weights=weights,
                 missing=None)
    loop = 'train' if trains else 'test'
    try:
        found['clip'] = digest_clip(config.model.clip)
        found['data']['classes'] = digest_text(
            repr(read_classes(config.model.cls_head.classes)))
        if not trains:
            found['data'].update(digest_protocol(config))
        found['data'][loop] = digest_data(
            repr(config[f'{loop}_dataloader'].dataset.to_dict()))
    except (UserError, OSError) as error:
        found['missing'] = str(error)
    return found


def differences(old: dict, new: dict, trust_code: bool = False) -> list[str]:
    """Why a result with the old inputs is not one with the new; empty if it is."""
    found = []
    for key in sorted(set(old['config']) | set(new['config'])):
        before, after = old['config'].get(key), new['config'].get(key)
        if before != after:
            found.append(f'{key}: {before} -> {after}')
    for part, name in (('code', 'code'), ('data', 'data'), ('clip', 'CLIP')):
        if part == 'code' and trust_code:
            continue
        # A report can be written where the data are not: what is missing may be equal.
        keys = set(new[part]) if new['missing'] else set(old[part]) | set(new[part])
        changed = sorted(key for key in keys
                         if old[part].get(key) != new[part].get(key))
        if changed:
            found.append(f'{name} changed: {", ".join(changed)}')
    if old['weights'] != new['weights']:
        found.append('the model is trained anew')
    return found


@functools.cache
def digest_code() -> dict[str, str]:
    """File to digest of its code, without comments and docstrings."""
    package = Path(vita_mm.__file__).parent
    files = [file for name in CODE for file in sorted(package.glob(
        name if name.endswith('.py') else f'{name}/*.py'))]
    return {file.relative_to(package).as_posix():
            digest_text(without_docstrings(file.read_text(encoding='utf-8')))
            for file in files}


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, 'body', None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) \
                and isinstance(body[0].value, ast.Constant) \
                and isinstance(body[0].value.value, str):
            body[0] = ast.Pass()
    return ast.unparse(tree)


@functools.cache
def digest_data(dataset: str) -> str:
    """Of the dataset with this config; many runs share one."""
    init_default_scope('mmaction')
    return digest_dataset(DATASETS.build(ast.literal_eval(dataset)))


def digest_protocol(config: Config) -> dict[str, str]:
    """The lists that an evaluation reads beside its dataset."""
    evaluator = config.test_evaluator
    candidates = evaluator.get('candidates') if isinstance(evaluator, dict) else None
    prompts = config.test_cfg.get('prompts', {})
    return {f'candidates {number}': cached_digest(file)
            for number, file in enumerate(candidates or [], 1)} | {
            f'prompts {name}': digest_text(repr(read_templates(templates)))
            for name, templates in prompts.items()}


def digest_clip(clip: dict) -> dict[str, str]:
    """Digests of the CLIP's files; a tag of open_clip stands for itself."""
    return {name: cached_digest(value) if Path(value).is_file() else value
            for name in ('arch', 'pretrained')
            if isinstance(value := clip.get(name), str)}


@functools.cache
def cached_digest(path: str) -> str:
    return digest_file(path)


def digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
