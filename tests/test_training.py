"""Training through the real tools: distributed, killed, resumed, mixed precision."""
import argparse
import json
import signal
from statistics import mean

import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer
from vita_mm.engine.recipe import prepare_work_dir
from vita_mm.engine.runs import build_runner, read_config
from vita_mm.errors import UserError
from vita_mm.io.files import lock
from world import kill, kill_when, run, run_pair, start, start_pair, write_world


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'))


@pytest.fixture(scope='module')
def one_process(config):
    """Work dir of a run that nothing disturbed."""
    return train(config, 'one')


@pytest.fixture(scope='module')
def two_processes(config):
    """Work dir of the same run on two processes, at the same global batch."""
    work_dir = config.parent / 'two'
    done = run_pair(*on_two_processes(config, work_dir), cwd=config.parent)
    assert done.returncode == 0, done.stdout
    return work_dir


def train(config, name, *options):
    work_dir = config.parent / name
    done = run('tools/train.py', config, '--work-dir', work_dir, *options,
               cwd=config.parent)
    assert done.returncode == 0, done.stdout
    return work_dir


def on_two_processes(config, work_dir):
    return ('tools/train.py', config, '--work-dir', work_dir, '--resume',
            '--cfg-options', 'train_dataloader.batch_size=4')


def train_here(config, name, resume=None, **options):
    """The same in this process, without MLflow; returns the work dir."""
    work_dir = config.parent / name
    options = {'train_dataloader.batch_size': 4, 'train_dataloader.num_workers': 0,
               # A training reads no test set, nor, without validation, that one's.
               'val_dataloader.dataset.ann_file': 'missing.txt',
               'test_dataloader.dataset.ann_file': 'missing.txt',
               'visualizer.vis_backends': [dict(type='LocalVisBackend')],
               'experiment_name': name, **options}
    config = read_config(argparse.Namespace(
        config=str(config), cfg_options=options, launcher='none', work_dir=str(work_dir)))
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    lock, _ = prepare_work_dir(config, resume and str(resume))
    with lock:
        build_runner(config).train()
    return work_dir


def read(checkpoint):
    return torch.load(checkpoint, weights_only=True)


def losses(work_dir, key='loss'):
    """Loss by step, of the newest log."""
    log = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    rows = map(json.loads, log.read_text().splitlines())
    return {row['step']: row[key] for row in rows if 'loss' in row}


def rates(work_dir, accumulation=1):
    """Learning rate of each optimizer step, of the newest log."""
    return list(losses(work_dir, 'lr').values())[accumulation - 1::accumulation]


def assert_same(ours, theirs):
    """Equal bit for bit, at any depth."""
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for pair in zip(ours, theirs):
            assert_same(*pair)
    else:
        assert ours == theirs


def test_two_processes_follow_the_loss_of_one(one_process, two_processes):
    one, two = losses(one_process), losses(two_processes)
    assert len(one) == 9 and one.keys() == two.keys()
    for step in one:
        assert two[step] == pytest.approx(one[step], rel=1e-4)


def test_rates_follow_optimizer_steps_whatever_the_processes_and_the_accumulation(
        config, one_process, two_processes):
    """With a schedule in epochs times one in steps."""
    one = rates(one_process)
    assert len(one) == 9 and one[0] == pytest.approx(4e-4) and len(set(one)) == 9
    assert rates(two_processes) == one
    two_halves = {'optim_wrapper.accumulative_counts': 2}
    halves = train_here(config, 'halves', **two_halves)
    assert rates(halves, 2) == one
    by_half = list(losses(halves).values())
    assert [mean(by_half[n:n + 2]) for n in range(0, 18, 2)] == pytest.approx(
        list(losses(one_process).values()), rel=1e-4)

    # On one process alone the other half is accumulated, or it is another recipe.
    checkpoint = two_processes / 'epoch_1.pth'
    resumed = train_here(config, 'resumed', checkpoint, **two_halves)
    assert rates(resumed, 2) == one[3:]
    assert list(losses(resumed).values()) == pytest.approx(by_half[6:], rel=1e-4)
    with pytest.raises(UserError, match='clips_per_step 8 → 4'):
        train_here(config, 'refused', checkpoint)


def test_a_second_training_in_a_work_dir_is_refused(config):
    """And one that ignores Ctrl-C, as in the background, ends well on SIGTERM."""
    work_dir = config.parent / 'busy'
    command = ('tools/train.py', config, '--work-dir', work_dir, '--cfg-options',
               'train_cfg.max_epochs=1000')
    first = start(*command, cwd=config.parent, interrupt=signal.SIG_IGN)
    try:
        for line in first.stdout:
            if 'Epoch(train)' in line:
                break
        before = sorted(work_dir.glob('*/*.log'))
        second = run(*command, cwd=config.parent)
        assert second.returncode == 2, second.stdout
        assert f'error: another training runs in {work_dir} (process {first.pid})' \
            in second.stdout
        assert sorted(work_dir.glob('*/*.log')) == before
        first.terminate()
        rest = first.stdout.read()
        assert first.wait(60) == 130, rest
        assert 'interrupted' in rest and 'Traceback' not in rest
    finally:
        kill(first)


@pytest.mark.slow
def test_all_processes_of_a_refused_training_end(config):
    work_dir = config.parent / 'held'
    with lock(work_dir / 'lock', 'it is held'):
        _, config, *options = on_two_processes(config, work_dir)
        done = run('tools/dist_train.sh', config, 2, *options, cwd=config.parent)
    assert done.returncode == 2
    assert 'another training runs in' in done.stdout and 'Traceback' not in done.stdout


@pytest.mark.parametrize('torchrun', [
    False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_killed_run_resumes_to_the_same_bits(config, two_processes, torchrun):
    work_dir = config.parent / f'killed{torchrun}'
    tool, _, *options = on_two_processes(config, work_dir)
    if torchrun:
        command = ('tools/dist_train.sh', config, 2, *options)
        started = [start(*command, cwd=config.parent)]
    else:
        command = (tool, config, *options)
        started = start_pair(*command, cwd=config.parent)
    kill_when(started[0], 'Epoch(train) [2][2/3]')
    for process in started[1:]:
        kill(process)
    # A kill in the middle of saving leaves a file that is cut off.
    whole = (work_dir / 'epoch_1.pth').read_bytes()
    (work_dir / 'epoch_2.pth').write_bytes(whole[:len(whole) // 2])
    done = (run if torchrun else run_pair)(*command, cwd=config.parent)
    assert done.returncode == 0, done.stdout
    assert 'epoch_2.pth is not a readable checkpoint' in done.stdout
    assert 'resumed epoch: 1' in done.stdout
    ours, theirs = read(work_dir / 'epoch_3.pth'), read(two_processes / 'epoch_3.pth')
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_same(ours[part], theirs[part])


def test_checkpoints_hold_trained_tensors_only_and_one_is_the_best(one_process):
    checkpoint = read(one_process / 'epoch_3.pth')
    assert not [key for key in checkpoint['state_dict'] if 'tower' in key]
    assert len(list(one_process.glob('best_acc_top1_epoch_*.pth'))) == 1
    trained = len(checkpoint['state_dict']) - 1  # but for what names the CLIP
    assert len(checkpoint['optimizer']['state']) == trained
    assert len(checkpoint['optimizer']['param_groups'][0]['params']) == trained


def test_evaluation_of_a_checkpoint_repeats_on_two_processes(config, one_process):
    for processes in (1, 2):
        done = (run, run_pair)[processes - 1](
            'tools/test.py', config, one_process / 'epoch_3.pth', '--work-dir',
            config.parent / f'test{processes}', cwd=config.parent)
        assert done.returncode == 0, done.stdout
    results = [sorted((config.parent / f'test{n}').glob('*/*.json'))[-1].read_text()
               for n in (1, 2)]
    accuracy = [json.loads(result)['acc/top1'] for result in results]
    assert accuracy[0] == accuracy[1]


def test_mixed_precision_trains(config):
    work_dir = train(config, 'amp', '--amp', '--cfg-options', 'train_cfg.max_epochs=1')
    assert all(torch.tensor(list(losses(work_dir).values())).isfinite())


def test_mmaction_apis_load_the_checkpoint_and_classify_a_file(config, one_process):
    model = init_recognizer(str(config), str(one_process / 'epoch_3.pth'), device='cpu')
    result = inference_recognizer(model, str(config.parent / 'val' / '0.mp4'))
    assert result.pred_score.shape == (3, )
    assert result.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
