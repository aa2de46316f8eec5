"""MLflow tracking: what arrives, how runs end, and that nothing is lost or doubled.

A real MLflow store (SQLite), real MMEngine runners and, for kills, real processes.
"""
import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import numpy as np
import pytest
import torch
from vita_mm import tracking
from mlflow import MlflowClient
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from vita_mm.errors import UserError
from vita_mm.tracking.delivery import BATCH
from vita_mm.tracking.probes import digest_file, find_datasets, find_diff, find_git
from vita_mm.tracking.system import SystemMonitor

ROOT = Path(__file__).parents[1]
EPOCHS, ITERATIONS = 3, 4


class Clips(BaseDataset):
    """An annotation file of names of files, whose samples are constant."""

    def load_data_list(self):
        folder = Path(self.ann_file).parent
        return [dict(filename=str(folder / name), x=torch.ones(2))
                for name in Path(self.ann_file).read_text().split()]


class Toy(BaseModel):
    """Does what ``accident`` says in iteration 7; the last checkpoint is of 4."""

    clip_identity = dict(arch='toy', sha256='0' * 64)

    def __init__(self, accident=None):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.frozen = torch.nn.Linear(2, 3).requires_grad_(False)
        self.accident = accident
        self.calls = 0

    def forward(self, x, mode='tensor', **kwargs):
        loss = self.layer(x).pow(2).mean()
        if mode != 'loss':
            return [loss]
        self.calls += 1
        if self.accident and self.calls == 7:
            self.accident()
        return dict(loss=loss)


class Score(BaseMetric):
    default_prefix = 'acc'

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(top1=0.5, matrix=[[1, 0], [0, 1]], name='toy')


@pytest.fixture(scope='module')
def database(tmp_path_factory, empty_database):
    path = tmp_path_factory.mktemp('mlflow') / 'mlflow.db'
    shutil.copyfile(empty_database, path)
    return f'sqlite:///{path}'


@pytest.fixture
def client(database, monkeypatch):
    """MLflow, which runs of the test use by default."""
    monkeypatch.setenv('MLFLOW_TRACKING_URI', database)
    # Their number is a matter of time; one test switches them on.
    monkeypatch.setenv('MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING', 'false')
    for name in ('MLFLOW_RUN_ID', 'MLFLOW_EXPERIMENT_NAME'):
        monkeypatch.delenv(name, raising=False)
    return MlflowClient(database)


@pytest.fixture
def dead_server():
    """The address of a port that nobody listens to."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return f'http://user:hunter2@127.0.0.1:{free.getsockname()[1]}'


@pytest.fixture
def data(tmp_path):
    """An annotation file of eight videos."""
    folder = tmp_path / 'clips'
    folder.mkdir()
    names = [f'{index}.mp4' for index in range(2 * ITERATIONS)]
    for name in names:
        (folder / name).write_bytes(b'video' + name.encode())
    (folder / 'train.txt').write_text('\n'.join(names))
    return folder / 'train.txt'


def make_runner(work_dir, data, accident=None, resume=False, epochs=EPOCHS, lr=0.1,
                model=None, **tracking_options):
    loader = dict(batch_size=2, num_workers=0, dataset=Clips(str(data)),
                  collate_fn=dict(type='default_collate'),
                  sampler=dict(type='DefaultSampler', shuffle=False))
    config = dict(optimizer=dict(lr=lr), work_dir=str(work_dir))
    return Runner(
        model=model or Toy(accident), work_dir=str(work_dir), resume=resume,
        train_dataloader=loader, val_dataloader=loader, test_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs), val_cfg=dict(),
        test_cfg=dict(), val_evaluator=dict(type=Score),
        test_evaluator=dict(type=Score),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2,
                            save_best='acc/top1', rule='greater')),
        # MMEngine's own checkpoints do not load with PyTorch 2.6 or later.
        custom_hooks=[dict(type='ExactResumeHook'), dict(type='TrackingHook')],
        visualizer=dict(type='Visualizer', vis_backends=[
            dict(type='LocalVisBackend'),
            dict(type='MLflowTracking', **tracking_options)]),
        randomness=dict(seed=3), cfg=Config(config), default_scope='mmengine',
        experiment_name=f'{Path(work_dir).name}_{time.time_ns()}')


def train(runner):
    with tracking.guard(runner):
        runner.train()


def fail():
    raise ValueError('the seventh iteration went wrong')


def interrupt():
    raise KeyboardInterrupt


def find_runs(client, experiment):
    """The runs of an experiment, oldest first."""
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], order_by=['start_time ASC'])


def points(client, run, key):
    return [(metric.step, metric.value)
            for metric in client.get_metric_history(run.info.run_id, key)]


def steps(client, run, key):
    return [step for step, _ in points(client, run, key)]


def log_text(work_dir):
    return '\n'.join(path.read_text() for path in Path(work_dir).rglob('*.log'))


def read_artifact(run, path):
    return (Path(run.info.artifact_uri) / path).read_text()


# What arrives

def test_training_arrives_whole(client, tmp_path, data):
    runner = make_runner(tmp_path / 'work', data, experiment='whole', run_name='first',
                         tags={'mlflow.parentRunId': 'abc'})
    train(runner)
    run, = find_runs(client, 'whole')
    tags, params = run.data.tags, run.data.params
    assert run.info.status == 'FINISHED'
    assert run.info.run_name == 'first'
    assert tags['mlflow.parentRunId'] == 'abc'

    assert steps(client, run, 'loss') == list(range(1, EPOCHS * ITERATIONS + 1))
    assert points(client, run, 'acc/top1') == [(1, 0.5), (2, 0.5), (3, 0.5)]
    # The clock of validation does not mix with that of training.
    assert steps(client, run, 'time') == steps(client, run, 'loss')
    assert steps(client, run, 'val/time') == [1, 2, 3]

    assert params['optimizer.lr'] == '0.1'
    assert params['run.seed'] == '3'
    assert (params['run.trainable_parameters'], params['run.total_parameters']) == (
        '3', '12')
    assert 'lr=0.1' in read_artifact(run, 'config.py')

    assert tags['env.torch'] == torch.__version__
    assert tags['env.world_size'] == '1'
    assert tags['env.vita_mm'] == vita_mm.__version__
    assert tags['clip.arch'] == 'toy'
    assert 'command' in tags
    for name in ('last', 'best'):
        path = tags[f'checkpoint.{name}.path']
        assert tags[f'checkpoint.{name}.sha256'] == digest_file(path)

    inputs = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert inputs['train'].name == 'clips/train.txt'
    recorded, = find_datasets(dict(train=runner._train_loop))
    assert tags['data.train.sha256'] == recorded['digest']
    assert recorded['digest'].startswith(inputs['train'].digest)


def test_data_digest_knows_annotations_and_videos(data):
    """The one that a run records, as a training above has it."""
    def digest():
        loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=Clips(str(data))))
        found, = find_datasets(dict(train=loop))
        return found['digest']

    first = digest()
    assert digest() == first
    (data.parent / '0.mp4').write_bytes(b'another length')
    second = digest()
    (data.parent / '0.mp4').unlink()
    assert len({first, second, digest()}) == 3


def test_evaluation_is_a_run_of_its_own(client, tmp_path, data, monkeypatch):
    monkeypatch.setenv('MLFLOW_EXPERIMENT_NAME', 'evaluation')
    work_dir = tmp_path / 'work'
    runner = make_runner(work_dir, data, epochs=1)
    train(runner)
    checkpoint = work_dir / 'epoch_1.pth'
    runner = make_runner(work_dir, data)
    runner._load_from = str(checkpoint)
    with tracking.guard(runner):
        runner.test()
    trained, tested = find_runs(client, 'evaluation')
    assert [run.info.status for run in (trained, tested)] == ['FINISHED'] * 2
    assert points(client, tested, 'acc/top1') == [(0, 0.5)]
    assert tested.data.params['run.kind'] == 'test'
    assert tested.data.tags['checkpoint.path'] == str(checkpoint)
    assert tested.data.tags['checkpoint.sha256'] == digest_file(checkpoint)
    assert 'data.test.sha256' in tested.data.tags


def test_validation_alone_counts_once(client, tmp_path, data):
    runner = make_runner(tmp_path / 'work', data, experiment='validation')
    # MMEngine 0.10.7 cannot save a best checkpoint in Runner.val().
    runner._hooks = [hook for hook in runner._hooks if 'Checkpoint' not in str(hook)]
    with tracking.guard(runner):
        runner.val()
    run, = find_runs(client, 'validation')
    assert run.info.status == 'FINISHED'
    assert points(client, run, 'acc/top1') == [(0, 0.5)]


def test_default_is_sqlite_in_the_current_folder(client, tmp_path, monkeypatch,
                                                 empty_database):
    monkeypatch.delenv('MLFLOW_TRACKING_URI')
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_database, tmp_path / 'mlflow.db')
    backend = tracking.MLflowTracking('work')
    backend.add_config(Config(dict(a=1)))
    backend.add_scalar('loss', 1.0, 1)
    backend.close()
    run, = find_runs(MlflowClient(f'sqlite:///{tmp_path}/mlflow.db'), 'vita_mm')
    assert run.info.status == 'FINISHED'
    assert list((tmp_path / 'mlartifacts').rglob('config.py'))


def test_only_numbers_are_metrics(client, tmp_path):
    backend = tracking.MLflowTracking(str(tmp_path), experiment='numbers')
    for value in (1, 2.0, torch.tensor(3), torch.tensor([4.]), np.float32(5),
                  np.array(6)):
        backend.add_scalar('value', value, int(value))
    for value in ('7', None, torch.ones(2), np.ones(2), np.ones(0), [8]):
        with pytest.raises(TypeError, match='number'):
            backend.add_scalar('value', value, 9)
    backend.add_scalar('nan', float('nan'), 1)
    backend.add_scalar('odd:name (%)', 1, 1)
    backend.add_image('picture', np.zeros((4, 4, 3), np.uint8), 7)
    backend.close()
    run, = find_runs(client, 'numbers')
    assert [value for _, value in points(client, run, 'value')] == [1, 2, 3, 4, 5, 6]
    assert np.isnan(points(client, run, 'nan')[0][1])
    assert points(client, run, 'odd:name ___') == [(1, 1)]
    assert (Path(run.info.artifact_uri) / 'images/picture_7.png').stat().st_size


@pytest.fixture
def often(monkeypatch):
    """The machine is looked at often."""
    monkeypatch.setenv('MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL', '0.05')
    monkeypatch.delenv('MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING', raising=False)


def sample(tmp_path, experiment, seconds=0.5):
    """A run that does nothing but take its time."""
    backend = tracking.MLflowTracking(str(tmp_path), experiment=experiment)
    backend.start()
    time.sleep(seconds)
    backend.close()


def system_metrics(run):
    return {key for key in run.data.metrics if key.startswith('system/')}


@pytest.mark.parametrize('switch', ['false', 'False', '0'])
def test_system_metrics_can_be_switched_off(client, tmp_path, often, monkeypatch,
                                            switch):
    monkeypatch.setenv('MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING', switch)
    sample(tmp_path, f'off-{switch}', seconds=0.1)
    run, = find_runs(client, f'off-{switch}')
    assert not system_metrics(run)


def test_a_probe_that_fails_hurts_nothing_else(client, tmp_path, often, monkeypatch):
    def broken(self):
        raise OSError('no such device')

    from mlflow.system_metrics.metrics import cpu_monitor, network_monitor
    monkeypatch.setattr(cpu_monitor.CPUMonitor, 'collect_metrics', broken)
    monkeypatch.setattr(network_monitor.NetworkMonitor, '__init__', broken)
    sample(tmp_path, 'broken-probe')
    run, = find_runs(client, 'broken-probe')
    assert run.info.status == 'FINISHED'
    assert len(steps(client, run, 'system/disk_usage_percentage')) > 1
    assert not {key for key in system_metrics(run) if 'cpu' in key or 'network' in key}


@pytest.mark.parametrize('interval', ['often', '0', '-1', 'inf', 'nan'])
def test_an_interval_that_is_none_is_refused(monkeypatch, interval):
    monkeypatch.setenv('MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL', interval)
    with pytest.raises(UserError, match=f'INTERVAL={interval} is no number of seconds'):
        SystemMonitor(None, 0)


def test_unknown_arguments_are_errors():
    with pytest.raises(TypeError, match='experimnt'):
        tracking.MLflowTracking('work', experimnt='x')


def test_long_values_and_secrets_are_cut(client, tmp_path):
    backend = tracking.MLflowTracking(str(tmp_path), experiment='cut')
    backend.add_config(Config(dict(
        names=['a name'] * 2000,
        uri='http://me:hunter2@server/?api_token=hunter2&a=1')))
    backend.add_scalar('loss', 1, 1)
    backend.close()
    run, = find_runs(client, 'cut')
    assert len(run.data.params['names']) == 6000
    assert run.data.params['uri'] == 'http://server/?api_token=***&a=1'
    assert 'hunter2' not in read_artifact(run, 'config.py')
    assert read_artifact(run, 'config.py').count('a name') == 2000


def test_git_state(tmp_path):
    assert find_git(tmp_path) == {}
    assert find_diff(tmp_path) == ''
    git = ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b']
    (tmp_path / 'file').write_text('old\n')
    for command in (['init', '-q', '-b', 'trunk'], ['add', 'file'],
                    ['commit', '-qm', 'x']):
        subprocess.run(git + command, check=True)
    assert find_git(tmp_path)['git.dirty'] == 'false'
    assert find_git(tmp_path)['git.branch'] == 'trunk'
    assert find_diff(tmp_path) == ''
    (tmp_path / 'file').write_text('new\n')
    (tmp_path / 'other').write_text('untracked\n')
    assert find_git(tmp_path)['git.dirty'] == 'true'
    assert '+new' in find_diff(tmp_path) and '?? other' in find_diff(tmp_path)


# How runs end

def test_crash_is_failed(client, tmp_path, data):
    with pytest.raises(ValueError):
        train(make_runner(tmp_path / 'work', data, fail, experiment='crash'))
    run, = find_runs(client, 'crash')
    assert run.info.status == 'FAILED'
    assert 'ValueError: the seventh iteration went wrong' in run.data.tags['error']
    assert steps(client, run, 'loss') == [1, 2, 3, 4, 5, 6]


def test_interrupt_is_killed(client, tmp_path, data):
    with pytest.raises(KeyboardInterrupt):
        train(make_runner(tmp_path / 'work', data, interrupt, experiment='interrupt'))
    assert find_runs(client, 'interrupt')[0].info.status == 'KILLED'


def test_closing_after_a_crash_is_no_success(client, tmp_path, data):
    runner = make_runner(tmp_path / 'work', data, fail, experiment='closed')
    with pytest.raises(ValueError):
        runner.train()
    runner.visualizer.close()
    assert find_runs(client, 'closed')[0].info.status == 'FAILED'


def test_resume_continues_the_run(client, tmp_path, data):
    work_dir = tmp_path / 'work'
    with pytest.raises(ValueError):
        train(make_runner(work_dir, data, fail, experiment='resume'))
    train(make_runner(work_dir, data, resume=True, lr=0.05, experiment='resume',
                      model=Toy()))
    run, = find_runs(client, 'resume')
    assert run.info.status == 'FINISHED'
    assert steps(client, run, 'loss') == list(range(1, EPOCHS * ITERATIONS + 1))
    assert run.data.params['optimizer.lr'] == '0.1'
    assert run.data.tags['changed.optimizer.lr'] == '0.05'


def test_system_metrics_go_on_after_a_resume(client, tmp_path, data, monkeypatch):
    monkeypatch.setenv('MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING', 'true')
    monkeypatch.setenv('MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL', '0.05')
    train(make_runner(tmp_path / 'work', data, experiment='system', epochs=2))
    run, = find_runs(client, 'system')
    key = 'system/cpu_utilization_percentage'
    before = steps(client, run, key)
    assert before == list(range(len(before))) and before
    assert run.data.metrics['system/system_memory_usage_megabytes'] > 0
    train(make_runner(tmp_path / 'work', data, experiment='system', resume=True))
    run, = find_runs(client, 'system')
    after = steps(client, run, key)
    assert after == list(range(len(after))) and len(after) > len(before)


def test_run_id_from_the_environment(client, tmp_path, monkeypatch):
    experiment = client.create_experiment(
        'from-environment', artifact_location=str(tmp_path / 'artifacts'))
    run_id = client.create_run(experiment).info.run_id
    client.log_param(run_id, 'a', '1')
    monkeypatch.setenv('MLFLOW_RUN_ID', run_id)
    backend = tracking.MLflowTracking(str(tmp_path), experiment='elsewhere')
    backend.add_config(Config(dict(a=2)))
    backend.add_scalar('loss', 1, 1)
    backend.close()
    run = client.get_run(run_id)
    assert run.data.metrics == dict(loss=1)
    assert (run.data.params['a'], run.data.tags['changed.a']) == ('1', '2')
    assert client.get_experiment_by_name('elsewhere') is None


# Killed processes

def train_until_killed(work_dir, data):
    def accident():
        """Be killed with the current record half written."""
        backend = tracking.get_backend(runner)
        while not backend.journal.is_sent():
            time.sleep(0.05)
        with open(backend.journal.path, 'ab') as file:
            file.write(b'{"kind": "metrics", "step": 7, "val')
        os.kill(os.getpid(), signal.SIGKILL)

    runner = make_runner(work_dir, data, accident, experiment='killed')
    train(runner)


def test_sigkill_is_not_finished_and_can_be_continued(client, tmp_path, data):
    # What is imported is there already.
    child = multiprocessing.get_context('fork').Process(
        target=train_until_killed, args=(tmp_path / 'work', data))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    before, = find_runs(client, 'killed')
    assert before.info.status == 'RUNNING'
    assert steps(client, before, 'loss') == [1, 2, 3, 4, 5, 6]

    # A new training, evaluation or synchronisation elsewhere closes it; here: resume.
    train(make_runner(tmp_path / 'work', data, resume=True, experiment='killed'))
    after, = find_runs(client, 'killed')
    assert after.info.run_id == before.info.run_id
    assert after.info.status == 'FINISHED'
    assert steps(client, after, 'loss') == list(range(1, EPOCHS * ITERATIONS + 1))
    assert steps(client, after, 'acc/top1') == [1, 2, 3]


def leave_open(work_dir, uri, **header):
    """The journal of a run whose process is gone."""
    journal = tracking.Journal.create(
        work_dir / 'mlflow', 'train', experiment=work_dir.name, run_name='old',
        run_id=None, uri=uri, **header)
    journal.write('status', status='RUNNING', time=1_000)
    for step in (1, 2):
        journal.write('metrics', step=step, time=1_000 * step, values=dict(loss=step))
    journal.release()
    return journal


def test_new_start_closes_the_killed_run(client, tmp_path, data):
    work_dir = tmp_path / 'stale'
    leave_open(work_dir, 'sqlite:///elsewhere.db')
    train(make_runner(work_dir, data, epochs=1, experiment='stale'))
    old, new = sorted(find_runs(client, 'stale'),
                      key=lambda run: run.info.run_name != 'old')
    assert (old.info.status, new.info.status) == ('KILLED', 'FINISHED')
    assert points(client, old, 'loss') == [(1, 1), (2, 2)]
    assert old.info.end_time == 2_000


def test_running_process_is_left_alone(client, database, tmp_path):
    """Evaluating in the work dir of a training that goes on does not close it."""
    work_dir = tmp_path / 'busy'
    journal = leave_open(work_dir, database)
    holder = subprocess.Popen(
        [sys.executable, '-c', 'import fcntl, sys, time\n'
         f'lock = open({str(journal.folder / "lock")!r}, "w")\n'
         'fcntl.lockf(lock, fcntl.LOCK_EX)\nprint(flush=True)\ntime.sleep(60)'],
        stdout=subprocess.PIPE)
    holder.stdout.readline()
    try:
        backend = tracking.MLflowTracking(str(work_dir), experiment='busy')
        backend.add_scalar('acc', 1)
        backend.close()
        run, = find_runs(client, 'busy')
        assert run.data.metrics == dict(acc=1)
        assert tracking.sync(journal) is None
    finally:
        holder.kill()
        holder.wait()
    assert tracking.sync(journal)
    assert {run.info.status for run in find_runs(client, 'busy')} == {
        'FINISHED', 'KILLED'}


# The server is away

@pytest.fixture
def sync_tool(monkeypatch, capsys):
    """Function that runs the tool; gives its exit code, output and errors."""

    def run(uri, *work_dirs):
        capsys.readouterr()
        monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
        monkeypatch.setattr('sys.argv', ['mlflow_sync.py', *map(str, work_dirs)])
        try:
            runpy.run_path(str(ROOT / 'tools/mlflow_sync.py'), run_name='__main__')
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def test_absent_server_loses_nothing(client, database, dead_server, tmp_path, data,
                                     monkeypatch, sync_tool):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', dead_server)
    work_dir = tmp_path / 'away'
    started = time.time()
    train(make_runner(work_dir, data, experiment='away'))
    assert time.time() - started < 10
    said = re.findall('MLflow server .* does not answer; training goes on, records are '
                      'kept in .* and are sent when it is back', log_text(work_dir))
    assert len(said) == 1

    code, _, still_away = sync_tool(dead_server, work_dir)
    assert code == 2
    assert 'does not answer' in still_away.splitlines()[-1]

    code, sent, _ = sync_tool(database, work_dir)
    assert code == 0
    assert f'{work_dir}: sent' in sent
    run, = find_runs(client, 'away')
    assert run.info.status == 'FINISHED'
    assert steps(client, run, 'loss') == list(range(1, EPOCHS * ITERATIONS + 1))
    assert steps(client, run, 'acc/top1') == [1, 2, 3]

    everything = log_text(work_dir) + still_away + sent + ''.join(
        path.read_text() for path in work_dir.rglob('*.json*'))
    assert 'hunter2' not in everything


def test_sync_of_a_folder_without_journal(database, tmp_path, sync_tool):
    code, _, errors = sync_tool(database, tmp_path)
    assert code == 2
    assert f'{tmp_path} has no MLflow journal' in errors


def test_a_part_that_is_sent_before_the_whole_finds_its_place(
        client, database, dead_server, tmp_path):
    whole = tracking.MLflowTracking(str(tmp_path), 'parts', tracking_uri=dead_server)
    whole.start('zero_shot', tmp_path / 'whole', run_name='all')
    part = tracking.MLflowTracking(str(tmp_path), parent=whole.journal.header)
    part.start('test', tmp_path / 'part', run_name='one of them')
    part.add_scalar('acc', .5)
    part.close()
    whole.add_scalar('mean', .5)
    whole.close()
    tracking.sync(tracking.find_journals(tmp_path / 'whole')[0])
    runs = {run.info.run_name: run for run in find_runs(client, 'parts')}
    assert runs.keys() == {'all', 'one of them'}
    assert runs['one of them'].data.tags['mlflow.parentRunId'] == runs['all'].info.run_id
    assert runs['all'].data.metrics == {'mean': .5}
    assert runs['all'].info.status == 'FINISHED'


def test_server_coming_back_is_said_once(client, database, dead_server, tmp_path,
                                         monkeypatch):
    said = []
    monkeypatch.setattr('vita_mm.tracking.sender.print_log',
                        lambda message, *args: said.append(message))
    journal = leave_open(tmp_path / 'back', dead_server)
    delivery = tracking.Delivery(journal, dead_server)
    sender = tracking.Sender(delivery, interval=0.05, retry=0.05)
    sender.start()
    time.sleep(1)
    delivery.client, delivery.uri = MlflowClient(database), database
    while not journal.is_sent():
        time.sleep(0.05)
    sender.close(5)
    assert len(said) == 2
    assert 'does not answer' in said[0] and 'answers again' in said[1]
    assert points(client, find_runs(client, 'back')[0], 'loss') == [(1, 1), (2, 2)]


@pytest.mark.slow
def test_real_server_comes_after_the_run(dead_server, tmp_path, data, monkeypatch,
                                         sync_tool):
    uri = dead_server.replace('user:hunter2@', '')
    monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    work_dir = tmp_path / 'server'
    train(make_runner(work_dir, data, experiment='server'))
    server = subprocess.Popen(
        [sys.executable, '-m', 'mlflow', 'server', '--backend-store-uri',
         f'sqlite:///{tmp_path}/server.db', '--artifacts-destination',
         str(tmp_path / 'artifacts'), '--workers', '1', '--port', uri.rsplit(':')[-1]],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True)
    try:
        for _ in range(30):
            code, _, errors = sync_tool(uri, work_dir)
            if code == 0:
                break
            time.sleep(2)
        assert code == 0, errors
        client = MlflowClient(uri)
        run, = find_runs(client, 'server')
        assert run.info.status == 'FINISHED'
        assert steps(client, run, 'loss') == list(range(1, EPOCHS * ITERATIONS + 1))
        assert [item.path for item in client.list_artifacts(run.info.run_id)
                if item.path == 'config.py']
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


# The journal

def test_sending_twice_doubles_nothing(client, database, tmp_path):
    journal = leave_open(tmp_path / 'twice', database)
    journal.acquire()
    journal.write('metrics', step=3, time=3, values=dict(
        loss=float('nan'), third=1 / 3, huge=float('inf')))
    for step in range(BATCH + 1):  # more than one request holds
        journal.write('metrics', step=step, time=step, values=dict(many=step, x=step))
    journal.write('params', values={f'p{index}': str(index) for index in range(150)})
    journal.write('params', values=dict(p0='changed'))
    journal.write('dataset', name='d', digest='e', context='train', source='f')
    journal.write('text', path='note.txt', text='hello')
    journal.write('status', status='FINISHED', time=5)
    journal.release()
    states = []
    for _ in range(2):
        # The bookkeeping is lost.
        (journal.folder / 'sent.json').unlink(missing_ok=True)
        assert tracking.sync(journal) > BATCH
        run, = find_runs(client, 'twice')
        states.append(repr((run, [client.get_metric_history(run.info.run_id, key)
                                  for key in ('loss', 'third', 'huge', 'many', 'x')])))
    assert states[0] == states[1]
    assert len(steps(client, run, 'many')) == BATCH + 1
    assert len(run.data.params) == 150
    assert run.data.tags['changed.p0'] == 'changed'


def test_torn_line_is_dropped(client, database, tmp_path):
    journal = leave_open(tmp_path / 'torn', database)
    with open(journal.path, 'ab') as file:
        file.write(json.dumps(dict(kind='metrics', step=9, time=9)).encode()[:-5])
    assert tracking.sync(journal)
    run, = find_runs(client, 'torn')
    assert run.info.status == 'KILLED'
    assert points(client, run, 'loss') == [(1, 1), (2, 2)]


def test_refused_record_does_not_hold_up_the_rest(client, database, tmp_path):
    journal = leave_open(tmp_path / 'refused', database)
    journal.write('metrics', step=3, time=3_000, values={'bad\nkey': 1})
    journal.write('metrics', step=3, time=3_000, values=dict(loss=3))
    journal.release()
    assert tracking.sync(journal)
    run, = find_runs(client, 'refused')
    assert points(client, run, 'loss') == [(1, 1), (2, 2), (3, 3)]


def test_empty_journal_of_a_killed_start_is_ignored(client, tmp_path):
    (tmp_path / 'mlflow' / '20260101_train').mkdir(parents=True)
    assert tracking.find_journals(tmp_path) == []
    backend = tracking.MLflowTracking(str(tmp_path), experiment='empty')
    backend.add_scalar('loss', 1, 1)
    backend.close()
    assert len(find_runs(client, 'empty')) == 1
