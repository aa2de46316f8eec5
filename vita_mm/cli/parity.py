"""Compare models, frames and pixels with what the authors' code gave.

    vita-mm parity DIR...

Each DIR, and what is within it, holds cases (NAME.json, NAME.npz and NAME.pth, of any
system), sampling.csv (which frames are taken) or pixels.json (how they are resized,
cropped and normalised); docs/parity.md says what is in them. Prints a row for each case
and group, and exits with 1 if any differs: of a case the errors in float32 / float64,
relative to the largest logit, and to the largest entry of each gradient.
"""
import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('dirs', nargs='+', type=Path, metavar='DIR',
                        help='folder of cases')
    parser.add_argument('--device', default='cpu', help='of the models: cpu or cuda')


def main(args: argparse.Namespace) -> int:
    from mmaction.utils import register_all_modules
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from vita_mm.analysis.parity import check_folders
    register_all_modules()
    table = Table('compared', 'found', 'verdict', box=box.SIMPLE)
    verdicts = {True: 'equal', False: 'DIFFERS', None: '-'}
    found = list(check_folders(args.dirs, args.device))
    for row in found:
        table.add_row(row.what, row.found, verdicts[row.equal])
    Console().print(table)
    compared = [row for row in found if row.equal is not None]
    equal = sum(row.equal is True for row in compared)
    print(f'{equal} of {len(compared)} rows are equal')
    return int(equal < len(compared))
