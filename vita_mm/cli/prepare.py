"""Write the lists of a dataset from the files its owners distribute.

    vita-mm prepare NAME ROOT [--out data/NAME] [--resize SHORT_SIDE] [--workers N]
                              [--lenient]

NAME is one of hmdb51, kinetics400, kinetics600, ssv2, ucf101. ROOT stays as it is.
"""
import argparse

NAMES = ('hmdb51', 'kinetics400', 'kinetics600', 'ssv2', 'ucf101')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('name', choices=NAMES)
    parser.add_argument('root', help='the folder of the dataset as distributed')
    parser.add_argument('--out', help='where the lists go; data/NAME by default')
    parser.add_argument('--resize', type=int, metavar='SHORT_SIDE',
                        help='copy the videos with a shorter side of so many pixels')
    parser.add_argument('--workers', type=int,
                        help='processes that resize; as many as cores by default')
    parser.add_argument('--lenient', action='store_true',
                        help='with --resize: copy damaged videos as FFmpeg shows them, '
                        'instead of leaving them out')


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.lenient and args.resize is None:
        parser.error('--lenient says how to copy: it needs --resize')


def main(args: argparse.Namespace) -> None:
    from vita_mm.prepare import prepare
    out = args.out or f'data/{args.name}'
    counts = prepare(args.name, args.root, out, args.resize, args.workers,
                     strict=not args.lenient)
    print_table(counts, args.resize is not None)
    print(f'the lists are in {out}')


def print_table(counts: dict, resized: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    columns = ('official', 'found', 'missing') + (('broken', ) if resized else ())
    table = Table('list')
    for column in columns:
        table.add_column(column, justify='right')
    for name, count in counts.items():
        numbers = (getattr(count, column) for column in columns)
        table.add_row(name, *('-' if number is None else str(number)
                              for number in numbers))
    Console().print(table)
