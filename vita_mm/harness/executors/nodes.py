"""Runs that span several machines, by torchrun.

The same command is started on every machine, with NODE_RANK (0, 1, …), MASTER_ADDR
and PORT set as for ``vita-mm train --gpus``, and the suite's folder on a disk they share.
The machine with rank 0 decides what runs and tells the others; they start their part of
each job.
"""
import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path

from torch.distributed import TCPStore

from vita_mm.cli.distributed import between_machines
from vita_mm.errors import UserError

from .jobs import Job, Outcome
from .local import LocalExecutor, LocalHandle

END = 'end'
PATIENCE = timedelta(seconds=20)


def node_rank() -> int:
    return int(os.environ.get('NODE_RANK', 0))


def open_store(nodes: int) -> TCPStore:
    """The store through which the first machine tells the others what to start."""
    host = os.environ.get('MASTER_ADDR')
    if not host:
        raise UserError('--nodes needs NODE_RANK, MASTER_ADDR and PORT on each machine')
    port = int(os.environ.get('PORT', 29500)) + 1  # torchrun itself takes PORT
    try:
        return TCPStore(host, port, world_size=None, is_master=node_rank() == 0,
                        wait_for_workers=False, timeout=timedelta(minutes=10))
    except RuntimeError as error:
        raise UserError(f'machine {node_rank()} does not reach {host}:{port}: '
                        f'{str(error).splitlines()[0]}') from error


class NodesExecutor(LocalExecutor):
    """Runs one job at a time on several machines; this one is the first.

    Args:
        nodes: machines.
        gpus: processes on each.
    """

    def __init__(self, nodes: int, gpus: int) -> None:
        super().__init__(1, gpus)
        self.nodes = nodes
        self.devices = nodes * gpus
        self.store = open_store(nodes)
        self.count = 0

    def submit(self, jobs: list[Job]) -> list[LocalHandle]:
        for job in jobs:
            if node_rank() == 0:
                self.store.set(f'job{self.count}', json.dumps(
                    dict(folders=[str(path) for path in job.folders],
                         timeout=job.timeout)))
            self.count += 1
        return super().submit(jobs)

    def meeting(self) -> list[str]:
        return between_machines(self.nodes)

    def close(self) -> None:
        """Let the other machines go."""
        self.store.set(f'job{self.count}', json.dumps(END))
        for rank in range(1, self.nodes):
            try:
                self.store.wait([f'left{rank}'], PATIENCE)
            except RuntimeError:  # it is gone already
                pass


def follow(nodes: int, gpus: int) -> int:
    """Start the parts of this machine until the first one says that all is done."""
    executor = NodesExecutor(nodes, gpus)
    while True:
        asked = wait_for(executor.store, f'job{executor.count}')
        if asked == END:
            executor.store.set(f'left{node_rank()}', '')
            return 0
        print(f'job {executor.count}: {" ".join(asked["folders"])}', flush=True)
        folders = asked['folders']
        job = Job(folders, asked['timeout'],
                  Path(folders[0], f'log_node{node_rank()}.txt'))
        handle, = executor.submit([job])
        try:
            outcome = wait(handle)
        except BaseException:
            executor.stop([handle])
            raise
        if outcome.message:
            print(outcome.message, flush=True)


def wait(handle: LocalHandle) -> Outcome:
    while (outcome := handle.poll()) is None:
        try:
            handle.process.wait(1)
        except subprocess.TimeoutExpired:
            pass
    return outcome


def wait_for(store: TCPStore, key: str):
    """The content of a key, whenever it comes.

    Raises:
        UserError: if the first machine is gone.
    """
    while True:
        try:
            store.wait([key], PATIENCE)
            return json.loads(store.get(key))
        except RuntimeError as error:
            if 'timeout' not in str(error).lower():
                raise UserError('the first machine has ended or does not answer'
                                ) from error
