"""Optimizers: mixed precision on any device, and weight decay tensor by tensor."""
import contextlib

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS


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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FlatDecayConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, whose ``flat_decay_mult`` holds for every tensor.

    In MMEngine (0.10.7) no other rule acts on a tensor that one of ``custom_keys`` names:
    the one-dimensional ones of a part with its own rate would keep their decay.
    ``paramwise_cfg`` is MMEngine's, and has a ``flat_decay_mult``.
    """

    def __call__(self, model: torch.nn.Module) -> OptimWrapper:
        wrapper = super().__call__(model)
        decay = self.optimizer_cfg['weight_decay'] * self.paramwise_cfg['flat_decay_mult']
        for group in wrapper.param_groups:  # with paramwise_cfg each is of one tensor
            if group['params'][0].ndim == 1:
                group['weight_decay'] = decay
        print_log('paramwise_options -- every one-dimensional tensor:'
                  f'weight_decay={decay}', logger='current')
        return wrapper
