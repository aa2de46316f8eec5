"""The sweep, with jobs made up: what they say, what they leave, and full disks."""
import errno
import io
import multiprocessing
import os
import re
import sys
import time
from types import SimpleNamespace

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
import torch
from rich.console import Console
from world import ROOT

from vita_mm.cli import suite
from vita_mm.harness.executors.protocol import Outcome
from vita_mm.harness.run.folder import RunFolder, Status
from vita_mm.harness.run.records import Inputs, RunSpec
from vita_mm.harness.run.sweep import Sweep

NOTHING = Inputs(config={}, code={}, data={}, clip={})
MESSAGE = 'broken: [/red] [rank0]: [bold]no\x1b]0;title\x07 \\'


class Executor:
    """Ends each job at once, in the way of its runs."""
    devices, interval = 0, 0

    def __init__(self, ways):
        self.ways = ways

    def free(self):
        return 1

    def adopt(self, job):
        return None

    def submit(self, jobs):
        return [Handle(job, self.ways) for job in jobs]

    def stop(self, handles):
        pass


class Handle:
    def __init__(self, job, ways):
        self.job = job
        self.outcome = ways.get(job.folders[0].name, Outcome(0, ''))

    def poll(self):
        for path in self.job.folders if self.outcome.code == 0 else []:
            RunFolder(path).finish(seconds=1)
        return self.outcome


def make_run(out, name, trained=None):
    return SimpleNamespace(
        name=name, folder=RunFolder(out / name), inputs=NOTHING, seed=0,
        trained=trained, trains=trained is None, source='c.py', done=False,
        spec=RunSpec(name=name, seed=0, inputs=NOTHING),
        status=Status('not run'), config=SimpleNamespace(
            dump=lambda path: None, get=lambda key, default=None: default))


def make_sweep(out, runs, ways=(), **more):
    """A sweep of made-up runs, and what it prints."""
    def refresh(run):
        run.done = run.folder.result.state == 'done'

    plan = SimpleNamespace(
        runs={run.name: run for run in runs}, refresh=refresh, out=out, trust_code=False,
        suite=SimpleNamespace(name='s', timeout=1, estimates={},
                              estimates_precision=None),
        is_used_up=lambda run: all(other.done for other in runs
                                   if run in (other, other.trained)))
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    return Sweep(plan, Executor(dict(ways)), None, console, **more), printed


def test_what_a_run_says_is_shown_as_it_is(tmp_path):
    runs = [make_run(tmp_path, name) for name in ('[a]', 'b')]
    sweep, printed = make_sweep(tmp_path, runs, {'[a]': Outcome(1, MESSAGE)})
    assert set(sweep.run(runs)) == {'[a]'}
    said = printed.getvalue()
    assert 'failed [a] broken: [/red] [rank0]: [bold]no' in said and '\\' in said
    assert '\x1b' not in said and '\x07' not in said
    assert 'done b' in said


def test_the_time_that_is_left_is_no_part_of_a_log(tmp_path):
    runs = [make_run(tmp_path, name) for name in 'ab']
    sweep, printed = make_sweep(tmp_path, runs, {'a': Outcome(1, 'broken')})
    sweep.executor.devices = 1
    sweep.estimates = SimpleNamespace(of_all=lambda left: 60 * len(left))
    for one in runs:
        one.folder.path.mkdir(parents=True)
        one.folder.log.write_text('error: why\n')
    sweep.run(runs)
    first, second, *_ = printed.getvalue().splitlines()
    assert re.fullmatch(r'\[1/2\] failed a broken, about .+ left', first)
    assert second.strip() == 'error: why'


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS])
def test_a_failure_that_cannot_be_recorded_is_remembered(tmp_path, monkeypatch, number):
    def full(*args):
        raise OSError(number, os.strerror(number), 'result.json')

    monkeypatch.setattr(RunFolder, 'fail', full)
    first, test, other = [make_run(tmp_path, name) for name in 'abc']
    test.trained, test.trains = first, False
    runs = [first, test, other]
    sweep, printed = make_sweep(tmp_path, runs, dict(a=Outcome(1, 'it broke')))
    failed = sweep.run(runs)
    assert failed['a'].startswith('it broke (not recorded: result.json cannot be')
    assert failed['b'] == 'needs a, which failed' and other.done
    assert first.status.state == 'failed'


def test_what_cannot_be_published_stops_nothing(tmp_path):
    def publish():
        raise OSError(errno.ENOSPC, 'No space left on device', 'journal')

    runs = [make_run(tmp_path, name) for name in 'ab']
    sweep, printed = make_sweep(tmp_path, runs, ended=publish)
    assert sweep.run(runs) == {} and all(run.done for run in runs)
    assert 'not published for now: journal cannot be' in printed.getvalue()


def leave(folder, kept, *others):
    """Files of a training that is done."""
    for name in (kept, *others):
        file = folder.work / name
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({}, file)
    folder.finish(weights=dict(path=f'work/{kept}', sha256='a' * 64))


def names(folder):
    return sorted(path.name for path in folder.work.iterdir())


def test_checkpoints_go_once_all_evaluations_are_done(tmp_path):
    training = make_run(tmp_path, 'a')
    tests = [make_run(tmp_path, name, training) for name in ('b', 'c')]
    leave(training.folder, 'weights.pth', 'epoch_1.pth', 'epoch_2.pth', 'best_x.pth',
          'last_checkpoint')
    training.done = True
    sweep, _ = make_sweep(tmp_path, [training, *tests])
    sweep.run(tests[:1])
    assert 'epoch_2.pth' in names(training.folder)
    sweep.run(tests[1:])
    assert names(training.folder) == ['weights.pth']


def test_what_the_result_names_stays(tmp_path):
    """Also of trainings of before there was a file of weights; without it all do."""
    folder = RunFolder(tmp_path)
    leave(folder, 'epoch_2.pth', 'epoch_1.pth')
    folder.prune()
    assert names(folder) == ['epoch_2.pth']
    leave(folder, 'weights.pth', 'epoch_1.pth')
    (folder.work / 'weights.pth').unlink()
    folder.prune()
    assert names(folder) == ['epoch_1.pth', 'epoch_2.pth']


SCRIPT = """
import multiprocessing, os, pathlib, runpy, time
from concurrent.futures import ProcessPoolExecutor
die_with_parent = runpy.run_path({processes!r})['die_with_parent']
def note(_):
    pathlib.Path({folder!r}, str(os.getpid())).touch()
    time.sleep(300)
with ProcessPoolExecutor(1, multiprocessing.get_context('fork'), die_with_parent) as pool:
    pool.submit(note, 0)
    note(0)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel of Linux does it')
def test_a_killed_sweep_leaves_no_builder(tmp_path):
    (tmp_path / 'pids').mkdir()
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT.format(folder=str(tmp_path / 'pids'),
                                    processes=str(ROOT / 'vita_mm/io/processes.py')))
    # What is imported is there already.
    sweep = multiprocessing.get_context('fork').Process(
        target=suite.prepare, args=(str(script), ))
    sweep.start()
    try:
        wait_until(lambda: len(list((tmp_path / 'pids').iterdir())) == 2)
        sweep.kill()
        sweep.join()
        wait_until(lambda: not any(is_alive(int(path.name))
                                   for path in (tmp_path / 'pids').iterdir()))
    finally:
        sweep.kill()


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False
