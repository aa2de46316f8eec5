"""An executor whose jobs run in this process: no time goes into starting others.

What it is passes for one of a user's own: ``--executor in_process:InProcess``.
"""
import os
import traceback
from pathlib import Path

from vita_mm.errors import UserError
from vita_mm.harness.executors.protocol import Job, Outcome
from vita_mm.harness.run.execute import execute
from vita_mm.harness.run.folder import RunFolder
from vita_mm.io.digests import TRUST


class Ended:
    """A job that ran when it was submitted."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def poll(self) -> Outcome:
        return self.outcome

    def cancel(self) -> None:
        """There is nothing left to stop."""


class InProcess:
    interval, devices = 0.0, 1

    def __init__(self, out: Path, nodes: int, gpus: int, jobs: int | None) -> None:
        self.out = out

    def free(self) -> int:
        return 1

    def submit(self, jobs: list[Job]) -> list[Ended]:
        return [Ended(run(job)) for job in jobs]

    def adopt(self, job: Job) -> None:
        """No job outlives its sweep."""

    def stop(self, handles: list[Ended]) -> None:
        """All have ended."""

    def close(self) -> None:
        """Nothing is held."""


def run(job: Job) -> Outcome:
    trusts = os.environ.get(TRUST)
    try:
        for folder in map(RunFolder, job.folders):
            if folder.result is None:
                folder.log.write_text('in the process of a test\n')
                execute(folder, 'none')
    except Exception as error:
        with open(job.log, 'a') as log:
            traceback.print_exception(error, file=log)
        return Outcome(2, str(error) if isinstance(error, UserError) else repr(error))
    finally:
        os.environ.pop(TRUST, None)
        if trusts is not None:
            os.environ[TRUST] = trusts
    return Outcome(0, '')
