"""Say which systems there are, and which verb does what with which.

    vita-mm systems
    vita-mm systems --update docs/systems.md

With --update the tables between the marks of a page of Markdown are written anew.
"""
import argparse
from pathlib import Path

from .pages import show, table, update


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--update', type=Path, metavar='PAGE')


def main(args: argparse.Namespace) -> None:
    if args.update is None:
        show(tables())
    else:
        update(args.update, 'systems', tables())


def tables() -> str:
    """What there is of each system, and the verbs it does or refuses, in Markdown."""
    from vita_mm.models.common.system import VERBS
    from vita_mm.systems import SYSTEMS
    systems = list(SYSTEMS.values())
    sources = [(system.title, system.paper, system.code or '', f'`{system.paper_config}`',
                f'`{system.config}`') for system in systems]
    reasons = []
    for system in systems:
        reasons += [reason for reason in system.refusals.values()
                    if reason not in reasons]
    cells = [(verb, *(f'no ({reasons.index(system.refusals[verb]) + 1})'
                      if verb in system.refusals else 'yes' for system in systems))
             for verb in VERBS]
    titles = [system.title for system in systems]
    return '\n'.join([
        *table(('system', 'paper', "authors' code", 'on Kinetics-400',
                'on the miniature'), sources), '',
        *table(('verb', *titles), cells), '',
        *(f'{number}. {reason[0].upper()}{reason[1:]}.'
          for number, reason in enumerate(reasons, 1)), ''])
