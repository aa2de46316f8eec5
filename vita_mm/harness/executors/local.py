"""Jobs as processes of this machine, with or without torchrun."""
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from vita_mm.cli.distributed import ALONE, torchrun
from vita_mm.engine.runs import die_with_parent
from vita_mm.errors import UserError

from .jobs import Job, Outcome

GRACE = 20  # seconds from SIGTERM to SIGKILL
EXECUTE = 'vita_mm.harness.run.execute'


class LocalHandle:
    """A job that runs: a process group of its own."""

    def __init__(self, job: Job, slot: int, command: list[str], env: dict) -> None:
        self.job = job
        self.slot = slot
        self.deadline = time.monotonic() + job.timeout
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, 'ab') as log:
            # Were this process killed, the job must not go on without it: the next
            # sweep starts it again.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
                start_new_session=True, preexec_fn=die_with_parent)

    def poll(self) -> Outcome | None:
        code = self.process.poll()
        if code is None and time.monotonic() > self.deadline:
            self.cancel()
            return Outcome(124, f'stopped after {self.job.timeout:.0f} s, its timeout')
        if code is None:
            return None
        self._signal(signal.SIGKILL)  # what it may have left behind
        return Outcome(code, describe(code))

    def cancel(self) -> None:
        """Ask it to stop, then make it."""
        self.ask()
        self.end()

    def ask(self) -> None:
        """Ask it to stop, once: a second signal would disturb what it does to end."""
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait for what was asked to stop, then make it."""
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


class LocalExecutor:
    """Runs jobs side by side on this machine.

    Args:
        jobs: how many at once; None for one on each GPU (or group of ``gpus``), or on
            each CPU core where there is none.
        gpus: processes of a job; 0 for one process without torchrun.
    """
    interval = 0.2  # seconds between two looks at the jobs

    def __init__(self, jobs: int | None = None, gpus: int = 0) -> None:
        self.gpus = gpus
        present, each = torch.cuda.device_count(), max(1, gpus)
        if present and each > present:
            raise UserError(f'--gpus {gpus}: this machine has {present}')
        cores = len(os.sched_getaffinity(0))
        self.jobs = jobs or (present // each if present else max(1, cores // each))
        given = os.environ.get('CUDA_VISIBLE_DEVICES')
        names = given.split(',') if given else [str(name) for name in range(present)]
        self.gpu_slots = [','.join(names[slot * each:(slot + 1) * each])
                          for slot in range(present // each)]
        self.devices = self.jobs * each
        self.threads = max(1, cores // (self.jobs * each))
        self.running: list[LocalHandle] = []

    def free(self) -> int:
        self.running = [handle for handle in self.running
                        if handle.process.returncode is None]
        return self.jobs - len(self.running)

    def submit(self, jobs: list[Job]) -> list[LocalHandle]:
        handles = []
        for job in jobs:
            used = {handle.slot for handle in self.running}
            slot = next(slot for slot in range(self.jobs) if slot not in used)
            handle = LocalHandle(job, slot, self.command(job), self.environment(slot))
            self.running.append(handle)
            handles.append(handle)
        return handles

    def adopt(self, job: Job) -> None:
        """No job outlives the sweep that started it."""

    def stop(self, handles: list[LocalHandle]) -> None:
        for handle in handles:
            handle.ask()
        for handle in handles:
            handle.end()

    def close(self) -> None:
        """Nothing is held."""

    def command(self, job: Job) -> list[str]:
        folders = [str(folder) for folder in job.folders]
        if not self.gpus:
            return [sys.executable, '-m', EXECUTE, *folders]
        return torchrun(self.gpus, ['--module', EXECUTE, *folders,
                                    '--launcher', 'pytorch'], self.meeting())

    def meeting(self) -> Sequence[str]:
        """How the processes of a job find each other, see :func:`torchrun`."""
        return ALONE

    def environment(self, slot: int) -> dict:
        env = dict(os.environ, OMP_NUM_THREADS=str(self.threads), PYTHONUNBUFFERED='1')
        if self.gpu_slots:
            env['CUDA_VISIBLE_DEVICES'] = self.gpu_slots[slot % len(self.gpu_slots)]
        return env


def describe(code: int) -> str:
    """An exit code in words."""
    if code == 0:
        return ''
    if code < 0:
        return f'killed by {signal.Signals(-code).name}'
    return f'ended with exit code {code}'
