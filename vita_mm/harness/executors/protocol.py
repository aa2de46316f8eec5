"""What a sweep hands to an executor, what it gets back, and what an executor is.

``LocalExecutor``, ``NodesExecutor`` and ``SlurmExecutor`` fulfil this; so may a class of
one's own, for a sweep uses nothing else: see docs/results.md.
"""
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from vita_mm.errors import UserError

EXECUTE = 'vita_mm.harness.run.execute'


@dataclass(frozen=True)
class Job:
    """Runs that are executed one after the other.

    Attributes:
        folders: of the runs, in this order.
        timeout: seconds for all of them.
        log: file for what is printed before the first run has its own log.
    """
    folders: list[Path]
    timeout: float
    log: Path


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its exit code, and last words if that is not 0."""
    code: int
    message: str


class Handle(Protocol):
    """A job that was started or queued; hashable."""

    def poll(self) -> Outcome | None:
        """How it ended; None as long as it has not. Returns at once."""

    def cancel(self) -> None:
        """Stop it; it has left its folders when this returns."""


H = TypeVar('H', bound=Handle)


class Executor(Protocol[H]):
    """Starts jobs and says how they end.

    A job is ``python -m vita_mm.harness.run.execute FOLDER...``, by whatever means: it
    writes all results into the folders, and may be started again where it was stopped.

    Attributes:
        interval: seconds between two polls of the jobs.
        devices: how many work at the same time, for estimates; 0 if that is not known.
    """
    interval: float
    devices: int

    def free(self) -> int:
        """How many more jobs it takes now."""
        ...

    def submit(self, jobs: list[Job]) -> Sequence[H]:
        """Start or queue at most ``free()`` jobs; their handles in the same order.

        Raises:
            UserError: if it does not take them.
        """
        ...

    def adopt(self, job: Job) -> H | None:
        """A job of an earlier sweep that is still queued or at work on one of these
        runs; None if there is none, or no job outlives its sweep."""

    def stop(self, handles: Sequence[H]) -> None:
        """Cancel jobs side by side."""

    def close(self) -> None:
        """Give back what it holds; no job is left by now."""


def load_executor(name: str) -> Callable[..., Executor]:
    """The class that ``MODULE:CLASS`` names, of the current folder or installed.

    Raises:
        UserError: if there is none.
    """
    module, _, attribute = name.partition(':')
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f'--executor {name}: expected MODULE:CLASS of a module that can '
                        f'be imported here: {error}') from error
