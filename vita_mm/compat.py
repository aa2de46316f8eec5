"""Every shim that the libraries need, each with the version that ends it.

:func:`apply` runs when ``vita_mm`` is imported, before torchvision or MMAction2 are. A
shim acts only where the fault that it mends is seen.
"""
import functools
import importlib.util
import os
import sys
import types
import warnings
from pathlib import Path

import torch


def declare_torchvision_ops():
    """Let PyPI's torchvision import beside a CPU build of torch.

    PyPI ships torchvision linked against CUDA only. Its operators then do not load,
    and ``import torchvision`` stops at ``operator torchvision::nms does not exist``.
    None of them is on our path, so their declaration is enough; one that loads declares
    them itself, and a second declaration would abort the process. Unnecessary once
    PyPI's torchvision imports beside a CPU torch: 0.28.0 does not
    (https://github.com/pytorch/vision/issues/9085).
    """
    if importlib.util.find_spec('torchvision') is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if 'operator torchvision::nms does not exist' not in str(error):
            raise
        for name in [name for name in sys.modules if name.startswith('torchvision.')]:
            del sys.modules[name]
        for name in ('nms', 'qnms'):
            torch.library.define(
                f'torchvision::{name}',
                '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        import torchvision  # noqa: F401


def provide_missing_localizer():
    """Stand in for the package that MMAction2 1.2.0's wheel forgot.

    ``mmaction.models.localizers`` imports ``.drn.drn``, which is not in the wheel. Its
    import cannot be tried: a failed one leaves classes registered that a second one
    would register again. Unnecessary with MMAction2 > 1.2.0
    (https://github.com/open-mmlab/mmaction2/issues/2714).
    """
    localizers = folder_of('mmaction') / 'models' / 'localizers'
    source = localizers / '__init__.py'
    if not source.is_file() or '.drn' not in source.read_text(encoding='utf-8'):
        return
    if (localizers / 'drn').exists():
        return
    package = types.ModuleType('mmaction.models.localizers.drn')
    package.__path__ = []
    module = types.ModuleType('mmaction.models.localizers.drn.drn')
    vars(module)['DRN'] = type('DRN', (), {})
    sys.modules.setdefault(package.__name__, package)
    sys.modules.setdefault(module.__name__, module)


def quiet_mmcv_lite():
    """mmcv-lite warns at every import that it lacks an operator nobody here uses.

    A full mmcv that warns so is broken, and stays heard. Every mmcv-lite warns, to the
    last, 2.2.0.
    """
    if not any(folder_of('mmcv').glob('_ext*')):
        warnings.filterwarnings('ignore',
                                message='Fail to import ``MultiScaleDeformable')


def quiet_pkg_resources():
    """MMEngine (0.10.7) imports pkg_resources to read a config of MMAction2's, and each
    import warns. Unnecessary once MMEngine (> 0.10.7) does without it."""
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')


def keep_objects_out_of_checkpoints():
    """MMEngine's checkpoints load as tensors and plain values only, as torch reads them.

    MMEngine (0.10.7) puts objects of its log into each (``HistoryBuffer``, NumPy's
    arrays), which ``torch.load`` refuses since 2.6. Here the log is written as tensors,
    and its objects are made again on loading, from older files too. Unnecessary once
    MMEngine (> 0.10.7) does so (https://github.com/open-mmlab/mmengine/pull/1650).
    """
    from mmengine.logging import MessageHub
    from mmengine.runner.checkpoint import CheckpointLoader

    from vita_mm.io.history import pack, safe_globals, unpack

    original = MessageHub.state_dict

    @functools.wraps(original)
    def state_dict(self) -> dict:
        return pack(original(self))

    def load_from_local(filename: str, map_location):
        filename = os.path.expanduser(filename)
        if not os.path.isfile(filename):
            raise FileNotFoundError(f'{filename} can not be found.')
        with safe_globals():
            content = torch.load(filename, map_location=map_location, weights_only=True)
        return unpack(content)

    if not hasattr(original, '__wrapped__'):
        MessageHub.state_dict = state_dict
        CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)


def folder_of(package: str) -> Path:
    """Where a package is, without importing it.

    Raises:
        ModuleNotFoundError: if it is nowhere.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f'No module named {package!r}', name=package)
    return Path(spec.origin).parent


def apply():
    """Apply all shims; safe to call more than once."""
    quiet_mmcv_lite()
    quiet_pkg_resources()
    declare_torchvision_ops()
    provide_missing_localizer()
    keep_objects_out_of_checkpoints()
