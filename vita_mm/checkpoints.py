"""Reading and writing tensors safely: checkpoints are untrusted input."""
import os
import pickle
import re
from pathlib import Path

import torch

from .errors import UserError


def read_tensors(path: str | Path) -> dict:
    """Load a checkpoint that holds tensors and plain values only.

    Raises:
        UserError: if there is no such file, it is damaged, or it holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'there is no checkpoint {path}')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f'{path} is not loaded: it holds more than tensors and plain '
                        'values, or is no checkpoint') from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f'{path} is not a readable checkpoint: it is damaged or cut off '
                        f'({type(error).__name__})') from error
    if not isinstance(checkpoint, dict):
        raise UserError(f'{path} is not a checkpoint: it holds no dictionary')
    return checkpoint


def write_atomically(checkpoint: dict, path: str | Path) -> None:
    """Save so that the file is there whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.part')
    torch.save(checkpoint, partial)
    os.replace(partial, path)


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
