"""Several processes by torchrun, whose command line is put together here alone.

On one machine nothing need be set. On several, NNODES, NODE_RANK (0, 1, …), MASTER_ADDR
and PORT (29500) are, on each of them, and the same command is given everywhere.
"""
import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ALONE = ('--standalone', )


def torchrun(processes: int, target: Sequence[str], meeting: Sequence[str] = ALONE
             ) -> list[str]:
    """The command that runs something in several processes.

    Args:
        processes: on this machine.
        target: a script, or ``--module`` and a name, with the arguments.
        meeting: options by which the processes find each other.
    """
    return [sys.executable, str(FOLDER / 'launch.py'), *meeting,
            '--nproc_per_node', str(processes), *target]


def between_machines(nodes: int) -> list[str]:
    """How the processes of several machines find each other, see the module.

    Raises:
        KeyError: if MASTER_ADDR is not set.
    """
    return ['--nnodes', str(nodes), '--node_rank', os.environ.get('NODE_RANK', '0'),
            '--master_addr', os.environ['MASTER_ADDR'],
            '--master_port', os.environ.get('PORT', '29500')]


def start(verb: str, arguments: Sequence[str], args: argparse.Namespace,
          parser: argparse.ArgumentParser) -> None:
    """Become torchrun, for what the ``--gpus`` of a verb asks for."""
    if args.launcher != 'none':
        parser.error(f'--gpus starts the processes itself: leave out --launcher '
                     f'{args.launcher}')
    nodes = os.environ.get('NNODES', '1')
    if not nodes.isdecimal() or nodes == '0':
        parser.error(f'NNODES is the number of machines, not {nodes!r}')
    if nodes != '1' and not os.environ.get('MASTER_ADDR'):
        parser.error('with NNODES set MASTER_ADDR too: the name of the first machine')
    target = [str(FOLDER / 'main.py'), verb, *arguments, '--launcher', 'pytorch']
    command = torchrun(args.processes, target,
                       ALONE if nodes == '1' else between_machines(int(nodes)))
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    os.execv(command[0], command)
