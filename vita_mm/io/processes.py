"""What the processes of a distributed run do for each other."""
from datetime import timedelta

import torch.distributed
from mmengine.dist import get_world_size

PATIENCE = timedelta(days=1)


def wait_for_all() -> None:
    """Return when all processes have come here, however long that takes.

    The first one may read all videos of a dataset meanwhile, for hours: the time limit of
    the run's own collectives, minutes, is for processes that have died.
    """
    if get_world_size() > 1:
        group = torch.distributed.new_group(backend='gloo', timeout=PATIENCE)
        assert isinstance(group, torch.distributed.ProcessGroup)
        torch.distributed.barrier(group)
        torch.distributed.destroy_process_group(group)
