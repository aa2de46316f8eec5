"""Every shim that the pinned libraries need, each with the version that ends it.

:func:`apply` runs when ``vita_mm`` is imported, before torchvision or MMAction2 are.
"""
import importlib.util
import sys
import types
import warnings
from pathlib import Path

import torch


def declare_torchvision_ops():
    """Let PyPI's torchvision import beside a CPU build of torch.

    PyPI ships torchvision linked against CUDA only. Its operators then do not load,
    and ``import torchvision`` stops at ``operator torchvision::nms does not exist``.
    None of them is on our path, so their declaration is enough. Unnecessary once
    PyPI's torchvision imports beside a CPU torch
    (https://github.com/pytorch/vision/issues/9085).
    """
    spec = importlib.util.find_spec('torchvision')
    if spec is None:
        return
    try:
        torch.ops.load_library(str(Path(spec.origin).with_name('_C.so')))
    except OSError:
        for name in ('nms', 'qnms'):
            torch.library.define(
                f'torchvision::{name}',
                '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')


def provide_missing_localizer():
    """Stand in for the package that MMAction2 1.2.0's wheel forgot.

    ``mmaction.models.localizers`` imports ``.drn.drn``, which is not in the wheel.
    Unnecessary with MMAction2 > 1.2.0
    (https://github.com/open-mmlab/mmaction2/issues/2714).
    """
    spec = importlib.util.find_spec('mmaction')
    localizers = Path(spec.origin).parent / 'models' / 'localizers'
    if (localizers / 'drn').exists():
        return
    package = types.ModuleType('mmaction.models.localizers.drn')
    package.__path__ = []
    module = types.ModuleType('mmaction.models.localizers.drn.drn')
    module.DRN = type('DRN', (), {})
    sys.modules.setdefault(package.__name__, package)
    sys.modules.setdefault(module.__name__, module)


def quiet_mmcv_lite():
    """mmcv-lite warns at every import that it lacks an operator nobody here uses."""
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformable')


def apply():
    """Apply all shims; safe to call more than once."""
    quiet_mmcv_lite()
    if 'torchvision' not in sys.modules:
        declare_torchvision_ops()
    provide_missing_localizer()
