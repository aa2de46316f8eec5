"""Ours beside what the authors' code answered: models, frames and pixels."""
from collections.abc import Iterator
from pathlib import Path

from vita_mm.errors import UserError

from .finding import Finding
from .frames import check_frames
from .models import check_case
from .pixels import check_pixels

__all__ = ['Finding', 'check_folders']


def check_folders(folders: list[Path], device: str = 'cpu') -> Iterator[Finding]:
    """Compares all that folders and those within them hold: cases (``NAME.json`` beside
    ``NAME.npz``), and files named ``sampling.csv`` and ``pixels.json``.

    Raises:
        UserError: if there is nothing to compare, or a file is not what it should be.
    """
    empty = True
    for folder in folders:
        for path in sorted(folder.rglob('*.json')):
            if path.with_suffix('.npz').exists():
                empty = False
                yield check_case(path.with_suffix(''), device)
        for name, check in (('sampling.csv', check_frames),
                            ('pixels.json', check_pixels)):
            for path in sorted(folder.rglob(name)):
                empty = False
                yield from check(path)
    if empty:
        raise UserError(', '.join(map(str, folders)) + ' holds nothing to compare: no '
                        'NAME.json with NAME.npz, no sampling.csv and no pixels.json')
