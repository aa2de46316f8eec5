"""Run what a plan still needs: start jobs, watch them, record what fails."""
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from pydantic import Field
from rich.console import Console
from rich.text import Text

from vita_mm.errors import describe_os_error, printable
from vita_mm.harness.executors.protocol import Executor, Handle, Job, Outcome

from .estimate import Estimates, say_time
from .folder import ABSENT, INTERRUPTED, STALE
from .plan import Plan, Run, chains
from .records import SCHEMA, Manifest, Record
from .result import DONE, FAILED


class Settings(Record):
    """``sweep.json`` in a suite's folder: what the next call takes if it says nothing."""
    version: Literal[1] = Field(default=1, alias=SCHEMA, description='of this form: 1')
    seeds: int = Field(description='how many trainings each row that trains has, or more '
                       'where it asks for them')
    options: dict = Field(default={},
                          description='overrides of every config, by dotted key')


class Sweep:
    """Works through the runs of a plan.

    Args:
        plan: whose folders are written.
        executor: starts jobs.
        parent: journal header of the MLflow run that all runs are part of.
        console: where progress is told.
        ended: called when a job has ended.
    """

    def __init__(self, plan: Plan, executor: Executor, parent: dict | None,
                 console: Console, ended: Callable[[], None] = lambda: None) -> None:
        self.plan = plan
        self.executor = executor
        self.parent = parent
        self.console = console
        self.ended = ended
        self.estimates = Estimates(plan)
        self.failed: dict[str, str] = {}
        self.left: dict[str, Run] = {}
        self.total = 0

    def run(self, runs: list[Run]) -> dict[str, str]:
        """Do what is not done of these runs.

        Returns:
            Name to reason of what failed.
        """
        self.total = sum(not run.done for run in runs)
        self.left = {run.name: run for run in runs if not run.done}
        for run in self.plan.runs.values():  # of calls that did not get to it
            self._prune(run)
        waiting = deque(sorted(chains(runs), key=self.estimates.of_all, reverse=True))
        going: dict[Handle, list[Run]] = {}
        try:
            while waiting or going:
                self._start(waiting, going)
                for handle in list(going):
                    outcome = handle.poll()
                    self._tell_done(going[handle])
                    if outcome is not None:
                        rest = self._end(going.pop(handle), outcome)
                        if rest:
                            waiting.appendleft(rest)
                time.sleep(self.executor.interval)
        except BaseException:
            self.executor.stop(list(going))
            raise
        return self.failed

    def _start(self, waiting: deque, going: dict) -> None:
        """Give the executor as many jobs as it takes."""
        chosen = []
        while waiting and len(chosen) < self.executor.free():
            chain = [run for run in waiting.popleft() if self._ready(run)]
            if chain:
                chosen.append(chain)
        jobs = [Job([run.folder.path.resolve() for run in chain],
                    self.plan.suite.timeout * len(chain), chain[0].folder.log)
                for chain in chosen]
        fresh = []
        for chain, job in zip(chosen, jobs):
            handle = self.executor.adopt(job)
            if handle is not None and self._is_wanted(chain[0]):
                going[handle] = chain
                self._say('goes on', chain[0], 'as started by an earlier call')
                continue
            if handle is not None:
                handle.cancel()
            for run in chain:
                self._create(run)
            fresh.append((chain, job))
        if fresh:
            handles = self.executor.submit([job for _, job in fresh])
            going.update(zip(handles, [chain for chain, _ in fresh]))

    def _ready(self, run: Run) -> bool:
        """Whether it can be run; what cannot is recorded."""
        if run.inputs.missing:
            self._fail(run, run.inputs.missing, record=False)
            return False
        if run.trained is not None and run.trained.name in self.failed:
            self._fail(run, f'needs {run.trained.name}, which failed', record=False)
            return False
        return True

    def _is_wanted(self, run: Run) -> bool:
        """Whether a job that is at work does what is wanted now."""
        status = run.folder.status(run.inputs, self.plan.trust_code)
        return status.state == INTERRUPTED

    def _create(self, run: Run) -> None:
        """Write what is asked for into the folder; what another run left goes aside."""
        if run.status.state in (STALE, ABSENT):
            run.folder.set_aside(self.plan.out / 'stale' / run.name)
        run.folder.create(run.config, Manifest.of(
            run.spec, self.plan.suite.name, self.parent))

    def _tell_done(self, chain: list[Run]) -> None:
        """Say which runs of a job are done by now."""
        for run in chain:
            result = run.folder.result if run.name in self.left else None
            if result is not None and result.state == DONE:
                self.plan.refresh(run)
                del self.left[run.name]
                self._say('done', run, f'in {say_time(result.seconds or 0)}')

    def _end(self, chain: list[Run], outcome: Outcome) -> list[Run]:
        """Record how a job ended; returns those of its runs that it did not get to."""
        self._tell_done(chain)
        rest = [run for run in chain if run.name in self.left]
        # An adopted job may have been started for fewer runs.
        partly = outcome.code == 0 and len(rest) < len(chain)
        if rest and not partly:
            # They are executed in order: the first that is not done broke the job.
            self._fail(rest.pop(0), outcome.message or 'ended without a result')
        self._prune(chain[0].trained or chain[0])
        try:
            self.ended()
        except OSError as error:
            self._print(f'not published for now: {describe_os_error(error)}')
        return [run for run in rest if self._ready(run)]

    def _prune(self, run: Run) -> None:
        """Remove the checkpoints of a training that nothing needs any more."""
        if not run.trains or not self.plan.is_used_up(run):
            return
        try:
            run.folder.prune()
        except OSError as error:
            self._print(f'old checkpoints of {run.name} stay: '
                        + describe_os_error(error))

    def _fail(self, run: Run, why: str, record: bool = True) -> None:
        """Note a failure, in the run's folder as well if that can be written."""
        if record:
            run.status.state, run.status.reasons = FAILED, [why]
            try:
                run.folder.path.mkdir(parents=True, exist_ok=True)
                run.folder.fail(why)
            except OSError as error:
                why = f'{why} (not recorded: {describe_os_error(error)})'
        self.failed[run.name] = why
        self.left.pop(run.name, None)
        lines = run.folder.last_lines() if record else []
        self._say('failed', run, '\n  '.join([why, *lines[-3:]]))

    def _say(self, event: str, run: Run, text: str) -> None:
        number = self.total - len(self.left)
        left = self.executor.devices and (
            self.estimates.of_all(list(self.left.values())) / self.executor.devices)
        first, *lines = text.split('\n')
        first += f', about {say_time(left)} left' if left else ''
        self._print(f'[{number}/{self.total}] ', event,
                    '\n'.join([f' {run.name} {first}', *lines]))

    def _print(self, *parts: str) -> None:
        """What runs say goes to the console as it is: it is no markup."""
        text = Text.assemble(*((part, 'red' if part == 'failed' else '')
                               for part in map(printable, parts)))
        self.console.print(text, soft_wrap=True)
