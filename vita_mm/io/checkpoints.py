"""Reading and writing tensors safely: checkpoints are untrusted input.

What a file unpacks to is limited to ``INFLATION`` times its size on disk, once, for torch
does not compress tensors, and ``SLACK`` bytes more, for it does compress what surrounds
them. ``VITA_MM_CHECKPOINT_INFLATION=20`` takes files that somebody has compressed.
"""
import os
import pickle
import pickletools
import re
import zipfile
from pathlib import Path

import torch

from vita_mm.errors import UserError

from .files import replacing
from .history import safe_globals

INFLATION = 1.0
SLACK = 2**26
ARCHIVE = b'PK\x03\x04'  # by these torch tells its files from those of before 1.6
OLD_PICKLES = 5  # before the tensors of a file of torch before 1.6
# Allowed by torch's safe unpickler, but a few bytes can ask it for any amount of memory.
GREEDY = ('builtins bytearray', '__builtin__ bytearray')


def read_tensors(path: str | Path, inflation: float | None = None) -> dict:
    """Load a checkpoint that holds tensors and plain values only.

    Args:
        inflation: the limit; by default that of the environment, else ``INFLATION``.

    Raises:
        UserError: if there is no such file, it is damaged, holds code, or unpacks to
            more than the limit.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'there is no checkpoint {path}')
    try:
        check_size(path, inflation)
        with safe_globals():
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(f'{path} is not loaded: it holds more than tensors and plain '
                        'values, or is no checkpoint') from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f'{path} is not a readable checkpoint: it is damaged or cut off '
                        f'({type(error).__name__})') from error
    if not isinstance(checkpoint, dict):
        raise UserError(f'{path} is not a checkpoint: it holds no dictionary')
    return checkpoint


def check_size(path: Path, inflation: float | None = None) -> None:
    """Refuse, before it is unpacked, a file of tensors that takes far more memory than
    disk; arguments and errors are those of :func:`read_tensors`.

    A file that is no archive (of torch before 1.6) is as large as its tensors.
    """
    with open(path, 'rb') as file:
        archive = file.read(4) == ARCHIVE
        if not archive:
            file.seek(0)
            for _ in range(OLD_PICKLES):
                check_globals(path, file)
            return
    limit = inflation_limit() if inflation is None else inflation
    with zipfile.ZipFile(path) as content:
        entries = content.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        size = path.stat().st_size
        if unpacked > limit * size + SLACK:
            raise UserError(
                f'{path} is not loaded: its {size:,} bytes unpack to {unpacked:,}, more '
                f'than {limit:g} times as many; if you trust it, set '
                f'VITA_MM_CHECKPOINT_INFLATION={-(-unpacked // size)}')
        for entry in entries:
            if entry.filename.endswith('.pkl'):
                with content.open(entry) as file:
                    check_globals(path, file)


def inflation_limit() -> float:
    text = os.environ.get('VITA_MM_CHECKPOINT_INFLATION', INFLATION)
    try:
        return float(text)
    except ValueError:
        raise UserError('VITA_MM_CHECKPOINT_INFLATION must be a number such as 20, not '
                        f'{text!r}') from None


def check_globals(path: Path, file) -> None:
    """Refuse a pickle that asks for memory by a number."""
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == 'GLOBAL' and argument in GREEDY:
                raise UserError(f'{path} is not loaded: it holds a '
                                f'{argument.split()[1]}, which no checkpoint needs')
    except ValueError as error:
        raise pickle.UnpicklingError(str(error)) from error


def write_atomically(checkpoint: dict, path: str | Path) -> None:
    """Save so that the file is there whole or not at all."""
    # torch would hide why a file of its own cannot be written.
    with replacing(Path(path)) as partial, open(partial, 'wb') as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that a path names: a file itself, a work dir its last weights.

    Raises:
        UserError: if there is none.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f'there is no checkpoint {path}')
        return path
    found = newest_whole_checkpoint(path)
    if found is None and (path / 'weights.pth').is_file():
        return path / 'weights.pth'  # all that a suite leaves of a training
    if found is None:
        raise UserError(f'the folder {path} holds no whole checkpoint epoch_N.pth or '
                        'iter_N.pth: train there first, or name a file')
    return found


def newest_whole_checkpoint(work_dir: str | Path) -> Path | None:
    """The last ``epoch_N.pth`` or ``iter_N.pth`` of a folder that can be read.

    A run killed while it saved leaves a file that is cut off; the one before counts.
    """
    def number(path: Path) -> int:
        found = re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name, re.ASCII)
        return int(found[1]) if found else -1

    files = [path for path in Path(work_dir).glob('*.pth') if number(path) >= 0]
    for path in sorted(files, key=number, reverse=True):
        try:
            read_tensors(path)
        except UserError as error:
            print(f'passed over: {error}', flush=True)
        else:
            return path
    return None
