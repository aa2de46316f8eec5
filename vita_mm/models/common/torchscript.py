"""Weights of a TorchScript archive, such as OpenAI's own CLIP files, without its code.

``torch.jit.load`` compiles and could run what is in the archive. Here its pickle of the
module is read with a table of the few names that such a pickle needs: tensors are
rebuilt, any class of the archive becomes a plain holder of its attributes, and anything
else is refused.
"""
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor


class Holder:
    """An object of the archive: its attributes alone."""
    attributes = {}

    def __setstate__(self, state) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def is_torchscript(path: str | Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith('/constants.pkl') for name in archive.namelist())


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """All tensors of the archive's module by their dotted names, attributes included.

    Raises:
        pickle.UnpicklingError: if the archive holds anything but modules, tensors and
            plain values.
    """
    with zipfile.ZipFile(path) as archive:
        data, = (name for name in archive.namelist() if name.endswith('/data.pkl'))
        with archive.open(data) as file:
            module = ModuleUnpickler(file, archive, data.removesuffix('.pkl')).load()
    return dict(walk(module, '', set()))


class ModuleUnpickler(pickle.Unpickler):
    """Reads the pickle of a module.

    Args:
        archive: where its storages are.
        folder: their folder in it.
    """

    def __init__(self, file, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self.archive, self.folder, self.storages = archive, folder, {}

    def find_class(self, module: str, name: str):
        if module == '__torch__' or module.startswith('__torch__.'):
            return Holder
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return rebuild
        if (module, name) == ('collections', 'OrderedDict'):
            return dict
        if module == 'torch.jit._pickle':  # of lists of one type
            return lambda values, *_: values
        if module == 'torch' and name.endswith('Storage'):
            return getattr(torch, name).dtype
        raise pickle.UnpicklingError(f'it asks for {module}.{name}')

    def persistent_load(self, pid: tuple) -> Tensor:
        """A storage, as a flat tensor."""
        _, dtype, key, _, number = pid
        if key not in self.storages:
            content = bytearray(self.archive.read(f'{self.folder}/{key}'))
            self.storages[key] = torch.frombuffer(content, dtype=dtype, count=number) \
                if number else torch.empty(0, dtype=dtype)
        return self.storages[key]


def rebuild(storage: Tensor, offset: int, size: tuple, stride: tuple, *_) -> Tensor:
    return storage.as_strided(size, stride, offset)


def walk(module: Holder, prefix: str, seen: set) -> Iterator[tuple[str, Tensor]]:
    if id(module) in seen:  # a part that is used twice, or contains itself
        return
    seen.add(id(module))
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            yield f'{prefix}{name}', value
        elif isinstance(value, Holder):
            yield from walk(value, f'{prefix}{name}.', seen)
