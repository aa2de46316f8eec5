"""Precision is a key of every config, and the numbers of a run are of that precision; the
weights of a number are the last ones, or it says that they were chosen."""
import json
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from vita_mm.engine import precision as module
from vita_mm.engine import selection
from vita_mm.engine.precision import PRECISIONS, apply_precision
from vita_mm.engine.recipe import make_recipe
from vita_mm.engine.runs import build_runner, keep_test_only, load_config
from vita_mm.engine.selection import find_selection, say
from vita_mm.errors import UserError
from vita_mm.harness.run.estimate import Estimates
from vita_mm.harness.spec.suite import read_suite
from vita_mm.io.checkpoints import newest_whole_checkpoint, read_tensors
from world import ROOT, write_world

CONFIGS = sorted(path for path in (ROOT / 'configs').rglob('*.py')
                 if '_base_' not in path.parts)


@pytest.fixture(autouse=True)
def switches():
    """What torch computes in is of the process: it stays as it was."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    dtype = torch.get_autocast_dtype('cuda')
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    torch.set_autocast_dtype('cuda', dtype)


@pytest.fixture
def gpu(monkeypatch):
    """An A100, as far as the choice of a precision goes."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: (8, 0))
    monkeypatch.setattr(module, 'get_device', lambda: 'cuda')


def config(precision=None, wrapper='OptimWrapper', **keys):
    named = {} if precision is None else dict(precision=precision)
    return Config(dict(
        optim_wrapper=dict(
            type=wrapper, accumulative_counts=4, clip_grad=dict(max_norm=1),
            optimizer=dict(type='AdamW', lr=1e-3)),
        val_cfg=dict(type='ValLoop'), test_cfg=dict(type='TestLoop'), **named, **keys))


def test_every_config_names_the_precision_of_its_hours():
    suite = read_suite('paper')
    for path in CONFIGS:
        found = load_config(path).get('precision')
        assert found in PRECISIONS, path
        # The miniature's numbers are of float32.
        assert found == 'float32' or 'mini' not in path.name, path
        text = ' '.join(path.read_text().split('"""')[1].split())
        said = re.findall(r'about (\d+) (A100 hours|minutes? of an A100) in (\w+)', text,
                          re.IGNORECASE)
        assert bool(said) == ('A100' in text) == ('mini' not in path.name), path
        for number, unit, precision in said:
            assert precision == found, path
            source = f'--dataset {path.stem}' if path.parent.name == 'zero_shot' \
                else path.relative_to(ROOT).as_posix()
            if source in suite.estimates:
                assert precision == suite.estimates_precision
                seconds = 3600 if 'hours' in unit else 60
                assert round(suite.estimates[source] / seconds) == int(number), path


def test_estimates_are_of_the_precision_that_is_asked_for():
    class Plan:
        suite = read_suite('paper')
        runs = {}

    class Run:
        source = 'configs/vita_k400.py'
        trained = None
        trains = True

    times = {}
    for name in PRECISIONS:
        Run.config = dict(precision=name)
        times[name] = Estimates(Plan).of(Run)
    assert times['bfloat16'] == times['float16'] == Plan.suite.estimates[Run.source]
    assert times['tf32'] == 2 * times['bfloat16']
    assert times['float32'] == 16 * times['bfloat16']
    # The miniature's are of processors, on which these ratios mean nothing.
    Plan.suite = read_suite('mini')
    Run.source = 'configs/vita_mini.py'
    assert Estimates(Plan).of(Run) == Plan.suite.estimates[Run.source]


@pytest.mark.parametrize('name', PRECISIONS)
def test_a_precision_sets_wrapper_loops_and_switches(gpu, name):
    wrapper, fp16, tf32 = dict(
        float32=('OptimWrapper', False, False), tf32=('OptimWrapper', False, True),
        bfloat16=('AutocastOptimWrapper', True, False),
        float16=('AmpOptimWrapper', True, False))[name]
    torch.backends.cuda.matmul.allow_tf32 = not tf32
    torch.backends.cudnn.allow_tf32 = not tf32
    found = config(name)
    for _ in range(2):  # a config may be built twice
        apply_precision(found)
    assert found.precision == name
    assert found.optim_wrapper.type == wrapper
    assert found.optim_wrapper.accumulative_counts == 4
    assert found.optim_wrapper.clip_grad == dict(max_norm=1)
    assert bool(found.val_cfg.get('fp16')) is bool(found.test_cfg.get('fp16')) is fp16
    assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert (torch.backends.cuda.matmul.fp32_precision == 'tf32') is tf32
    if fp16:
        assert torch.get_autocast_dtype('cuda') == getattr(torch, name)


def test_a_config_without_precision_is_of_float32():
    found = config()
    apply_precision(found)
    assert found.precision == 'float32' and found.optim_wrapper.type == 'OptimWrapper'
    assert not torch.backends.cudnn.allow_tf32


def test_a_wrapper_of_the_user_stays_where_the_optimizer_casts_nothing():
    class Own(OptimWrapper):
        pass

    OPTIM_WRAPPERS.register_module(name='OwnWrapper', module=Own, force=True)
    found = config('float32', 'OwnWrapper')
    apply_precision(found)
    assert found.optim_wrapper.type == 'OwnWrapper'
    with pytest.raises(UserError, match='optim_wrapper.type=Own and precision='):
        apply_precision(config('bfloat16', 'OwnWrapper'))


@pytest.mark.parametrize('precision, wrapper', [
    ('float32', 'AutocastOptimWrapper'), ('tf32', 'AmpOptimWrapper'),
    ('bfloat16', 'AmpOptimWrapper'), ('float16', 'AutocastOptimWrapper')])
def test_two_precisions_in_one_config_are_refused(gpu, precision, wrapper):
    with pytest.raises(UserError, match=f'optim_wrapper.type={wrapper} and precision='
                                        f"'{precision}' contradict"):
        apply_precision(config(precision, wrapper))


def test_a_config_in_the_words_of_mmengine_is_taken_at_them(gpu):
    found = config(None, 'AmpOptimWrapper')
    found.test_cfg.fp16 = True
    before = found.to_dict()
    apply_precision(found)
    assert found.to_dict() == before and not torch.backends.cudnn.allow_tf32
    assert make_recipe(config(None, 'AmpOptimWrapper', train_dataloader={})
                       )['precision'] == 'float16'


def test_other_keys_that_contradict_are_refused(gpu):
    found = config('float16', 'AmpOptimWrapper')
    found.optim_wrapper.dtype = 'bfloat16'
    with pytest.raises(UserError, match='optim_wrapper.dtype=bfloat16 and precision'):
        apply_precision(found)
    found = config('float32')
    found.val_cfg.fp16 = True
    with pytest.raises(UserError, match='val_cfg.fp16=True and precision'):
        apply_precision(found)


@pytest.mark.parametrize('name, older', [('bfloat16', 'AutocastOptimWrapper'),
                                         ('float16', 'AmpOptimWrapper')])
def test_a_recipe_is_the_same_before_and_after_it_was_built(gpu, name, older):
    found = config(name, train_dataloader=dict(batch_size=2))
    asked = make_recipe(found)
    apply_precision(found)
    assert found.optim_wrapper.type == older and make_recipe(found) == asked
    # Configs from before there was a precision.
    assert make_recipe(config(None, older, train_dataloader=dict(batch_size=2))) == asked
    assert make_recipe(config('float32', train_dataloader=dict(batch_size=2))) != asked


@pytest.mark.parametrize('name', ['fp16', 'half', 16, None, ['float32']])
def test_an_unknown_precision_is_refused(name):
    found = config()
    found.precision = name
    with pytest.raises(UserError, match='take float32, tf32, bfloat16, float16'):
        apply_precision(found)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
@pytest.mark.parametrize('name, remedy', [('float16', "take 'bfloat16' or 'float32'"),
                                          ('tf32', 'it would be float32, so say that')])
def test_what_a_processor_does_not_compute_in_is_refused(name, remedy):
    with pytest.raises(UserError, match=f"precision='{name}' needs a GPU.*{remedy}"):
        apply_precision(config(name))


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_the_wrapper_of_mmactions_configs_needs_a_gpu():
    with pytest.raises(UserError, match="AmpOptimWrapper' needs a GPU.*'OptimWrapper'"):
        apply_precision(config(None, 'AmpOptimWrapper'))
    evaluation = config(None, 'AmpOptimWrapper')
    evaluation.optim_wrapper = None
    apply_precision(evaluation)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), 8, 3)


def tiny(world, precision, name, **keys):
    found = load_config(world)
    found.merge_from_dict(keys)
    found.precision = precision
    found.work_dir = str(world.parent / name)
    found.experiment_name = name
    found.visualizer.vis_backends = []
    found.train_cfg.max_epochs = 1
    for part in ('train', 'val', 'test'):
        found[f'{part}_dataloader'].num_workers = 0
    return found


def watch(model):
    """Sets of the types of what the layers give in training and in evaluation."""
    seen = {True: set(), False: set()}

    def note(layer, inputs, output):
        if isinstance(output, torch.Tensor):
            seen[model.training].add(output.dtype)

    for layer in model.modules():
        if not isinstance(layer, nn.LayerNorm):
            layer.register_forward_hook(note)
    return seen


@pytest.fixture(scope='module')
def trained(world):
    """A training in bfloat16 of one epoch: its runner and the types it computed in."""
    runner = build_runner(tiny(world, 'bfloat16', 'trained'))
    seen = watch(runner.model)
    runner.train()
    return runner, seen


def test_training_and_validation_compute_in_bfloat16(trained):
    runner, seen = trained
    assert isinstance(runner.optim_wrapper, PRECISIONS['bfloat16'].wrapper)
    assert torch.bfloat16 in seen[True] and torch.bfloat16 in seen[False]
    assert {value.dtype for value in runner.model.state_dict().values()
            if value.is_floating_point()} == {torch.float32}
    assert runner.cfg.precision == 'bfloat16'
    assert not torch.is_autocast_enabled('cpu')


@pytest.mark.parametrize('loop', ['TestLoop', 'ZeroShotLoop'])
def test_an_evaluation_computes_in_its_precision(world, trained, loop):
    metrics = {}
    for name in ('float32', 'bfloat16'):
        found = tiny(world, name, f'{loop}-{name}')
        if loop == 'ZeroShotLoop':
            found.merge_from_dict({'model.cls_head.context': 'none',
                                   'test_cfg.type': loop,
                                   'test_cfg.prompts': dict(name='{}')})
        keep_test_only(found)
        found.load_from = str(newest_whole_checkpoint(trained[0].work_dir))
        runner = build_runner(found)
        seen = watch(runner.model)
        scores = []
        runner.model.cls_head.register_forward_hook(
            lambda layer, inputs, output, scores=scores: scores.append(output.dtype))
        metrics[name] = runner.test()
        assert (torch.bfloat16 in seen[False]) is (name == 'bfloat16')
        assert set(scores) <= {torch.float32}
    assert metrics['float32'].keys() == metrics['bfloat16'].keys()


def test_an_evaluation_that_fails_leaves_no_autocast_behind(world):
    found = tiny(world, 'bfloat16', 'fails')
    keep_test_only(found)
    runner = build_runner(found)

    def fail(*_):
        assert torch.is_autocast_enabled('cpu')
        raise KeyboardInterrupt

    runner.model.cls_head.register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        runner.test()
    assert not torch.is_autocast_enabled('cpu')


def test_best_checkpoints_alone_say_how_they_were_chosen(world, trained):
    folder = world.parent / 'trained'
    best, = folder.glob('best_acc_top1_*.pth')
    last = newest_whole_checkpoint(folder)
    assert last.name == 'epoch_1.pth'  # saved anew behind the best one
    assert find_selection(read_tensors(last), last) is None
    found = find_selection(read_tensors(best), best)
    assert say(found) == f'best acc/top1 on {world.parent}/val.txt'
    # Its name is not what says it.
    moved = best.rename(folder / 'model.pth')
    assert find_selection(read_tensors(moved), moved) == found
    moved.rename(best)


def test_a_number_of_chosen_weights_says_so(world, trained, monkeypatch):
    tags = {}

    class Backend:
        add_tags = tags.update

    monkeypatch.setattr(selection, 'get_backend', lambda runner: Backend)
    best, = (world.parent / 'trained').glob('best_acc_top1_*.pth')
    said = f'best acc/top1 on {world.parent}/val.txt'
    last = newest_whole_checkpoint(world.parent / 'trained')
    for name, checkpoint in (('of-best', best), ('of-last', last)):
        tags.clear()
        found = tiny(world, 'float32', name)
        keep_test_only(found)
        found.load_from = str(checkpoint)
        runner = build_runner(found)
        runner.test()
        log = next((world.parent / name).glob('*/*.log')).read_text()
        line, = [line for line in log.splitlines() if 'Epoch(test)' in line
                 and 'acc/top1' in line]
        file, = [file for file in (world.parent / name).glob('*/*.json')]
        weights = json.loads(file.read_text()).get('weights')
        if checkpoint == best:
            assert f'weights: {said}' in line and weights == said
            assert tags == {'checkpoint.selection': said}
            assert 'the very set of this test' in log
        else:
            assert 'weights' not in line and weights is None and not tags
            assert 'the very set' not in log


def test_what_a_foreign_checkpoint_says_of_its_choice_is_untrusted(tmp_path):
    assert say(find_selection({}, 'best_acc_top1_epoch_3.pth')) == \
        'best of its name on an unknown set'
    assert find_selection(dict(meta=[1]), 'epoch_3.pth') is None
    hostile = dict(meta=dict(selection=dict(metric='\x1b[2J' + 'a' * 999, data=[1])))
    text = say(find_selection(hostile, 'model.pth'))
    assert '\x1b' not in text and len(text) <= 200


@pytest.mark.gpu
@pytest.mark.parametrize('name', PRECISIONS)
def test_a_gpu_trains_and_evaluates_in_each(world, name):
    runner = build_runner(tiny(world, name, f'gpu-{name}'))
    seen = watch(runner.model)
    runner.train()
    wanted = {PRECISIONS[name].autocast} - {None}
    for part in (True, False):
        assert seen[part] & {torch.bfloat16, torch.float16} == wanted
