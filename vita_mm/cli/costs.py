"""Count what systems cost, by one method: weights, multiply-adds, memory, checkpoints.

    vita-mm costs               the systems of Tables 1 and 5, beside what is published
    vita-mm costs CONFIG...     the models of these configs

Models are built with random weights and nothing is computed. What is counted, and how, is
said below the table.
"""
import argparse
from pathlib import Path

WIDTH = 120  # of a console: on a narrower one the table would be cut


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('configs', nargs='*', metavar='CONFIG')
    parser.add_argument('--out', type=Path, metavar='FILE',
                        help='write the table there too, in Markdown')


def main(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.progress import track

    from vita_mm.analysis.costs import ROWS, count, report, row_of
    from vita_mm.io.files import replacing
    chosen = [row_of(config) for config in args.configs] or ROWS
    text = report([(row, count(row)) for row in track(chosen, 'systems')])
    if args.out is not None:
        with replacing(args.out) as partial:
            partial.write_text(text, encoding='utf-8')
    console = Console()
    if console.width < WIDTH:
        print(text)
    else:
        console.print(Markdown(text))
    if args.out is not None:
        print(f'written to {args.out}')
