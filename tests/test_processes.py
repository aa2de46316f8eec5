"""Processes wait for the first one longer than their collectives would."""
import time
from datetime import timedelta

import vita_mm  # noqa: F401
import torch.distributed
import torch.multiprocessing
from vita_mm.io.processes import wait_for_all


def work(rank, store):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2,
        timeout=timedelta(seconds=2))
    if rank == 0:
        time.sleep(5)  # as if it read videos
    wait_for_all()
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_the_first_may_take_longer_than_a_collective(tmp_path):
    torch.multiprocessing.start_processes(
        work, (tmp_path / 'store',), nprocs=2, start_method='fork')


def test_a_single_process_waits_for_nobody():
    wait_for_all()
