"""Checkpoints of other projects that hold their settings as objects of yacs.

The training code of X-CLIP and of ViFi-CLIP saves its ``CfgNode`` beside the tensors,
which torch's safe unpickler refuses. Here such a file is read with a table of the few
names that it needs; a ``CfgNode`` becomes a plain dictionary, and no code of the file
runs.
"""
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from vita_mm.errors import UserError

from .checkpoints import check_size, read_tensors

SETTINGS = ('yacs.config', 'CfgNode')


class Settings(dict):
    """Stands for a ``CfgNode``."""


KNOWN = {
    SETTINGS: Settings, ('collections', 'OrderedDict'): OrderedDict,
    ('builtins', 'set'): set, ('__builtin__', 'set'): set,
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor_v2,
    ('torch._utils', '_rebuild_parameter'): _rebuild_parameter}


class KnownUnpickler(pickle.Unpickler):
    """Knows the names in ``KNOWN`` alone, beside torch's storages."""

    def find_class(self, module: str, name: str):
        try:
            return KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}') from None


READER = SimpleNamespace(__name__=__name__, Unpickler=KnownUnpickler)


def read_foreign(path: str | Path) -> dict:
    """As :func:`vita_mm.io.checkpoints.read_tensors`, with settings of yacs too."""
    path = Path(path)
    try:
        check_size(path)
        foreign = zipfile.is_zipfile(path) and holds_settings(path)
    except UserError:
        raise
    except Exception:  # damaged or absent, as is said below
        foreign = False
    if not foreign:
        return read_tensors(path)
    try:
        content = torch.load(path, map_location='cpu', weights_only=False,
                             pickle_module=READER)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f'{path} is not loaded: it is damaged, or holds more than '
                        f'tensors, plain values and settings of yacs ({error})'
                        ) from error
    if not isinstance(content, dict):
        raise UserError(f'{path} is not a checkpoint: it holds no dictionary')
    return content


def holds_settings(path: Path) -> bool:
    """Whether an archive of torch's holds objects of yacs; none of TorchScript does.

    Raises:
        ValueError, zipfile.BadZipFile: if it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        # torch would compile what is beside such constants.
        if any(name.endswith('constants.pkl') for name in names):
            return False
        for name in names:
            if name.endswith('data.pkl'):
                with archive.open(name) as file:
                    return any(
                        code.name == 'GLOBAL' and argument == ' '.join(SETTINGS)
                        for code, argument, _ in pickletools.genops(file))
    return False
