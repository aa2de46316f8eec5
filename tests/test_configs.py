"""The configs that come with the project build, step, evaluate, and refuse misspellings,
on datasets in the layouts of their owners."""
import argparse
import copy

import pytest
import torch
from conftest import tiny_clip_config
from layouts import LAYOUTS, write_raw
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from test_mini import SMALL
from vita_mm.engine.runs import RUNNER_KEYS, build_runner, keep_test_only, read_config
from vita_mm.engine.variants import Variants, apply_variants
from vita_mm.errors import UserError
from vita_mm.mini import build
from vita_mm.prepare import prepare
from world import ROOT

CONFIGS = sorted(path.relative_to(ROOT / 'configs').as_posix()
                 for path in (ROOT / 'configs').rglob('*.py')
                 if '_base_' not in path.parts)
# Trainable parameters of ViT-B/16; of Vita-CLIP as measured on the released code.
PARAMETERS = {
    'vita_k400.py': 37_245_953, 'released/vita_k400.py': 30_158_849,
    # As published: 131.50, 168.6, 3.20, 6.35 and 33.18 M.
    'xclip/k400.py': 131_501_056, 'actionclip/k400.py': 168_574_465,
    'efficient_prompt/a5.py': 3_200_000,
    'evl/k400.py': 33_183_376,
    'vifi_clip/k400.py': 124_323_841}  # all of CLIP but its token embedding


@pytest.fixture(scope='module')
def disk(tmp_path_factory):
    """A folder with a small copy of every dataset, made as a user would."""
    folder = tmp_path_factory.mktemp('disk')
    for name in LAYOUTS:
        prepare(name, write_raw(name, folder / 'raw' / name), folder / 'data' / name)
    build(folder / 'data' / 'mini', size=SMALL)
    return folder


@pytest.fixture(autouse=True)
def inside(disk, monkeypatch):
    monkeypatch.chdir(disk)


def read(name, variants=None, **options):
    return read_config(argparse.Namespace(
        config=str(ROOT / 'configs' / name), cfg_options=options, launcher='none',
        work_dir='work', variants=variants or {}))


def shrink(config):
    """The same with a small CLIP of the same frame size, and without processes."""
    size = 48 if 'mini' in config.filename else 224
    config.model.clip = dict(arch=tiny_clip_config(
        vision=dict(image_size=size, patch_size=size // 2)), pretrained=None)
    if config.model.backbone.type == 'EVLVisionTransformer':
        config.model.backbone.num_layers = 2
    for name in ('train', 'val', 'test'):
        loader = config.get(f'{name}_dataloader')
        if loader:
            loader.update(batch_size=2, num_workers=0)
    if config.get('optim_wrapper'):
        config.optim_wrapper.accumulative_counts = 1
    config.visualizer.vis_backends = []
    config.log_level = 'ERROR'
    config.experiment_name = config.filename
    return config


def is_quick(name):
    """Vita-CLIP's own stand for the others, which tests of the systems train too."""
    return name in ('vita_k400.py', 'vita_mini.py', 'vita_mini_motion.py')


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[] if is_quick(name) else pytest.mark.slow)
    for name in CONFIGS])
def test_a_config_builds_steps_and_evaluates(name):
    config = shrink(read(name))
    if config.get('train_dataloader'):
        runner = build_runner(config)
        before = copy.deepcopy(runner.model.state_dict())
        log = runner.model.train_step(
            next(iter(runner.train_dataloader)), runner.optim_wrapper)
        assert torch.isfinite(log['loss'])
        assert not [name for name, value in runner.model.named_parameters()
                    if value.requires_grad and torch.equal(value, before[name])]
        config = shrink(read(name))
    keep_test_only(config)
    runner = build_runner(config)
    metrics = runner.test()
    prompts = [f'{name}/' for name in config.test_cfg.get('prompts', {})] or ['']
    for prefix in prompts:
        assert 0 <= metrics[f'{prefix}acc/top1'] <= metrics[f'{prefix}acc/top5'] <= 1
        assert metrics[f'{prefix}acc/videos_read'] == len(runner.test_dataloader.dataset)
        assert metrics[f'{prefix}acc/videos_unreadable'] == 0


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_says_what_it_is_of(name):
    text = (ROOT / 'configs' / name).read_text()
    docstring = text.split('"""')[1]
    if 'mini' in name:
        return
    assert name in docstring  # the command
    assert 'Table' in docstring or 'No figure' in docstring
    assert 'A100' in docstring and 'how' in docstring


def own_keys(node, path=()):
    """Every place of a key in dicts that our classes are built from."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key != 'type':
                yield (*path, key)
            yield from own_keys(value, (*path, key))


def distinct_keys():
    """Each key of the model, data, loops and evaluators, with one config that has it."""
    found = {}
    for name in sorted(CONFIGS, key=lambda name: 'mini' not in name):  # these are quicker
        config = Config.fromfile(ROOT / 'configs' / name)
        for part in ('model', 'train_dataloader', 'test_dataloader', 'test_evaluator',
                     'test_cfg', 'optim_wrapper'):
            for path in own_keys({part: config.get(part) or {}}):
                types = tuple(str(node.get('type')) for node in nodes(config, path))
                if len(path) > 1 and path[-2] not in ('prompts', 'metainfo'):
                    found.setdefault((path, types), name)
    return [pytest.param(name, path, id='.'.join(path))
            for (path, _), name in found.items()]


def nodes(config, path):
    for key in path[:-1]:
        config = config[key]
        yield config


@pytest.mark.parametrize('name, path', distinct_keys())
def test_a_misspelt_key_is_named(name, path):
    config = shrink(read(name))
    *_, node = nodes(config, path)
    node[path[-1] + 's'] = node.pop(path[-1])
    if not path[0].startswith(('train', 'optim')):
        keep_test_only(config)
    # MMEngine itself misses these without saying their names.
    named = path[-1] if path[-1] not in ('dataset', 'sampler') else 'does not build'
    with pytest.raises(UserError, match=named):
        build_runner(config)


@pytest.mark.parametrize('key', sorted(
    {key for name in CONFIGS for key in Config.fromfile(ROOT / 'configs' / name)}
    & RUNNER_KEYS))
def test_a_misspelt_top_level_key_is_named(key, tmp_path):
    misspelt = key[:-1] + ('x' if key[-1] != 'x' else 'y')
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{ROOT}/configs/vita_k400.py'\n{misspelt} = dict()\n")
    with pytest.raises(UserError, match=misspelt):
        read(tmp_path / 'config.py')
    with pytest.raises(UserError, match=misspelt):
        read('vita_k400.py', **{f'{misspelt}.x': 1})


def test_an_override_that_would_do_nothing_is_refused():
    with pytest.raises(UserError, match="'root' is no key of a run"):
        read('vita_k400.py', root='/elsewhere')


def count_trained(monkeypatch, name, **options):
    """Of a model without numbers: drawing them takes seconds."""
    monkeypatch.setattr('vita_mm.models.common.clip.fingerprint', lambda *args: '')
    config = read(name, **options)
    config.model.clip.pretrained = config.model.data_preprocessor = None
    with torch.device('meta'):
        model = MODELS.build(config.model)
    return sum(parameter.numel() for parameter in model.parameters()
               if parameter.requires_grad)


@pytest.mark.parametrize('name', PARAMETERS)
def test_the_full_vit_b_16_has_the_published_parameters(name, monkeypatch):
    assert count_trained(monkeypatch, name) == PARAMETERS[name]


def test_a6_has_the_published_parameters(monkeypatch):
    assert count_trained(monkeypatch, 'efficient_prompt/a5.py', **{
        'model.backbone.temporal.num_layers': 2}) == 6_352_384


@pytest.mark.slow
def test_the_full_vit_b_16_steps_and_predicts():
    config = read('vita_k400.py')
    config.model.clip.pretrained = None  # the real weights are a download
    model = MODELS.build(copy.deepcopy(config.model))
    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    train = DATASETS.build(config.train_dataloader.dataset)
    batch = pseudo_collate([train[0]])
    assert torch.isfinite(model.train_step(batch, optim_wrapper)['loss'])
    val = DATASETS.build(config.val_dataloader.dataset)
    sample, = model.eval().val_step(pseudo_collate([val[0]]))
    assert sample.gt_label.tolist() == [val.get_data_info(0)['label']]
    assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize('name, variants, shape', [
    ('vita_k400.py', {}, (1, 3, 8)), ('released/vita_k400.py', {}, (3, 3, 8)),
    ('vita_k400.py', dict(views='4x3'), (12, 3, 8)),
    ('vita_k400.py', dict(frames=16, views='4x3'), (12, 3, 16)),
    ('xclip/k400.py', dict(views='4x3'), (12, 3, 8)),
    ('actionclip/k400.py', dict(views='1x1', frames=8), (1, 3, 8)),
    ('vita_ssv2.py', {}, (1, 3, 8)), ('zero_shot/hmdb51.py', {}, (1, 3, 32)),
    ('vita_k400.py', dict(dataset='k600_val'), (1, 3, 32)),
    ('vita_k400.py', dict(dataset='hmdb51', frames=16, split=2), (1, 3, 16)),
    ('frozen_clip/k400.py', dict(dataset='ssv2'), (1, 3, 8))])
def test_views_and_frames_of_an_evaluation(name, variants, shape):
    config = read(name)
    dataset = apply_variants(config, Variants(**variants)).test_dataloader.dataset
    assert DATASETS.build(dataset)[0]['inputs'].shape == (*shape, 224, 224)
    assert config.to_dict() == read(name).to_dict()  # the one given stays


@pytest.mark.parametrize('name, variants', [
    ('vita_mini.py', dict(frames=16, stride=2)), ('xclip/mini.py', dict(frames=4)),
    ('vita_mini.py', dict(dataset='mini_k600', split=3, reading='tile')),
    ('vita_mini.py', dict(dataset='mini_ssv2', views='2x1')),
    ('actionclip/mini.py', dict(dataset='mini_hmdb51', prompts='actionclip')),
    ('frozen_clip/mini_k400.py', dict(dataset='mini_ssv2', prompts='a {}'))])
def test_a_variant_builds_and_evaluates(name, variants):
    config = shrink(read(name, variants))
    config.experiment_name = f'{name} {variants}'
    if config.train_cfg:
        runner = build_runner(config)
        batch = next(iter(runner.train_dataloader))
        assert batch['inputs'][0].shape[2] == variants['frames']
        assert torch.isfinite(
            runner.model.train_step(batch, runner.optim_wrapper)['loss'])
        return
    keep_test_only(config)
    metrics = build_runner(config).test()
    official = 0 if 'ssv2' in variants['dataset'] else 1 if 'split' in variants else 3
    for prompts in config.test_cfg.prompts:
        assert 0 <= metrics[f'{prompts}/acc/top1'] <= 1
        assert len([key for key in metrics if key.startswith(f'{prompts}/acc/split')
                    and key.endswith('_top1')]) == official
