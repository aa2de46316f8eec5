"""Checkpoints of other projects, which hold more than tensors.

The training code of X-CLIP and of ViFi-CLIP saves its settings, objects of yacs, beside
the tensors; others save their arguments, numbers of numpy, classes of their own. torch's
safe unpickler refuses such a file as a whole. Here nothing that a file asks for by its
name is made or called: its pickle is read into records of what was asked, and of these
the entries that are tensors and plain values throughout are made. The others are left
out, and said.
"""
import io
import mmap
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vita_mm.errors import UserError

from .checkpoints import ARCHIVE, check_size

PLAIN = (str, int, float, bool, bytes, type(None))
DTYPES = dict(
    DoubleStorage=torch.float64, FloatStorage=torch.float32, HalfStorage=torch.float16,
    BFloat16Storage=torch.bfloat16, LongStorage=torch.int64, IntStorage=torch.int32,
    ShortStorage=torch.int16, CharStorage=torch.int8, ByteStorage=torch.uint8,
    BoolStorage=torch.bool)
# The first pickle of a file of torch before 1.6, of which there are five.
OLD_MAGIC = 0x1950a86a20f9469cfc6c


class Foreign(dict):
    """The entries of a checkpoint that are tensors and plain values.

    Attributes:
        left_out: the other entries, and what they hold.
    """
    left_out: dict[str, str]


class NoDictionary(Exception):
    """The file holds something else."""


class LeftOut(Exception):
    """Says what is neither a tensor nor a plain value."""


class Record:
    """Something that a pickle asks for by its name, not made; of each name a subclass."""
    asked = 'an object'

    def __new__(cls, *args, **kwargs):
        record = super().__new__(cls)
        record.args = args
        return record

    def __init__(self, *args, **kwargs) -> None:
        self.args: tuple

    def ignore(self, *args, **kwargs) -> None:
        """What a pickle puts into it."""

    __setstate__ = __setitem__ = append = extend = add = ignore

    def __call__(self, *args, **kwargs) -> 'Record':
        return self


class Entries(dict):
    """An ``OrderedDict``, without attributes."""

    def __setstate__(self, state) -> None:
        """They may be anything."""


class TensorRecord(Record):
    """A tensor: its storage, offset, size, stride, and what is of no account here."""


class ParameterRecord(Record):
    """A parameter: its tensor, and what is of no account here."""


KNOWN: dict[tuple[str, str], type] = {
    ('collections', 'OrderedDict'): Entries,
    ('torch._utils', '_rebuild_tensor_v2'): TensorRecord,
    ('torch._utils', '_rebuild_parameter'): ParameterRecord}


@dataclass(frozen=True)
class Storage:
    """The numbers behind tensors: where they are, how many, of which kind."""
    key: str
    number: int
    dtype: torch.dtype


class Recorder(pickle._Unpickler):  # that in C takes memory as a file tells it to
    """Reads a pickle into records.

    Attributes:
        storages: those that it names, by their keys.
    """

    def __init__(self, file, storages: dict[str, Storage]) -> None:
        super().__init__(file, encoding='utf-8')
        self.storages = storages

    def find_class(self, module: str, name: str) -> type:
        known = KNOWN.get((module, name))
        return known or type('Record', (Record, ), dict(asked=f'{module}.{name}'))

    def persistent_load(self, pid) -> Any:
        if type(pid) is tuple and pid[:1] == ('module', ) and len(pid) == 4:
            return pid[1]  # an old file names the source of a class beside it
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[5:] not in (
                (), (None, )):
            return Record()
        _, kind, key, _, number = pid[:5]
        module, _, name = str(getattr(kind, 'asked', '')).rpartition('.')
        if module not in ('torch', 'torch.cuda') or name not in DTYPES:
            return Record()
        if type(key) is not str or type(number) is not int:
            raise pickle.UnpicklingError('a storage without a key or a number')
        return self.storages.setdefault(key, Storage(key, number, DTYPES[name]))


class Maker:
    """Makes tensors and plain values of records, each once.

    Args:
        read: gives the bytes of a storage.
    """

    def __init__(self, read: Callable[[Storage], bytes]) -> None:
        self.read = read
        self.made: dict[int, Any] = {}
        self.numbers: dict[Storage, Tensor] = {}

    def __call__(self, value) -> Any:
        """Raises LeftOut if it is, or holds, anything else."""
        if type(value) in PLAIN:
            return value
        if id(value) not in self.made:
            self.made[id(value)] = LeftOut('what holds itself')  # until it is made
            try:
                self.made[id(value)] = self.make(value)
            except LeftOut as error:
                self.made[id(value)] = error
        found = self.made[id(value)]
        if isinstance(found, LeftOut):
            raise found
        return found

    def make(self, value) -> Any:
        if isinstance(value, dict):
            return {self(key): self(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(self, value))
        if isinstance(value, ParameterRecord):
            return self(value.args[0])
        if isinstance(value, TensorRecord):
            return self.tensor(*value.args[:4])
        raise LeftOut(getattr(value, 'asked', type(value).__name__))

    def tensor(self, storage: Any, offset: int, size: tuple, stride: tuple) -> Tensor:
        if not isinstance(storage, Storage):
            raise LeftOut('a tensor of another kind')
        if storage not in self.numbers:
            data = self.read(storage)
            if storage.number < 0 or len(data) < storage.number * storage.dtype.itemsize:
                raise ValueError('a storage is smaller than is said')
            self.numbers[storage] = torch.frombuffer(
                bytearray(data), dtype=storage.dtype,
                count=storage.number) if storage.number else torch.empty(
                    0, dtype=storage.dtype)
        numbers = self.numbers[storage]
        tensor = numbers.as_strided(size, stride, offset)
        if tensor.numel() > numbers.numel():
            raise ValueError('a tensor has more numbers than its storage')
        return tensor


def read_foreign(path: str | Path) -> Foreign:
    """The entries of a checkpoint that are tensors and plain values throughout.

    Raises:
        UserError: as :func:`vita_mm.io.checkpoints.read_tensors`, but for a file that
            holds more.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'there is no checkpoint {path}')
    try:
        check_size(path)
        with open(path, 'rb') as file:
            if file.read(4) != ARCHIVE:
                return of_old_file(file)
            with zipfile.ZipFile(file) as archive:
                return of_archive(archive)
    except UserError:
        raise
    except NoDictionary:
        raise UserError(f'{path} is not a checkpoint: it holds no dictionary') from None
    except Exception as error:  # what is damaged raises many kinds
        raise UserError(f'{path} is not a readable checkpoint: it is damaged, cut off or '
                        f'of another kind ({type(error).__name__})') from error


def of_archive(archive: zipfile.ZipFile) -> Foreign:
    """Of a file of torch 1.6 or later."""
    name, = (name for name in archive.namelist()
             if name.rpartition('/')[2] == 'data.pkl' and name.count('/') < 2)
    root = name.removesuffix('data.pkl')
    if f'{root}byteorder' in archive.namelist() and \
            archive.read(f'{root}byteorder') != b'little':
        raise ValueError('it is of a machine with another order of bytes')
    content = Recorder(io.BytesIO(archive.read(name)), {}).load()
    return entries(content, lambda storage: archive.read(f'{root}data/{storage.key}'))


def of_old_file(file) -> Foreign:
    """Of a file of torch before 1.6: pickles, and the storages one behind the other."""
    storages: dict[str, Storage] = {}
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        magic, _, about, content, keys = (
            Recorder(view, storages).load() for _ in range(5))
        if magic != OLD_MAGIC or about['little_endian'] is not True:
            raise ValueError('it is no file of torch, or has another order of bytes')
        places = {}
        for key in keys:
            storage = storages[key]
            number = int.from_bytes(view.read(8), 'little', signed=True)
            if number != storage.number or number < 0:
                raise ValueError('a storage is not as large as is said')
            places[key] = view.tell(), view.tell() + number * storage.dtype.itemsize
            view.seek(places[key][1])
        return entries(content, lambda storage: view[slice(*places[storage.key])])


def entries(content: Any, read: Callable[[Storage], bytes]) -> Foreign:
    if not isinstance(content, dict):
        raise NoDictionary
    found, make = Foreign(), Maker(read)
    found.left_out = {}
    for key, value in content.items():
        try:
            found[make(key)] = make(value)
        except LeftOut as error:
            found.left_out[shown(key)] = shown(error)
    return found


def shown(value: object) -> str:
    """A text of a file, fit to be printed."""
    text = str(value) if isinstance(value, (str, LeftOut)) else type(value).__name__
    return ascii(text)[1:-1][:80]
