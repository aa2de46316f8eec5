"""Markdown that a verb prints, or writes between its marks in a page of the docs."""
import sys
from pathlib import Path


def marks(verb: str) -> tuple[str, str]:
    """The lines between which a verb writes."""
    return f'<!-- {verb}: begin -->\n', f'<!-- {verb}: end -->\n'


def update(page: Path, verb: str, text: str) -> None:
    """Write what stands between the marks of a verb anew.

    Raises:
        UserError: if the page cannot be read, or has no such marks.
    """
    from vita_mm.errors import UserError
    from vita_mm.io.files import replacing
    begin, end = marks(verb)
    try:
        old = page.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'cannot read {page}: {error}') from error
    if begin not in old or end not in old.partition(begin)[2]:
        raise UserError(f'{page} has no lines {begin.strip()} and {end.strip()}: '
                        'write them where the tables are to stand')
    before, _, rest = old.partition(begin)
    with replacing(page) as partial:
        partial.write_text(before + begin + text + end + rest.partition(end)[2],
                           encoding='utf-8')
    print(f'written to {page}')


def show(text: str) -> None:
    """Print Markdown: laid out on a terminal, else as it is."""
    from rich.console import Console
    from rich.markdown import Markdown
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print(text)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f'| {" | ".join(cells)} |' for cells in (head, ['---'] * len(head), *rows)]
