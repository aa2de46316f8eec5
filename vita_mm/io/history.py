"""MMEngine's log in checkpoints, as tensors and plain values.

Of its own objects a checkpoint that MMEngine wrote has ``HistoryBuffer`` and NumPy's
arrays and numbers. To read them, names in the file stand for the small classes here,
which take numbers and nothing else: torch's safe unpickler stays as strict as it is.
"""
import contextlib
import pickle

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def pack(hub: dict) -> dict:
    """The state of a ``MessageHub`` without MMEngine's and NumPy's objects."""
    return dict(
        runtime_info={key: plain(value) for key, value in hub['runtime_info'].items()},
        resumed_keys=dict(hub['resumed_keys']),
        log_scalars={key: dict(zip(('history', 'counts'), map(
            torch.from_numpy, value.data))) for key, value in hub['log_scalars'].items()})


def unpack(checkpoint):
    """A checkpoint, whose log, if it has one, is MMEngine's again."""
    hub = checkpoint.get('message_hub') if isinstance(checkpoint, dict) else None
    if isinstance(hub, dict):
        hub['log_scalars'] = {key: make_buffer(value)
                              for key, value in hub.get('log_scalars', {}).items()}
    return checkpoint


def make_buffer(value) -> HistoryBuffer:
    """Of what :func:`pack` wrote, or of what was read of an older file."""
    if isinstance(value, History):
        return HistoryBuffer(value.history, value.counts)
    return HistoryBuffer(value['history'].cpu().numpy(), value['counts'].cpu().numpy())


def plain(value):
    """NumPy's numbers and arrays as Python's; anything else as it is."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


class NumberType:
    """Stands for ``numpy.dtype``: of integers and floating point numbers."""

    def __init__(self, code: str, *_) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in 'biuf':
            raise pickle.UnpicklingError(f'{code!r} is no type of numbers')

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])

    def read(self, content: bytes) -> np.ndarray:
        return np.array(memoryview(content).cast('B'), np.uint8).view(self.dtype)


class Numbers:
    """Stands for an array that is being read."""
    values = np.zeros(0)

    def __init__(self, *_) -> None:
        """The size is that of the content."""

    def __setstate__(self, state: tuple) -> None:
        self.values = state[2].read(state[4])


class History:
    """Stands for ``HistoryBuffer``."""

    def __setstate__(self, state: dict) -> None:
        self.history = state['_log_history'].values
        self.counts = state['_count_history'].values


def read_number(kind: NumberType, content: bytes) -> int | float | bool:
    return kind.read(content)[0].item()


def read_method(*_) -> None:
    """Methods of ``HistoryBuffer`` are named in the file; it has them anyway."""


def safe_globals() -> contextlib.AbstractContextManager:
    """While it is entered, ``torch.load(weights_only=True)`` reads MMEngine's log."""
    cores = ('numpy._core.multiarray', 'numpy.core.multiarray')  # NumPy 2 and before
    return torch.serialization.safe_globals([
        (History, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (NumberType, 'numpy.dtype'), (Numbers, 'numpy.ndarray'),
        (read_method, 'builtins.getattr'),
        *((Numbers, f'{core}._reconstruct') for core in cores),
        *((read_number, f'{core}.scalar') for core in cores)])
