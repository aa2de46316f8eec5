"""A verb on several processes of this machine."""
import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def command_of(verb: str, arguments: list[str], processes: int) -> list[str]:
    """The command line that does what a verb does under torchrun."""
    return [sys.executable, str(FOLDER / 'launch.py'), '--standalone', '--nproc_per_node',
            str(processes), str(FOLDER / 'main.py'), verb, *arguments,
            '--launcher', 'pytorch']


def environment() -> dict[str, str]:
    """For that command: one thread a process, unless the user says otherwise."""
    return {'OMP_NUM_THREADS': '1', **os.environ}
