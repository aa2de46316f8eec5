"""Say which systems there are, and which verb does what with which.

    vita-mm systems
    vita-mm systems --update docs/systems.md

With --update the tables between the marks of a page of Markdown are written anew.
"""
import argparse
import sys
from pathlib import Path

BEGIN, END = '<!-- systems: begin -->\n', '<!-- systems: end -->\n'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--update', type=Path, metavar='PAGE')


def main(args: argparse.Namespace) -> None:
    if args.update is None:
        show(tables())
        return
    from vita_mm.errors import UserError
    from vita_mm.io.files import replacing
    try:
        text = args.update.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'cannot read {args.update}: {error}') from error
    if BEGIN not in text or END not in text.partition(BEGIN)[2]:
        raise UserError(f'{args.update} has no lines {BEGIN.strip()} and {END.strip()}: '
                        'write them where the tables are to stand')
    before, _, rest = text.partition(BEGIN)
    with replacing(args.update) as partial:
        partial.write_text(before + BEGIN + tables() + END + rest.partition(END)[2],
                           encoding='utf-8')
    print(f'written to {args.update}')


def show(text: str) -> None:
    """Print Markdown: laid out on a terminal, else as it is."""
    from rich.console import Console
    from rich.markdown import Markdown
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print(text)


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


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f'| {" | ".join(cells)} |' for cells in (head, ['---'] * len(head), *rows)]
