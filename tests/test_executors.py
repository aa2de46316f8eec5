"""What a sweep depends on of executors, and how jobs of this machine run and end."""
import inspect
import sys
import time

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
from in_process import Ended, InProcess

from vita_mm.errors import UserError
from vita_mm.harness.executors import local, nodes, slurm
from vita_mm.harness.executors.local import LocalExecutor
from vita_mm.harness.executors.protocol import (
    EXECUTE,
    Executor,
    Handle,
    Job,
    Outcome,
    load_executor,
)


def members(protocol):
    return {name: value for name, value in vars(protocol).items()
            if inspect.isfunction(value) and not name.startswith('_')}


@pytest.mark.parametrize('protocol, kind', [
    *((Executor, kind) for kind in (
        LocalExecutor, nodes.NodesExecutor, slurm.SlurmExecutor, InProcess)),
    *((Handle, kind) for kind in (local.LocalHandle, slurm.SlurmHandle, Ended))])
def test_all_executors_fulfil_the_protocol(protocol, kind):
    asked = members(protocol)
    assert asked
    for name, method in asked.items():
        given = getattr(kind, name)
        assert list(inspect.signature(given).parameters) == list(
            inspect.signature(method).parameters), f'{kind.__name__}.{name}'
    for name in getattr(protocol, '__annotations__', {}):
        assert hasattr(kind, name) or f'self.{name} = ' in inspect.getsource(kind), name


def test_an_executor_of_ones_own_is_loaded(tmp_path, monkeypatch):
    (tmp_path / 'my_queue.py').write_text('class Mine:\n    pass\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    assert load_executor('my_queue:Mine').__name__ == 'Mine'
    for name in ('my_queue:Other', 'no_queue:Mine', 'my_queue', ':Mine'):
        with pytest.raises(UserError, match=f'--executor {name}: expected MODULE:CLASS'):
            load_executor(name)


SCRIPT = """
import pathlib, signal, sys, time
def stop(*_):
    print('stopped', flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
print('started', flush=True)
time.sleep({seconds})
sys.exit({code})
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Function: the handle of a job whose process does as little as that."""
    executor = LocalExecutor(jobs=2)

    def submit(seconds=0, code=0, timeout=60):
        monkeypatch.setattr(executor, 'command', lambda job: [
            sys.executable, '-S', '-c', SCRIPT.format(seconds=seconds, code=code)])
        job = Job([tmp_path / f'run{len(executor.running)}'], timeout,
                  tmp_path / f'log{len(executor.running)}.txt')
        handle, = executor.submit([job])
        return executor, handle

    return submit


def wait(handle):
    while (outcome := handle.poll()) is None:
        time.sleep(0.01)
    return outcome


def wait_for(log, text):
    while text not in log.read_text():
        time.sleep(0.01)


def test_how_a_job_ended_is_said(start):
    executor, well = start()
    _, badly = start(code=4)
    assert executor.free() == 0
    assert wait(well) == Outcome(0, '')
    assert wait(badly) == Outcome(4, 'ended with exit code 4')
    assert executor.free() == 2 and executor.adopt(well.job) is None
    assert badly.job.log.read_text() == 'started\n'


def test_a_job_that_takes_too_long_is_stopped(start):
    _, handle = start(seconds=60, timeout=0.5)
    assert wait(handle) == Outcome(124, 'stopped after 0 s, its timeout')


def test_jobs_are_stopped_side_by_side(start):
    executor, first = start(seconds=60)
    _, second = start(seconds=60)
    for handle in (first, second):
        wait_for(handle.job.log, 'started')
    executor.stop([first, second])
    for handle in (first, second):
        assert handle.process.returncode == 3
        assert handle.job.log.read_text() == 'started\nstopped\n'


def test_a_job_executes_its_folders(tmp_path):
    job = Job([tmp_path / 'a', tmp_path / 'b'], 1, tmp_path / 'log')
    command = LocalExecutor().command(job)
    assert command[1:] == ['-m', EXECUTE, str(tmp_path / 'a'), str(tmp_path / 'b')]


def test_each_job_has_gpus_of_its_own(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 5)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '2,3,5,6,7')
    executor = LocalExecutor(gpus=2)
    assert executor.free() == 2
    assert [executor.environment(slot)['CUDA_VISIBLE_DEVICES'] for slot in (0, 1)] == [
        '2,3', '5,6']
    with pytest.raises(UserError, match='this machine has 5'):
        LocalExecutor(gpus=6)
