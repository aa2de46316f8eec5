"""Jobs of a Slurm cluster, through submitit."""
import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vita_mm.errors import UserError
from vita_mm.harness.run.records import Record

from .local import GRACE, describe
from .protocol import EXECUTE, Job, Outcome

REFRESH = 5  # seconds between two calls of squeue
PATIENCE = 15  # seconds that a shared file system may take to show a result
CANCELLED = 60  # seconds until what was cancelled is taken for gone
MARGIN = 5  # minutes of the time limit that libraries and the warning signal need
MOST = 1000  # jobs of an array; Slurm's MaxArraySize is 1001 unless it is configured
REQUEUES = 10**6  # no bound: a job counts its own seconds
TIMEOUT = 124
# Slurm keeps a job that it will start again in none of them.
ENDED = {'BOOT_FAIL', 'CANCELLED', 'COMPLETED', 'DEADLINE', 'FAILED', 'NODE_FAIL',
         'OUT_OF_MEMORY', 'PREEMPTED', 'REVOKED', 'TIMEOUT'}
NUMBERS = ('time', 'nodes', 'ntasks_per_node', 'cpus_per_task', 'array_parallelism',
           'signal_delay_s')
LISTS = ('setup', 'teardown', 'srun_args')


class Task:
    """What Slurm starts, once for each process of a job.

    It watches the process of the runs: its exit code is the result, and when Slurm
    wants the machine back the runs are stopped before the job is queued again. They go
    on from their checkpoint then.

    Args:
        command: of the runs.
        log: where their output goes.
        seconds: that they may take.
    """

    def __init__(self, command: list[str], log: Path, seconds: float) -> None:
        self.command = command
        self.log = log
        self.seconds = seconds
        self.process = None

    def __call__(self) -> int:
        self.start = time.monotonic()
        signal.signal(signal.SIGTERM, self._leave)
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=environment(), preexec_fn=ignore_warning)
        try:
            code = self.process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            self._stop()
            return TIMEOUT
        if code:
            # Slurm signals all processes of a job, this one maybe a moment later. Runs
            # that it stopped have not failed.
            time.sleep(1)
        return code

    def checkpoint(self):
        """What submitit queues after its warning signal: the rest of the runs."""
        from submitit.helpers import DelayedSubmission
        self._stop()
        left = self.seconds - (time.monotonic() - self.start)
        return DelayedSubmission(Task(self.command, self.log, left))

    def _leave(self, *_) -> None:
        """On SIGTERM, by which Slurm cancels or preempts: end without a result."""
        from submitit import JobEnvironment
        self._stop()
        job = JobEnvironment()
        while (state := (find_states('--jobs', job.job_id) or {}).get(job.job_id)) in (
                'RUNNING', None):
            # Running means that it is preempted, but within a grace time. If it ended
            # by itself now, Slurm would not queue it again.
            if state is not None and job.global_rank == 0:
                subprocess.run(['scontrol', 'requeue', job.job_id])
            time.sleep(1)
        sys.exit(128 + signal.SIGTERM)

    def _stop(self) -> None:
        """Ask the runs to stop, then make them."""
        if self.process is None:
            return
        # Twice, for Python drops the exception of a handler that runs inside of a
        # destructor or of what happens around a fork.
        for _ in range(2):
            self.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + GRACE / 2
            while not has_ended(self.process.pid) and time.monotonic() < deadline:
                time.sleep(0.1)
        self.process.kill()


class Queued(Record):
    """``slurm.json`` in a run's folder: the job of Slurm that executes it.

    Attributes:
        job_id: Slurm's, such as ``17_0`` in an array.
        folder: of submitit's files.
        tasks: number of its processes.
    """
    job_id: str
    folder: str
    tasks: int


class SlurmHandle:
    """A job in Slurm's queue.

    Args:
        job: what it executes.
        queue: where its state is looked up.
        queued: which one it is.
    """

    def __init__(self, job: Job, queue: 'Queue', queued: Queued) -> None:
        self.job = job
        self.queue = queue
        self.queued = queued
        self.job_id, self.folder, self.tasks = (
            queued.job_id, queued.folder, queued.tasks)
        self.missing_since = None

    def note(self) -> None:
        """Let later sweeps find the job, whichever of its runs they still need."""
        for folder in self.job.folders:
            self.queued.write(folder / 'slurm.json')

    def poll(self) -> Outcome | None:
        state = self.queue.state(self.job_id)
        outcomes = self.outcomes()
        failed = [outcome for outcome in outcomes if outcome.code]
        if failed and len(outcomes) < self.tasks and state not in ENDED:
            self.cancel()  # the others may wait for the one that failed
        if failed or len(outcomes) == self.tasks:
            self._refresh()
            return failed[0] if failed else Outcome(0, '')
        if state is not None and state not in ENDED:
            self.missing_since = None
            return None
        self._refresh()
        self.missing_since = self.missing_since or time.monotonic()
        if time.monotonic() - self.missing_since < PATIENCE:
            return None
        return Outcome(1, 'the job ended without a result (Slurm state '
                          f'{state or "unknown"}), see {self.folder}')

    def outcomes(self) -> list[Outcome]:
        """Of those processes of the job that have ended by themselves."""
        from submitit.core.utils import JobPaths, pickle_load
        found = []
        for task in range(self.tasks):
            try:
                kind, result = pickle_load(
                    JobPaths(self.folder, self.job_id, task).result_pickle)
            except (FileNotFoundError, EOFError):
                continue
            if kind == 'error':
                found.append(Outcome(1, result.strip().splitlines()[-1]))
            elif result == TIMEOUT:
                found.append(Outcome(
                    TIMEOUT, f'stopped after {self.job.timeout:.0f} s, its timeout'))
            else:
                found.append(Outcome(result, describe(result)))
        return found

    def cancel(self) -> None:
        cancel([self])

    def _refresh(self) -> None:
        """Make NFS show the files that other machines wrote."""
        for folder in (Path(self.folder), *self.job.folders):
            with contextlib.suppress(OSError):
                folder.chmod(folder.stat().st_mode)


class SlurmExecutor:
    """Runs jobs on a Slurm cluster.

    Args:
        out: folder of the suite, on a file system that all nodes share.
        nodes: of a job.
        gpus: processes on each node, with a GPU each; 0 for one process (or the option
            ``ntasks_per_node``) without GPUs.
        jobs: how many of those submitted together run at once; None for no limit.
        options: more of submitit's parameters for Slurm, such as ``partition``,
            ``account`` or ``qos``; ``time`` in minutes if it is to be less than the
            timeout: runs are then queued again until they have had that.

    Raises:
        UserError: if there is no Slurm or no submitit here, or an option is unknown.
    """
    interval: float = 1  # seconds between two polls of the jobs

    def __init__(self, out: Path, nodes: int, gpus: int, jobs: int | None = None,
                 options: dict | None = None) -> None:
        if shutil.which('sbatch') is None:
            raise UserError('there is no sbatch here: start this where jobs of a Slurm '
                            'cluster are submitted, or use --launcher none')
        try:
            import submitit
        except ImportError:
            raise UserError('jobs are handed to Slurm by submitit: '
                            "pip install -e '.[slurm]'") from None
        self.jobs = jobs or MOST
        self.command = [sys.executable, '-m', EXECUTE]
        self.queue = Queue()
        self.options = check_options(
            options or {}, submitit.SlurmExecutor._valid_parameters())
        parameters: dict[str, Any] = dict(
            job_name='vita_mm', nodes=nodes, ntasks_per_node=max(1, gpus),
            gpus_per_node=gpus or None,
            array_parallelism=self.jobs, stderr_to_stdout=True)
        parameters.update(self.options)
        if 'cpus_per_task' in parameters:
            # srun has not taken it over from sbatch since Slurm 22.05.
            parameters['srun_args'] = [f'--cpus-per-task={parameters["cpus_per_task"]}',
                                       *parameters.get('srun_args', [])]
        self.tasks = parameters['nodes'] * parameters['ntasks_per_node']
        self.devices = self.tasks
        self.submitit = submitit.SlurmExecutor(
            Path(out).resolve() / 'slurm', max_num_timeout=REQUEUES)
        self.submitit.update_parameters(**parameters)

    def free(self) -> int:
        """Slurm itself makes jobs wait."""
        return MOST

    def submit(self, jobs: list[Job]) -> list[SlurmHandle]:
        """Queue jobs as one array.

        Raises:
            UserError: if sbatch refuses them.
        """
        import cloudpickle
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        # Tasks then do without this package, whose imports take seconds and memory.
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        limit = math.ceil(max(job.timeout for job in jobs) / 60) + MARGIN
        self.submitit.update_parameters(time=self.options.get('time', limit))
        tasks = []
        for job in jobs:
            job.log.parent.mkdir(parents=True, exist_ok=True)
            tasks.append(Task(self._command(job), job.log.resolve(), job.timeout))
        try:
            submitted = self.submitit.submit_array(tasks)
        except (FailedJobError, FailedSubmissionError) as error:
            raise UserError(f'Slurm does not take the jobs: {error}') from error
        handles = [SlurmHandle(job, self.queue, Queued(
            job_id=entry.job_id, folder=str(self.submitit.folder), tasks=self.tasks))
            for job, entry in zip(jobs, submitted)]
        self.devices = max(self.devices, self.tasks * min(self.jobs, len(jobs)))
        for handle in handles:
            handle.note()
        return handles

    def adopt(self, job: Job) -> SlurmHandle | None:
        """The job of an earlier sweep that is queued or at work on one of the runs."""
        for folder in job.folders:
            queued = Queued.read(folder / 'slurm.json')
            if queued is None:
                continue
            handle = SlurmHandle(job, self.queue, queued)
            state = self.queue.state(handle.job_id)
            if state is not None and state not in ENDED and not handle.outcomes():
                return handle
        return None

    def stop(self, handles: Sequence[SlurmHandle]) -> None:
        cancel(handles)

    def close(self) -> None:
        """Nothing is held."""

    def _command(self, job: Job) -> list[str]:
        return [*self.command, *map(str, job.folders),
                '--launcher', 'slurm' if self.tasks > 1 else 'none']


class Queue:
    """States of the user's jobs."""

    def __init__(self) -> None:
        self.states: dict[str, str] | None = None
        self.refreshed = -math.inf

    def state(self, job_id: str) -> str | None:
        """The state of a job; None if Slurm does not know it."""
        if time.monotonic() - self.refreshed > REFRESH:
            self.refresh()
        return 'UNKNOWN' if self.states is None else self.states.get(job_id)

    def refresh(self) -> None:
        """Ask Slurm; if that fails, the old states stand."""
        self.states = find_states('--user', str(os.getuid())) or self.states
        self.refreshed = time.monotonic()


def find_states(*which: str) -> dict[str, str] | None:
    """States of jobs by their ids; None if Slurm does not answer.

    squeue also shows jobs that ended some minutes ago; sacct would not do, for it needs
    an accounting database, which not every cluster has.
    """
    asked = subprocess.run(
        ['squeue', '--noheader', '--array', '--states', 'all', '--format', '%i %T',
         *which], capture_output=True, text=True)
    if asked.returncode:
        return None
    return dict(line.split() for line in asked.stdout.splitlines())


def cancel(handles: Sequence[SlurmHandle]) -> None:
    """Cancel jobs, and wait until they have left their folders."""
    if not handles:
        return
    queue, going = handles[0].queue, {handle.job_id for handle in handles}
    subprocess.run(['scancel', *going], capture_output=True)
    deadline = time.monotonic() + CANCELLED
    while going and time.monotonic() < deadline:
        time.sleep(1)
        queue.refresh()
        going = {job_id for job_id in going
                 if queue.state(job_id) not in ENDED | {None}}


def check_options(options: dict, known: set[str]) -> dict:
    """Options as submitit wants them.

    Raises:
        UserError: if one is unknown or has a wrong value.
    """
    checked = {}
    for name, value in options.items():
        if name not in known:
            raise UserError(f'--slurm: unknown option {name!r}; known are '
                            + ', '.join(sorted(known)))
        if name in NUMBERS:
            try:
                value = int(value)
            except (TypeError, ValueError):
                raise UserError(f'--slurm {name}={value}: expected a whole number'
                                ) from None
        if name in LISTS and isinstance(value, str):
            value = [value]
        elif name not in LISTS and isinstance(value, list):
            value = ','.join(map(str, value))
        checked[name] = value
    return checked


def environment() -> dict:
    """Of the runs: ports and threads that do not get in the way of other jobs."""
    job = int(os.environ['SLURM_JOB_ID'])
    return {'OMP_NUM_THREADS': os.environ.get('SLURM_CPUS_PER_TASK', '1'),
            **os.environ, 'PYTHONUNBUFFERED': '1',
            'MASTER_PORT': str(12000 + job % 18000)}


def ignore_warning() -> None:
    """Slurm sends its warning to all processes; only the task may act on it."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def has_ended(pid: int) -> bool:
    """Whether a child has ended.

    Inside of a signal handler, Popen cannot tell: it may hold its lock.
    """
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None
    except ChildProcessError:
        return True
