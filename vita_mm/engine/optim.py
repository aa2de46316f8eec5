"""Mixed precision on any device."""
import contextlib

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Runs the forward pass under ``torch.autocast`` in bfloat16.

    bfloat16 needs no loss scaling. MMEngine's ``AmpOptimWrapper`` (0.10.7) insists on a
    GPU; use it there for float16 with scaling.
    """

    @contextlib.contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast(
                get_device(), dtype=torch.bfloat16):
            yield
