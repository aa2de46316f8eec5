"""Jobs on a real Slurm cluster of one node: they run, are preempted, found again."""
import re
import subprocess
import sys
import time

import pytest
import slurm_cluster
import world
from vita_mm.errors import UserError
from vita_mm.harness.executors import slurm
from vita_mm.harness.executors.protocol import Job, Outcome
from vita_mm.harness.executors.slurm import SlurmExecutor
from vita_mm.harness.run.folder import RunFolder

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(
    bool(slurm_cluster.missing()),
    reason=f'needs {", ".join(slurm_cluster.missing())} (Debian: slurm-wlm, munge)')]

# In the place of vita_mm.harness.run.execute: counts to the number in "steps", a step
# each half second, and goes on where it was stopped.
RUNS = """
import os, signal, sys, time
from pathlib import Path
def stop(*_):
    # Slurm's signal and that of the task may both arrive.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(130)
def count(folder):
    done = folder / 'done'
    first = int(done.read_text()) if done.exists() else 0
    print('from', first, *sys.argv[-2:], os.environ['SLURM_PROCID'], flush=True)
    for step in range(first, int((folder / 'steps').read_text())):
        time.sleep(0.5)
        (folder / 'next').write_text(str(step + 1))
        (folder / 'next').replace(done)
    if (folder / 'fails').exists():
        print('last words', flush=True)
        sys.exit(3)
signal.signal(signal.SIGTERM, stop)
try:
    count(Path(sys.argv[1]))
    print('ended', flush=True)
except SystemExit as end:
    if end.code == 130:
        print('stopped', flush=True)
    raise
"""


@pytest.fixture(scope='module', autouse=True)
def cluster(tmp_path_factory):
    with slurm_cluster.cluster(tmp_path_factory.mktemp('slurm') / 'cluster'):
        yield


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Function: an executor whose jobs count; all are cancelled in the end."""
    monkeypatch.setattr(slurm, 'REFRESH', 0.5)
    monkeypatch.setattr(slurm, 'PATIENCE', 2)
    script = tmp_path / 'runs.py'
    script.write_text(RUNS)

    def build(nodes=1, gpus=0, jobs=2, **options):
        executor = SlurmExecutor(tmp_path, nodes, gpus, jobs, options)
        executor.command = [sys.executable, str(script)]
        return executor

    yield build
    slurm_cluster.cancel_all()


@pytest.fixture
def make_job(tmp_path):
    """Function: a job that counts to ``steps`` in a folder of its own."""

    def make(name, steps=1, timeout=60):
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'steps').write_text(str(steps))
        return Job([folder], timeout, folder / 'log.txt')

    return make


def wait(handle):
    outcomes = []
    wait_until(lambda: outcomes.append(handle.poll()) or outcomes[-1])
    return outcomes[-1]


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, slurm_cluster.answer('squeue', '-r')
        time.sleep(0.1)


def wait_for_step(job, number=1):
    """Wait until a job has counted so far."""
    done = job.folders[0] / 'done'
    wait_until(lambda: done.exists() and int(done.read_text()) >= number)


def preempt():
    """Take the whole node for a moment; returns once the other job is at work."""
    seen = subprocess.run(
        ['srun', '--partition', 'high', '--exclusive',
         'squeue', '--noheader', '--array', '--format', '%T',
         '--partition', 'low,grace'],
        capture_output=True, text=True, check=True, timeout=60)
    return seen.stdout.split()


def test_jobs_of_an_array_run_and_one_that_fails_says_so(start, make_job):
    jobs = [make_job('well'), make_job('badly')]
    (jobs[1].folders[0] / 'fails').touch()
    handles = start().submit(jobs)
    assert [handle.job_id.split('_')[1] for handle in handles] == ['0', '1']
    assert wait(handles[0]) == Outcome(0, '')
    assert wait(handles[1]) == Outcome(3, 'ended with exit code 3')
    assert jobs[0].log.read_text() == 'from 0 --launcher none 0\nended\n'
    assert jobs[1].log.read_text().endswith('last words\n')


@pytest.mark.slow
@pytest.mark.parametrize('partition', ['low', 'grace'])
def test_preempted_job_goes_on(start, make_job, partition):
    """With and without a grace time, in which ending would be final."""
    job = make_job('job', steps=8)
    handle, = start(partition=partition).submit([job])
    wait_for_step(job, 2)
    assert preempt() in (['PENDING'], ['REQUEUED'])
    assert handle.poll() is None
    assert wait(handle) == Outcome(0, '')
    lines = job.log.read_text().splitlines()
    assert lines[:2] == ['from 0 --launcher none 0', 'stopped']
    assert int(lines[2].split()[1]) >= 2
    assert lines[3:] == ['ended']


@pytest.mark.slow
def test_warning_signal_requeues_until_the_timeout(start, make_job):
    """The signal that Slurm sends before its time limit, sent by hand."""
    job = make_job('job', steps=200, timeout=8)
    handle, = start().submit([job])
    for number in range(2):
        wait_for_step(job, 2 * number + 2)
        subprocess.run(['scancel', '--signal', 'USR2', handle.job_id], check=True)
        wait_until(lambda number=number: job.log.read_text().count('stopped') > number)
    outcome = wait(handle)
    assert outcome == Outcome(124, 'stopped after 8 s, its timeout')
    assert job.log.read_text().count('from') == 3
    steps = int((job.folders[0] / 'done').read_text())
    assert 8 <= steps <= 16  # of half a second: the seconds of all three add up


def test_later_sweep_finds_the_job(start, make_job):
    job = make_job('first', steps=6)
    job.folders.append(job.folders[0].parent / 'second')
    assert start().adopt(job) is None
    handle, = start().submit([job])
    rest = Job(job.folders[1:], job.timeout, job.log)
    adopted = start().adopt(rest)  # the first run is done, say
    assert adopted.job_id == handle.job_id
    wait_for_step(job, 1)
    assert start().adopt(job).job_id == handle.job_id
    assert wait(adopted) == Outcome(0, '')
    assert start().adopt(job) is None


def test_cancelled_job_is_gone(start, make_job):
    job = make_job('job', steps=200)
    executor = start()
    handle, = executor.submit([job])
    wait_for_step(job)
    executor.stop([handle])
    assert slurm_cluster.answer('squeue', '--noheader') == ''
    assert job.log.read_text().endswith('stopped\n')
    assert executor.adopt(job) is None
    outcome = wait(handle)
    assert outcome.code == 1 and '(Slurm state CANCELLED)' in outcome.message


def test_process_that_fails_ends_the_others(start, make_job):
    job = make_job('job', steps=1)
    executor = start(ntasks_per_node=2)
    script = job.folders[0] / 'runs.py'
    script.write_text('import os, sys, time\n'
                      'print(sys.argv[-2:], flush=True)\n'
                      'time.sleep(1)\n'
                      'sys.exit(5) if os.environ["SLURM_PROCID"] == "1" else '
                      'time.sleep(100)\n')
    executor.command = [sys.executable, str(script)]
    handle, = executor.submit([job])
    assert wait(handle) == Outcome(5, 'ended with exit code 5')
    assert slurm_cluster.answer('squeue', '--noheader') == ''
    assert job.log.read_text().count("['--launcher', 'slurm']") == 2


@pytest.mark.parametrize('options, words', [
    ({'partitoin': 'low'}, "unknown option 'partitoin'"),
    ({'time': 'long'}, 'time=long: expected a whole number')])
def test_wrong_option(start, options, words):
    with pytest.raises(UserError, match=words):
        start(**options)


def test_refused_job(start, make_job):
    with pytest.raises(UserError, match='[Ii]nvalid partition'):
        start(partition='other').submit([make_job('job')])


def test_no_slurm(monkeypatch, tmp_path):
    with monkeypatch.context() as here:
        here.setenv('PATH', str(tmp_path))
        with pytest.raises(UserError, match='there is no sbatch here'):
            SlurmExecutor(tmp_path, nodes=1, gpus=0)


SUITE = """
title: tiny
compared: order
timeout: 200
override:
  train_cfg.max_epochs: 6
  train_dataloader.num_workers: 0
  val_dataloader.num_workers: 0
  test_dataloader.num_workers: 0
tables:
  ladder:
    title: Ladder
    columns: {{top1: {{title: Top-1}}}}
    rows:
      some:
        label: some prompts
        train: {config}
        override: {{model.backbone.summary: false}}
      all: {{label: all prompts, train: {config}}}
"""


@pytest.mark.slow
def test_preempted_suite_has_the_numbers_of_an_undisturbed_one(tmp_path):
    """Both trainings are preempted after their first checkpoint."""
    suite = tmp_path / 'suite.yaml'
    suite.write_text(SUITE.format(config=world.write_world(tmp_path / 'world', 16, 9)))
    command = ['benchmarks/run_ablations.py', 'run', '--suite', suite, '--out']
    process = world.start(*command, 'preempted', '--launcher', 'slurm', '--gpus', 0,
                          '--slurm', 'partition=low', cwd=tmp_path)
    try:
        wait_until(lambda: {path.parts[-4] for path in tmp_path.glob(
            'preempted/runs/*/seed0/work/epoch_*.pth')} == {
                'tiny', 'tiny,summary=False'}, seconds=120)
        assert preempt() == 2 * ['PENDING']
        output, _ = process.communicate(timeout=200)
    finally:
        world.kill(process)
    assert process.returncode == 0, output
    undisturbed = world.run(*command, 'undisturbed', cwd=tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stdout
    for name in ('tiny', 'tiny,summary=False'):
        log = tmp_path / 'preempted' / 'runs' / name / 'seed0' / 'log.txt'
        assert re.search(r'resumed epoch: [1-5],', log.read_text())
        for run in (name, f'{name}@test'):
            here, there = [
                RunFolder(tmp_path / out / 'runs' / run / 'seed0').result.metrics
                for out in ('preempted', 'undisturbed')]
            assert here and here == there
