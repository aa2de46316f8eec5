"""What a sweep hands to an executor, and what it gets back."""
from dataclasses import dataclass
from pathlib import Path


@dataclass
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


@dataclass
class Outcome:
    """How a job ended: its exit code, and last words if that is not 0."""
    code: int
    message: str
