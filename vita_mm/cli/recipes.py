"""Say how each system is trained and evaluated on Kinetics-400, beside its authors' code.

    vita-mm recipes             all systems
    vita-mm recipes xclip evl   these
    vita-mm recipes --update docs/recipes.md

Ours are read from the configs, and the models are built to count what is trained. With
--update the tables between the marks of a page of Markdown are written anew.
"""
import argparse
from pathlib import Path

from .pages import show, update


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('systems', nargs='*', metavar='SYSTEM')
    parser.add_argument('--update', type=Path, metavar='PAGE')


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.systems and args.update is not None:
        parser.error('--update writes the tables of all systems: name none')


def main(args: argparse.Namespace) -> None:
    from vita_mm.analysis.recipes import report
    text = report(args.systems)
    if args.update is None:
        show(text)
    else:
        update(args.update, 'recipes', text)
