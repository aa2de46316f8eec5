"""What must stay as it is when the code around it moves: configs, checkpoints, numbers.

``tests/pinned`` holds it as it was; ``PIN=1 pytest tests/test_pinned.py -k anew`` writes
it anew, where a change is meant, and only then.
"""
import hashlib
import json
import os
from pathlib import Path

import vita_mm  # noqa: F401  first, for it repairs imports of the libraries below
import pytest
import torch
from conftest import random_video, tiny_clip_config
from mmaction.registry import MODELS
from vita_mm.engine.runs import load_config, override
from vita_mm.engine.variants import Variants, apply_variants

ROOT = Path(__file__).parents[1]
PINNED = Path(__file__).with_name('pinned')
CLASSES = ['riding a bike', 'air drumming', 'yoga']
# Variables of a config file count by what uses them.
KEYS = ('auto_scale_lr', 'custom_hooks', 'default_hooks', 'env_cfg', 'log_processor',
        'model', 'optim_wrapper', 'param_scheduler', 'precision', 'randomness',
        'test_cfg', 'test_dataloader', 'test_evaluator', 'train_cfg', 'train_dataloader',
        'val_cfg', 'val_dataloader', 'val_evaluator', 'visualizer')
ZERO_SHOT = 'configs/zero_shot/'
FROZEN, FROZEN_MINI = 'configs/frozen_clip/k400.py', 'configs/frozen_clip/mini_k400.py'
TWO_LAYERS = {'model.backbone.temporal.num_layers': 2}
# Configs that are written otherwise now: a file, its variants, what is changed in it.
MOVED: dict[str, tuple[str, dict, dict]] = {
    'configs/vita_k400_4x3.py': ('configs/vita_k400.py', dict(views='4x3'), {}),
    'configs/vita_k400_16f.py': (
        'configs/vita_k400.py', dict(frames=16, views='4x3'), {}),
    'configs/vita_mini_4x3.py': ('configs/vita_mini.py', dict(views='4x3'), {
        'test_dataloader.batch_size': 4}),
    'configs/vita_mini_16f.py': (
        'configs/vita_mini.py', dict(frames=16, stride=2, views='4x3'), {
            'train_dataloader.batch_size': 8, 'val_dataloader.batch_size': 24,
            'test_dataloader.batch_size': 4}),
    'configs/released/vita_k400_mc16.py': (
        'configs/released/vita_k400.py', {}, {'model.cls_head.num_context': 16}),
    'configs/xclip/k400_4x3.py': ('configs/xclip/k400.py', dict(views='4x3'), {}),
    'configs/xclip/k400_16f.py': (
        'configs/xclip/k400.py', dict(frames=16, views='4x3'), {}),
    'configs/efficient_prompt/a6.py': ('configs/efficient_prompt/a5.py', {}, TWO_LAYERS),
    'configs/efficient_prompt/b6_ssv2.py': (
        'configs/efficient_prompt/b2_ssv2.py', {}, TWO_LAYERS),
    f'{ZERO_SHOT}k600_val.py': (f'{ZERO_SHOT}k600.py', dict(split='val'), {}),
    f'{ZERO_SHOT}k600_val_tile.py': (
        f'{ZERO_SHOT}k600.py', dict(split='val', reading='tile'), {}),
    **{f'{ZERO_SHOT}{name}_tile.py': (f'{ZERO_SHOT}{name}.py', dict(reading='tile'), {})
       for name in ('hmdb51', 'ucf101', 'k600', 'mini_hmdb51', 'mini_ucf101',
                    'mini_k600')},
    **{f'{ZERO_SHOT}{name}_16f.py': (f'{ZERO_SHOT}{name}.py', dict(frames=16), {})
       for name in ('hmdb51', 'ucf101')},
    **{f'{ZERO_SHOT}{name}_8f.py': (f'{ZERO_SHOT}{name}.py', dict(frames=8), {})
       for name in ('mini_hmdb51', 'mini_ucf101', 'mini_k600')},
    **{f'{ZERO_SHOT}{name}_actionclip.py': (
        f'{ZERO_SHOT}{name}.py', dict(prompts='actionclip'), {})
       for name in ('hmdb51', 'ucf101')},
    **{f'configs/frozen_clip/{name}.py': (FROZEN, dict(dataset=name), {})
       for name in ('hmdb51', 'ucf101', 'k600', 'k600_val', 'ssv2')},
    **{f'configs/frozen_clip/{name}.py': (FROZEN_MINI, dict(dataset=name), {})
       for name in ('mini_hmdb51', 'mini_ucf101', 'mini_k600', 'mini_ssv2')},
}
# What evaluations had that were written on top of a training.
OF_TRAINING = ('auto_scale_lr', 'optim_wrapper', 'param_scheduler', 'train_cfg',
               'val_cfg', 'val_evaluator')


def read_pins(name):
    return json.loads((PINNED / f'{name}.json').read_text())


def read(source):
    path, variants, options = MOVED.get(source, (source, {}, {}))
    config = apply_variants(load_config(ROOT / path), Variants(**variants))
    override(config, options, source)
    return config


def digest(value):
    text = json.dumps(value, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def without_types(value):
    """Which class a part of the model is of shows in what it computes."""
    if isinstance(value, dict):
        return {key: without_types(part) for key, part in value.items() if key != 'type'}
    return value


def describe(config):
    """A digest of each part of a config, but for frozen CLIP's model."""
    parts = {key: config.get(key) for key in KEYS}
    parts = json.loads(json.dumps(parts, default=lambda part: part.to_dict()))
    if parts['model']:
        parts['model'] = without_types(parts['model'])
    return {key: digest(part) for key, part in parts.items() if part is not None}


def configs():
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/*.py')
                  if path.parent.name != '_base_')


def build(config, tiny_weights):
    """The model of a config on a tiny CLIP."""
    arch = tiny_clip_config(vision=dict(layers=4))  # as many as EVL reads
    model = json.loads(json.dumps(config.model.to_dict()))
    model['clip'] = dict(arch=arch, pretrained=tiny_weights(arch))
    model['cls_head']['classes'] = CLASSES
    model.pop('data_preprocessor')
    return MODELS.build(model).double().eval()


def value_of(name, shape):
    """A tensor that the name alone decides."""
    generator = torch.Generator().manual_seed(
        int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    if name.endswith('logit_scale'):
        return torch.full(shape, 2., dtype=torch.float64)
    if 'ln_' in name or 'norm' in name:
        return 0.2 * noise + name.endswith('weight')
    return noise / noise[0].numel() ** 0.5 if noise.dim() > 1 else noise


def compute(model, shapes):
    """Scores of a clip and the size of every gradient, of a checkpoint of these
    tensors."""
    state = {name: value_of(name, shape) for name, shape in shapes.items()}
    extra = {key: value for key, value in model.state_dict().items()
             if key == '_extra_state'}
    model.load_state_dict({**state, **extra})
    frames = getattr(model.backbone, 'num_frames', 8)
    scores = model(random_video(frames, clips=1), mode='tensor', stage='head')
    found = dict(scores=scores.flatten().tolist(), gradients=0., trained=0)
    if scores.requires_grad:
        (scores * torch.tensor([1., -2., 3.])).sum().backward()
        parts = [part.grad for part in model.parameters() if part.grad is not None]
        found['gradients'] = sum(part.norm().item() ** 2 for part in parts) ** 0.5
    found['trained'] = sum(part.numel() for part in model.parameters()
                           if part.requires_grad)
    return found


@pytest.mark.parametrize('source', sorted(read_pins('configs')))
def test_config_resolves_as_before(source):
    pinned, found = read_pins('configs')[source], describe(read(source))
    if 'frozen_clip' in source:  # what it computes is pinned below
        pinned.pop('model')
        found.pop('model')
    if 'train_dataloader' not in pinned:
        for key in OF_TRAINING:
            pinned.pop(key, None)
            found.pop(key, None)
    assert found == pinned


@pytest.mark.parametrize('source', sorted(read_pins('models')))
def test_model_computes_as_before_from_checkpoints_of_before(source, tiny_weights):
    pin = read_pins('models')[source]
    torch.manual_seed(0)
    found = compute(build(read(source), tiny_weights), pin['state'])
    assert found['trained'] == pin['trained']
    assert found['scores'] == pytest.approx(pin['scores'], rel=1e-9)
    assert found['gradients'] == pytest.approx(pin['gradients'], rel=1e-9)


def suite_cells(name, out):
    """What trains and evaluates each cell of a suite."""
    from vita_mm.harness.run.plan import Plan
    from vita_mm.harness.spec.suite import read_suite
    found = {}
    for place in Plan(read_suite(name), out, seeds=1, trust_data=True).places:
        trained = place.run.trained
        parts = describe(place.run.config)
        if trained is None:
            parts.pop('model')  # of frozen CLIP
        found[f'{place.row.id}/{place.column.name}'] = [
            digest(parts), trained and digest(describe(trained.config))]
    return found


@pytest.mark.parametrize('name', ['mini', 'paper'])
def test_suite_runs_what_it_ran(name, tmp_path):
    assert suite_cells(name, tmp_path) == read_pins(f'suite_{name}')


def write(tiny_weights, out):
    """Pin what is now."""
    sources = dict.fromkeys([*read_pins('configs'), *configs()])
    found = {source: describe(read(source)) for source in sources}
    models = {}
    for source in found:
        torch.manual_seed(0)
        model = build(read(source), tiny_weights)
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()
                  if key != '_extra_state'}
        pin = dict(state=shapes, **compute(model, shapes))
        if pin not in models.values():  # evaluations have the model of a training
            models[source] = pin
    pins = dict(configs=found, models=models, **{
        f'suite_{name}': suite_cells(name, out) for name in ('mini', 'paper')})
    for name, content in pins.items():
        (PINNED / f'{name}.json').write_text(json.dumps(content, indent=1) + '\n')


@pytest.mark.skipif('PIN' not in os.environ, reason='writes the pins anew: set PIN=1')
def test_write_anew(tiny_weights, tmp_path):
    write(tiny_weights, tmp_path)
