"""The precision of a run's arithmetic: one key of its config, for all that it does.

What each value means, what configs take and why: docs/precision.md.
"""
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from vita_mm.errors import UserError

from .optim import AutocastOptimWrapper


class Precision(NamedTuple):
    """How torch and MMEngine are told of a precision.

    Attributes:
        wrapper: the optimizer wrapper.
        autocast: type of the matrix products under ``torch.autocast``; None for none.
        tf32: whether products of float32 are rounded to TF32 on the way.
        a100_tflops: peak of an A100 in such products, without sparsity (NVIDIA's data
            sheet); estimates of GPU hours assume 40 % of it.
    """
    wrapper: type[OptimWrapper]
    autocast: torch.dtype | None
    tf32: bool
    a100_tflops: float


PRECISIONS = dict(
    float32=Precision(OptimWrapper, None, False, 19.5),
    tf32=Precision(OptimWrapper, None, True, 156),
    bfloat16=Precision(AutocastOptimWrapper, torch.bfloat16, False, 312),
    # In this one alone gradients may vanish: the wrapper scales the loss.
    float16=Precision(AmpOptimWrapper, torch.float16, False, 312))
LOOPS = ('val_cfg', 'test_cfg')
MIXED = (AutocastOptimWrapper, AmpOptimWrapper, ApexOptimWrapper)


def apply_precision(config: Config) -> None:
    """Have a run compute in its config's ``precision``; float32 where it has none.

    A config without the key that says in MMEngine's own words, by the optimizer
    wrapper's type or a loop's ``fp16``, that something is cast, is taken at these words.

    Sets the optimizer wrapper's type, ``fp16`` of the validation and test loops, which
    is MMEngine's name for autocast of any type, and torch's switches, which hold for the
    process. All else that the config says of them stays.

    Raises:
        UserError: if there is no such precision, this machine does not compute in it, or
            the config says otherwise in another place.
    """
    if 'precision' not in config and casts(config):
        check_wrapper(config)
        set_tf32(False)
        return
    name = config.get('precision', 'float32')
    if name not in list(PRECISIONS):
        raise UserError(f'there is no precision {name!r}: take '
                        + ', '.join(PRECISIONS))
    check_device(name)
    config.precision = name
    precision = PRECISIONS[name]
    if config.get('optim_wrapper'):
        set_wrapper(config.optim_wrapper, name)
    for key in LOOPS:
        loop = config.get(key)
        if not loop:
            continue
        if precision.autocast:
            loop.fp16 = True
        elif loop.get('fp16'):
            raise contradiction(f'{key}.fp16=True', name)
    set_tf32(precision.tf32)
    if precision.autocast:
        # What MMEngine's loops autocast to.
        torch.set_autocast_dtype(get_device(), precision.autocast)


def casts(config: Config) -> bool:
    """Whether a config says in MMEngine's own words that something is cast."""
    wrapper = (config.get('optim_wrapper') or {}).get('type')
    return (wrapper in ('AmpOptimWrapper', 'ApexOptimWrapper')
            or any((config.get(key) or {}).get('fp16') for key in LOOPS))


def check_wrapper(config: Config) -> None:
    """Refuse MMEngine's wrapper of float16 on a processor, for which it is not made."""
    wrapper = (config.get('optim_wrapper') or {}).get('type')
    if wrapper == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise UserError("optim_wrapper.type='AmpOptimWrapper' needs a GPU: on this "
                        "machine say 'OptimWrapper', and precision='bfloat16' or "
                        "'float32'")


def set_tf32(allowed: bool) -> None:
    # These setters keep torch's older and newer (>= 2.9) names of the switches in step;
    # after the newer ones alone, reading the older ones raises. cuDNN's is on by default.
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def check_device(name: str) -> None:
    """Refuse what this machine would compute in another precision, or not at all."""
    if name == 'float16' and get_device() == 'cpu':
        raise UserError("precision='float16' needs a GPU: on this machine take "
                        "'bfloat16' or 'float32'")
    if name == 'tf32' and not (torch.cuda.is_available()
                               and torch.cuda.get_device_capability() >= (8, 0)):
        raise UserError("precision='tf32' needs a GPU of compute capability 8.0 or more "
                        '(A100): on this machine it would be float32, so say that')


def set_wrapper(wrapper: ConfigDict, name: str) -> None:
    """Give an optimizer wrapper's config the type of a precision.

    A plain ``OptimWrapper`` gives way, and a wrapper of the user's stays where the
    optimizer has nothing to do with the precision.

    Raises:
        UserError: if it has a type that computes in another precision, or may.
    """
    wanted = PRECISIONS[name].wrapper
    kind = wrapper.get('type', OptimWrapper)
    if isinstance(kind, str):
        kind = OPTIM_WRAPPERS.get(kind)
    if kind is None:
        return  # MMEngine says which types there are
    if kind is OptimWrapper:
        wrapper.type = wanted.__name__
    elif not issubclass(kind, wanted) or \
            wanted is OptimWrapper and issubclass(kind, MIXED):
        raise contradiction(f'optim_wrapper.type={kind.__name__}', name)
    if wanted is AmpOptimWrapper:
        wrapper.setdefault('dtype', name)
        if wrapper.dtype not in (name, PRECISIONS[name].autocast):
            raise contradiction(f'optim_wrapper.dtype={wrapper.dtype}', name)


def contradiction(said: str, name: str) -> UserError:
    return UserError(f'{said} and precision={name!r} contradict each other: leave the '
                     'former out, and say in precision what to compute in ('
                     + ', '.join(PRECISIONS) + ')')
