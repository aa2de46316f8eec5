"""What the processes of a run do for each other, and what a parallel run wraps.

open_video.py imports this file by its path: no more than the standard library is
imported before it is needed.
"""
import ctypes
import gc
import signal
import sys
from datetime import timedelta
from typing import Any

PATIENCE = timedelta(days=1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, whatever it does then.

    torchrun gives its workers sessions of their own: were it killed by ``kill -9``, they
    would train on and write into the folder of the run that resumes.
    """
    if sys.platform == 'linux':
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def keep_imports() -> None:
    """Have the garbage collector pass over what a program has imported, from now on.

    MMEngine (0.10.7) collects garbage for each dataset that it builds, for which it looks
    at everything: two fifths of a second each.
    """
    if not gc.get_freeze_count():
        gc.freeze()


def unwrapped(model: Any) -> Any:
    """The recognizer (``nn.Module``) without its data-parallel wrapper."""
    from mmengine.model import is_model_wrapper
    return model.module if is_model_wrapper(model) else model


def wait_for_all() -> None:
    """Return when all processes have come here, however long that takes.

    The first one may read all videos of a dataset meanwhile, for hours: the time limit of
    the run's own collectives, minutes, is for processes that have died.
    """
    import torch.distributed
    from mmengine.dist import get_world_size
    if get_world_size() > 1:
        group: Any = torch.distributed.new_group(backend='gloo', timeout=PATIENCE)
        torch.distributed.barrier(group)
        torch.distributed.destroy_process_group(group)
