"""The harness: a suite from its file to a report, whatever happens in between.

Real videos, real trainings of a tiny CLIP, MLflow on SQLite; the whole suite is run once,
in this process, and the slow tests compare with that what other processes do.
"""
import contextlib
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
import torch
from mlflow import MlflowClient
from mmengine.config import Config
from vita_mm.analysis.predictions import read as read_predictions
from vita_mm.cli.main import run as run_verb
from vita_mm.errors import UserError
from vita_mm.harness.run import execute
from vita_mm.harness.report.claims import NO_PREDICTIONS, check_claim
from vita_mm.harness.report.gather import gather
from vita_mm.harness.report.model_zoo import CONFIGS as MMACTION
from vita_mm.harness.run.execute import divide_batch, equip
from vita_mm.harness.run.folder import RunFolder
from vita_mm.harness.run.inputs import differences
from vita_mm.harness.run.plan import Plan
from vita_mm.harness.run.records import Manifest
from vita_mm.harness.spec.suite import read_suite
from vita_mm.io.checkpoints import read_tensors
from vita_mm.io.digests import TRUSTED, digest_file
from vita_mm.io.files import lock
from world import CLASSES, ROOT, kill, run, start, write_world

RUN = 'benchmarks/run_ablations.py'
SUITE = """
title: tiny
compared: order
timeout: 200
override:
  train_cfg.val_interval: 3
  train_dataloader.num_workers: 0
  val_dataloader.num_workers: 0
  test_dataloader.num_workers: 0
tables:
  ladder:
    title: Ladder
    columns: &columns
      top1: {{title: Top-1}}
    rows:
      plain: &plain
        label: plain
        train: {world}/tiny.py
        override:
          model.backbone.summary: false
          model.backbone.local: false
          model.backbone.num_global: 0
      full: {{label: full, train: {world}/tiny.py}}
    claims:
      - {{text: prompts help, kind: rising, rows: [plain, full], source: section 4}}
  again:
    title: The same model once more
    columns: *columns
    rows:
      full:
        label: full
        train: {world}/tiny.py
        override: {{model.backbone.num_global: 8}}
      views: {{label: 2 views, train: {world}/tiny.py, test: {world}/views.py}}
"""
VIEWS = """
_base_ = 'tiny.py'
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(num_clips=2)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""
IN_PROCESS = ('--executor', 'in_process:InProcess')
TRAININGS = ['tiny/seed0', 'tiny,local=False,num_global=0,summary=False/seed0']


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    write_world(folder, num_train=16, num_val=9)
    (folder / 'views.py').write_text(VIEWS)
    (folder / 'suite.yaml').write_text(SUITE.format(world=folder))
    return folder


@pytest.fixture(scope='module')
def done(world, tmp_path_factory, empty_database):
    """A folder in which the suite was run once, and what that said."""
    folder = tmp_path_factory.mktemp('done')
    shutil.copyfile(empty_database, folder / 'mlflow.db')
    return folder, ablations(folder, world, *IN_PROCESS)


def ablations(cwd, world, *arguments, code=0):
    """Call the suite in this process, from a folder; returns what it said."""
    said = io.StringIO()
    arguments = [*arguments, '--suite', world / 'suite.yaml', '--out', 'out']
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(said), \
                contextlib.redirect_stderr(said):
            ended = run_verb('suite', list(map(str, arguments)))
    except SystemExit as end:
        ended = end.code
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert ended == code, said.getvalue()
    return said.getvalue()


def tool(cwd, world, *arguments):
    """The same the way a user does."""
    result = run(RUN, *arguments, '--suite', world / 'suite.yaml', '--out', 'out',
                 cwd=cwd)
    assert result.returncode == 0, result.stdout


def numbers(folder) -> dict:
    """The metrics of every run that has ended."""
    return {path.relative_to(folder).as_posix(): result.metrics
            for path in sorted(folder.glob('out/runs/*/*'))
            if (result := RunFolder(path).result) is not None}


def make_plan(world, out, **options):
    return Plan(read_suite(str(world / 'suite.yaml')), out, 1, **options)


def states(world, out, **options):
    return {name: run.status.state
            for name, run in make_plan(world, out, **options).runs.items()}


def test_a_shared_training_is_planned_once(world, tmp_path):
    plan = make_plan(world, tmp_path / 'out')
    assert [name for name, run in plan.runs.items() if run.trains] == TRAININGS[::-1]
    shared = plan.runs['tiny/seed0']
    assert shared.rows == ['ladder/full', 'again/full', 'again/views']
    assert {run.name for run in plan.select('again/views')} == {
        'tiny/seed0', 'tiny@views/seed0'}
    assert not (tmp_path / 'out').exists()


def test_a_run_ends_with_the_report(done):
    folder, said = done
    assert 'report' in said
    page = (folder / 'out/report/report.md').read_text()
    assert 'Ladder' in page and 'prompts help' in page
    for path in (folder / 'out/runs').glob('*/*'):
        result = RunFolder(path).result
        assert result.state == 'done' and result.seed == 0 and result.seconds > 0
        assert result.environment['env.torch'] and result.clip['clip.sha256']
        assert result.datasets[0].digest
        assert (path / 'config.py').exists() and (path / 'log.txt').stat().st_size
    views = numbers(folder)['out/runs/tiny@views/seed0']
    assert views['acc/videos_read'] == 9 and views['trainable_parameters'] > 0


def test_evaluations_keep_what_they_said_of_each_video(done, world):
    folder, _ = done
    for path in (folder / 'out/runs').glob('*/*'):
        result = RunFolder(path).result
        assert (result.predictions is None) == ('acc/top1' not in result.metrics)
        if result.predictions:
            found, = read_predictions(path / result.predictions).values()
            assert len(set(found.video)) == 9 and found.classes.tolist() == CLASSES
            assert (found.rank == 1).mean() == pytest.approx(result.metrics['acc/top1'])
    table = gather(make_plan(world, folder / 'out', trust_code=True))[0]
    plain, full = table.rows
    assert full.cells['top1'].estimate.value == pytest.approx(full.cells['top1'].mean)
    assert full.cells['top1'].estimate.videos == 9 and not plain.steps
    assert full.steps['top1'].value == pytest.approx(
        full.cells['top1'].mean - plain.cells['top1'].mean)


def test_a_folder_without_predictions_has_means_but_no_tests(done, world, tmp_path):
    shutil.copytree(done[0] / 'out', tmp_path / 'out')
    for path in tmp_path.glob('out/runs/*/*/predictions.npz'):
        path.unlink()
    table = gather(make_plan(world, tmp_path / 'out', trust_code=True))[0]
    cell = table.rows[1].cells['top1']
    assert cell.mean is not None and cell.estimate is None and not table.rows[1].steps
    check = check_claim(table.table.claims[0], table)
    assert (check.outcome, check.detail) == ('not run', NO_PREDICTIONS)


def test_rows_have_as_many_seeds_as_they_ask_for(world, tmp_path):
    text = (world / 'suite.yaml').read_text()
    suite = world / 'seeds.yaml'
    suite.write_text(text.replace('label: full,', 'label: full, seeds: 3,', 1))
    for least, expected in ((1, 3), (2, 3), (4, 4)):
        plan = Plan(read_suite(str(suite)), tmp_path / 'out', least)
        seeds = {row: [place.seed for place in plan.places if place.row.id == row]
                 for row in ('ladder/plain', 'ladder/full', 'again/full')}
        assert seeds == {'ladder/plain': list(range(least)),
                         'ladder/full': list(range(expected)),
                         'again/full': list(range(least))}


def test_all_runs_are_in_mlflow_with_one_level_of_nesting(done):
    folder, _ = done
    client = MlflowClient(f'sqlite:///{folder}/mlflow.db')
    experiment, = (found.experiment_id for found in client.search_experiments()
                   if found.name != 'Default')
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    parents = {key for key, run in runs.items()
               if 'mlflow.parentRunId' not in run.data.tags}
    assert len(parents) == 3  # of the runs, and of each table
    children = [run for key, run in runs.items() if key not in parents]
    assert {run.data.tags['mlflow.parentRunId'] for run in children} == parents
    assert {run.info.status for run in children} == {'FINISHED'}
    assert sum('row' in run.data.tags for run in children) == 4
    assert len(children) == 4 + len(numbers(folder))


def test_plan_then_says_all_done_and_run_does_nothing(done, world):
    folder, _ = done
    assert 'all done' in ablations(folder, world, 'plan')
    before = {path: path.stat().st_mtime_ns
              for path in folder.glob('out/runs/*/*/*.json')}
    assert len(before) == 2 * len(numbers(folder))
    ablations(folder, world)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_changed_field_makes_only_what_depends_on_it_stale(done, world):
    out = done[0] / 'out'
    assert set(states(world, out).values()) == {'done'}
    views = world / 'views.py'
    views.write_text(VIEWS.replace('num_clips=2', 'num_clips=3'))
    try:
        plan = make_plan(world, out)
        stale = {name: run for name, run in plan.runs.items() if not run.done}
        assert list(stale) == ['tiny@views/seed0']
        assert 'num_clips' in stale['tiny@views/seed0'].status.reasons[0]
    finally:
        views.write_text(VIEWS)
    changed = states(world, out, options={'optim_wrapper.optimizer.lr': 0.1})
    assert set(changed.values()) == {'stale'}


def test_changed_data_make_results_stale(done, world):
    """Also a video of the same length, whose time was set back."""
    video = world / 'val' / '0.mp4'
    content, status = video.read_bytes(), os.stat(video)
    video.write_bytes(content[:-1] + b'\1')
    os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
    try:
        plan = make_plan(world, done[0] / 'out')
        found = [run.status for run in plan.runs.values() if not run.done]
        assert [standing.reasons for standing in found] == 3 * [['data changed: test']]
    finally:
        video.write_bytes(content)
    assert set(states(world, done[0] / 'out').values()) == {'done'}


def test_data_can_be_trusted(done, world, monkeypatch):
    """Sizes and times tell then; and what was trusted is not taken for read."""
    out = done[0] / 'out'
    monkeypatch.setattr('vita_mm.io.digests.read_version', None)  # nothing is read
    plan = make_plan(world, out, trust_data=True)
    times = {path: os.stat(path) for path in (world / 'val').iterdir()}
    assert {run.status.state for run in plan.runs.values()} <= {'done', 'stale'}
    for planned in plan.runs.values():
        looks = planned.inputs
        read = looks.model_copy(update=dict(data={**looks.data, **{
            loop: 'a' * 64 for loop in looks.looks}}))
        assert differences(read, looks) == []
        assert 'say --trust-data again' in differences(looks, read)[0]
        other = looks.model_copy(update=dict(data={**looks.data, **{
            loop: TRUSTED + 'other' for loop in looks.looks}},
            looks={loop: TRUSTED + 'other' for loop in looks.looks}))
        assert differences(read, other) == [f'data changed: {loop}'
                                            for loop in looks.looks]
    assert times == {path: os.stat(path) for path in (world / 'val').iterdir()}


def test_results_stay_where_the_data_are_not(done, world, tmp_path):
    away = world / 'val.txt'
    away.rename(world / 'elsewhere.txt')
    try:
        assert set(states(world, done[0] / 'out').values()) == {'done'}
        fresh = make_plan(world, tmp_path / 'out').runs['tiny@test/seed0'].status
        assert fresh.state == 'not run' and 'val.txt' in fresh.reasons[0]
    finally:
        (world / 'elsewhere.txt').rename(away)


def test_code_counts_without_its_comments(monkeypatch, done, world):
    from vita_mm.harness.run import inputs
    out = done[0] / 'out'
    plain = inputs.digest_code
    monkeypatch.setattr(inputs, 'digest_code', lambda *given: dict(
        plain(*given), **{'vita_mm/models/common/vision.py': 'other'}))
    plan = make_plan(world, out)
    assert {run.status.state for run in plan.runs.values()} == {'stale'}
    assert 'code changed: vita_mm/models/common/vision.py' in next(
        iter(plan.runs.values())).status.reasons
    assert set(states(world, out, trust_code=True).values()) == {'done'}


def test_optimizer_states_are_gone_and_weights_are_not(done):
    """What the manifest names is there, as it was trained, and loads."""
    trained = 0
    for path in (done[0] / 'out/runs').glob('*/seed0'):
        folder = RunFolder(path)
        assert folder.result.precision == 'float32'
        if 'acc/top1' not in folder.result.metrics:
            trained += 1
            assert list((path / 'work').glob('*.pth')) == [path / 'work/weights.pth']
            assert folder.weights == path / 'work/weights.pth'
            assert digest_file(folder.weights) == folder.result.weights.sha256
            assert set(read_tensors(folder.weights)) == {'meta', 'state_dict'}
    assert trained == 2


def test_a_suite_that_was_moved_keeps_its_weights(done, tmp_path):
    """No path in a result is absolute."""
    shutil.copytree(done[0] / 'out' / 'runs', tmp_path / 'elsewhere')
    for name in ('tiny', 'tiny@test', 'tiny@views'):
        weights = RunFolder(tmp_path / 'elsewhere' / name / 'seed0').weights
        assert weights.resolve() == tmp_path / 'elsewhere/tiny/seed0/work/weights.pth'
        assert weights.is_file()


def test_weights_that_were_swapped_are_not_evaluated(done, world, tmp_path):
    """The digest of the training is compared before and after the evaluation."""
    folder = RunFolder(tmp_path / 'seed0')
    shutil.copytree(done[0] / 'out' / 'runs' / 'tiny' / 'seed0', folder.path)
    content = read_tensors(folder.weights)
    for tensor in content['state_dict'].values():
        tensor.add_(1)
    torch.save(content, folder.weights)
    config = Config.fromfile(done[0] / 'out/runs/tiny@test/seed0/config.py')
    with pytest.raises(UserError, match='weights.pth is not what was trained'):
        execute.test(config, folder)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_numbers(done, world, tmp_path):
    moments = random.Random(0)
    for _ in range(5):
        process = start(RUN, '--suite', world / 'suite.yaml', '--out', 'out',
                        cwd=tmp_path)
        time.sleep(moments.uniform(2, 14))
        kill(process)
    tool(tmp_path, world)
    assert numbers(tmp_path) == numbers(done[0])


@pytest.mark.slow
def test_a_training_goes_on_from_its_checkpoint(done, world, tmp_path):
    out = tmp_path / 'out'
    shutil.copytree(done[0] / 'out', out)
    folder = out / 'runs' / 'tiny' / 'seed0'
    shutil.rmtree(folder)
    process = start(RUN, '--suite', world / 'suite.yaml', '--out', 'out', '--only',
                    'ladder/full', cwd=tmp_path)
    wait_for(folder / 'work' / 'epoch_1.pth')
    kill(process)
    for path in folder.glob('work/epoch_[23].pth'):
        path.unlink()
    tool(tmp_path, world, '--only', 'ladder/full')
    _, resumed, rest = (folder / 'log.txt').read_text().partition('resumed epoch: 1')
    assert resumed and '[2][' in rest and '[1][' not in rest  # not trained again
    assert numbers(tmp_path) == numbers(done[0])


@pytest.mark.slow  # test_sweep has it without processes
def test_a_failing_row_does_not_stop_the_others(done, world, tmp_path):
    """In processes of their own; what is done already stays."""
    shutil.copytree(done[0] / 'out', tmp_path / 'out')
    shutil.copyfile(done[0] / 'mlflow.db', tmp_path / 'mlflow.db')
    shutil.rmtree(tmp_path / 'out/runs/tiny@test')
    suite = (world / 'suite.yaml').read_text().replace(
        '      full: {label', f'''      broken:
        label: broken
        train: {world}/tiny.py
        override: {{model.backbone.local_condition: nothing}}
      full: {{label''', 1)
    (tmp_path / 'suite.yaml').write_text(suite)
    said = ablations(tmp_path, tmp_path, '--only', 'ladder/*', '--jobs', 2, code=1)
    assert 'failed' in said and 'local_condition' in said
    broken, = (RunFolder(path).result for path in
               tmp_path.glob('out/runs/*condition*/seed0') if '@' not in str(path))
    assert broken.state == 'failed' and 'local_condition' in broken.last_lines[-1]
    page = (tmp_path / 'out/report/report.md').read_text()
    assert 'failed' in page
    evaluated = 'out/runs/tiny@test/seed0'
    assert numbers(tmp_path)[evaluated] == numbers(done[0])[evaluated]


def test_a_second_sweep_on_the_folder_refuses(world, tmp_path):
    (tmp_path / 'out').mkdir()
    holder = subprocess.Popen(
        [sys.executable, '-c', 'import fcntl, os, time\n'
         f'file = open({str(tmp_path / "out" / "lock")!r}, "w")\n'
         'fcntl.lockf(file, fcntl.LOCK_EX)\nprint(os.getpid(), file=file, flush=True)\n'
         'print(flush=True)\ntime.sleep(60)'], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        said = ablations(tmp_path, world, code=2)
        assert 'another call works on' in said and str(holder.pid) in said
    finally:
        holder.kill()
        holder.wait()


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists() and path.stat().st_size:
            return
        time.sleep(0.1)
    raise AssertionError(f'{path} never came')


@pytest.mark.slow
def test_two_machines_share_a_run(done, world, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    shared = dict(MASTER_ADDR='127.0.0.1', PORT=str(port))
    command = [RUN, '--suite', world / 'suite.yaml', '--out', 'out', '--only',
               'ladder/full', '--launcher', 'pytorch', '--gpus', 1, '--nodes', 2]
    second = start(*command, cwd=tmp_path, NODE_RANK='1', **shared)
    try:
        first = run(*command, cwd=tmp_path, NODE_RANK='0', **shared)
        assert first.returncode == 0, first.stdout
        assert second.wait(60) == 0
    finally:
        kill(second)
    result = RunFolder(tmp_path / 'out/runs/tiny/seed0').result
    assert result.environment['env.world_size'] == '2'
    one, two = (read_predictions(place / 'out/runs/tiny@test/seed0/predictions.npz')
                for place in (done[0], tmp_path))
    assert one['', ''].video.tolist() == two['', ''].video.tolist()
    assert one['', ''].rank.tolist() == two['', ''].rank.tolist()
    assert numbers(tmp_path) == {
        key: value for key, value in numbers(done[0]).items() if key in (
            'out/runs/tiny/seed0', 'out/runs/tiny@test/seed0')}


@pytest.mark.slow
def test_ctrl_c_stops_the_runs(world, tmp_path):
    process = start(RUN, '--suite', world / 'suite.yaml', '--out', 'out', cwd=tmp_path)
    wait_for(tmp_path / 'out' / 'runs' / 'tiny' / 'seed0' / 'log.txt')
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert 'interrupted' in process.stdout.read()
    assert states(world, tmp_path / 'out')['tiny/seed0'] == 'interrupted'
    lock(tmp_path / 'out/runs/tiny/seed0/lock', 'it still runs').close()


@pytest.mark.parametrize('change, words', [
    (('title: Ladder', 'titel: Ladder'), "unknown field 'titel'"),
    (('rows: [plain, full]', 'rows: [plain, none]'), "'none', which is not there"),
    (('label: plain', 'label: plain\n        cells: {top9: {}}'), "no column 'top9'"),
    (('compared: order', 'compared: maybe'), 'compared is one of'),
    (('kind: rising', 'kind: falling'), 'known are rising'),
    (('kind: rising', 'kind: saturates'), 'needs one of its rows as "at"'),
    (('title: Ladder', 'title: Ladder\n    figure: {kind: pie}'), 'known are lines'),
])
def test_a_mistake_in_a_suite_is_one_sentence(world, tmp_path, change, words):
    path = tmp_path / 'suite.yaml'
    path.write_text((world / 'suite.yaml').read_text().replace(*change))
    with pytest.raises(UserError, match=words):
        read_suite(str(path))
    with pytest.raises(UserError, match='say mini, paper'):
        read_suite('nothing')


def test_a_pattern_that_fits_nothing_is_refused(world, tmp_path):
    with pytest.raises(UserError, match='fits no row'):
        make_plan(world, tmp_path / 'out').select('table9/*')


def test_an_option_that_is_none_is_refused(world, tmp_path):
    with pytest.raises(UserError, match='backbone is a dict'):
        make_plan(world, tmp_path / 'out', options={'model.backbone': 3})


def test_a_stale_result_is_set_aside_not_lost(tmp_path):
    folder = RunFolder(tmp_path / 'runs' / 'a' / 'seed0')
    folder.path.mkdir(parents=True)
    folder.finish(seed=0, metrics=dict(top1=0.5), seconds=1)
    folder.set_aside(tmp_path / 'stale' / 'a' / 'seed0')
    kept, = (tmp_path / 'stale').glob('a/seed0-*')
    assert RunFolder(kept).result.metrics == dict(top1=0.5) and not folder.path.exists()


@pytest.mark.parametrize('processes, batch, steps', [(1, 32, 8), (8, 32, 1), (16, 16, 1)])
def test_the_clips_of_a_step_do_not_depend_on_the_processes(processes, batch, steps):
    config = Config(dict(
        auto_scale_lr=dict(base_batch_size=256), optim_wrapper=dict(),
        train_dataloader=dict(batch_size=32)))
    divide_batch(config, processes)
    assert config.train_dataloader.batch_size == batch
    assert config.optim_wrapper.get('accumulative_counts', 1) == steps
    with pytest.raises(UserError, match='cannot be divided'):
        divide_batch(config, 7)


@pytest.mark.parametrize('scaling', [None, dict(enable=False)])
def test_a_config_without_a_total_keeps_its_batch(scaling):
    config = Config(dict(train_dataloader=dict(batch_size=32), optim_wrapper=dict()))
    if scaling:
        config.auto_scale_lr = scaling
    divide_batch(config, 1)
    assert config.train_dataloader.batch_size == 32
    divide_batch(config, 4)
    assert config.train_dataloader.batch_size == 8
    assert 'accumulative_counts' not in config.optim_wrapper


def types(entries):
    return [entry['type'] for entry in entries]


def test_anyones_config_is_tracked_and_leaves_checkpoints_that_load():
    """One of MMAction2's own, one that says nothing, and ours, which needs nothing."""
    manifest = Manifest(name='a/seed0', seed=0, suite='mine', parent=dict(experiment='x'),
                        inputs=dict(config={}, code={}, data={}, clip={}))
    stock = Config.fromfile(MMACTION / '_base_' / 'default_runtime.py')
    ours = Config.fromfile(ROOT / 'configs/_base_/runtime.py')
    hooks = types(ours.custom_hooks)
    for config in (stock, Config(), ours):
        for _ in range(2):
            equip(config, manifest)
        *_, tracking = config.visualizer.vis_backends
        assert tracking == dict(type='MLflowTracking', parent=dict(experiment='x'),
                                tags=dict(suite='mine', run='a/seed0'))
        assert types(config.visualizer.vis_backends).count('MLflowTracking') == 1
        assert {'ExactResumeHook', 'TrackingHook'} <= set(types(config.custom_hooks))
        assert config.default_hooks.checkpoint.save_best is None
    assert types(stock.visualizer.vis_backends) == ['LocalVisBackend', 'MLflowTracking']
    assert stock.visualizer.type == 'ActionVisualizer'
    assert types(ours.custom_hooks) == hooks
