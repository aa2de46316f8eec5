"""The report of a suite: Markdown, a page on its own, figures, tables for a paper."""
import base64
import html
import io
import re
from collections import Counter
from pathlib import Path

from markdown_it import MarkdownIt
from pandas import DataFrame
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from vita_mm.errors import printable
from vita_mm.harness.spec.suite import Suite
from vita_mm.io.files import write_bytes

from .claims import RULE, check_claim, order_agreement
from .figures import draw
from .results import Check, TableResult
from .tables import (
    NONE,
    RANKS,
    agreement,
    printed,
    references_of,
    remarks_on,
    texts_of,
    title_of,
    to_csv,
    to_latex,
)

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2, h3 {{ line-height: 1.2; margin-top: 2em; }}
table {{ display: block; overflow-x: auto; border-collapse: collapse; margin: 1em 0; }}
th, td {{ padding: .25em .8em; text-align: left; vertical-align: top;
         font-variant-numeric: tabular-nums; border-bottom: 1px solid #ddd; }}
th {{ border-bottom: 2px solid #1a1a1a; }}
img {{ max-width: 100%; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def write_report(suite: Suite, results: list[TableResult], machine: dict[str, str],
                 folder: Path) -> Path:
    """Write everything under a folder; each file is there whole or not at all.

    Args:
        suite: what was to be measured.
        results: what was, one for each table.
        machine: versions, hardware and state of the code, printed as they are.
        folder: gets ``report.md``, ``report.html``, ``figures/`` (PNG, PDF) and
            ``tables/`` (CSV, LaTeX).

    Returns:
        The page, ``report.html``.
    """
    folder = Path(folder)
    images = {}
    for result in results:
        name = result.table.name
        write_bytes(folder / f'tables/{name}.csv', to_csv(suite, result).encode())
        write_bytes(folder / f'tables/{name}.tex', to_latex(suite, result).encode())
        figure = draw(result, suite)
        for kind in ('png', 'pdf'):
            path = f'figures/{name}.{kind}'
            if figure is None:
                (folder / path).unlink(missing_ok=True)  # of an earlier report
                continue
            content = io.BytesIO()
            figure.savefig(content, format=kind, dpi=160)
            write_bytes(folder / path, content.getvalue())
            if kind == 'png':
                images[path] = content.getvalue()
    text = make_markdown(suite, results, machine, images)
    write_bytes(folder / 'report.md', text.encode())
    page = folder / 'report.html'
    write_bytes(page, make_page(suite.title, text, images).encode())
    return page


def make_markdown(suite: Suite, results: list[TableResult], machine: dict[str, str],
                  images: dict[str, bytes]) -> str:
    checks = check_all(results)
    parts = [f'# {plain(suite.title)}', plain(summarize(suite, results, checks))]
    for result in results:
        parts += [f'## {plain(heading(result))}',
                  markdown_table(printed(suite, result)),
                  markdown_list(remarks_on(suite, result) + references_of(result))]
    if checks:
        parts += ['## Claims', markdown_table(DataFrame(map(claim_line, checks)))]
    if images:
        parts.append('## Figures')
    for result in results:
        path = f'figures/{result.table.name}.png'
        if path in images:
            title = plain(heading(result))
            parts += [f'### {title}', f'![{title}]({path})']
    parts += ['## How this was measured', *map(plain, explain(suite)),
              markdown_list(f'{key}: {value}' for key, value in machine.items())]
    return '\n\n'.join(filter(None, parts)) + '\n'


def make_page(title: str, text: str, images: dict[str, bytes]) -> str:
    """The page from its Markdown, with the images in it; it fetches nothing."""
    body = MarkdownIt('commonmark', dict(html=False)).enable('table').render(text)
    for path, content in images.items():
        data = base64.b64encode(content).decode()
        body = body.replace(f'src="{path}"', f'src="data:image/png;base64,{data}"')
    return PAGE.format(title=html.escape(title), body=body)


def plain(text: str) -> str:
    """Any text as a line of Markdown that says just that."""
    return re.sub(r'([\\`*_\[\]<>|~#&])', r'\\\1', ' '.join(str(text).split()))


def markdown_table(frame: DataFrame) -> str:
    lines = [[plain(text) for text in line]
             for line in [frame.columns, *frame.values.tolist()]]
    lines.insert(1, ['---'] * len(frame.columns))
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def markdown_list(texts) -> str:
    return '\n'.join(f'- {plain(text)}' for text in texts)


def heading(result: TableResult) -> str:
    """The title; ``table1`` before it as ``Table 1``."""
    name = re.fullmatch(r'(table|fig)(\d\w*)', result.table.name)
    if name is None:
        return result.table.title
    kind = dict(table='Table', fig='Figure')[name[1]]
    return f'{kind} {name[2]}: {result.table.title}'


def check_all(results: list[TableResult]) -> list[Check]:
    return [check_claim(claim, result)
            for result in results for claim in result.table.claims]


def claim_line(check: Check) -> dict[str, str]:
    return dict(claim=check.claim.text, source=check.claim.source,
                outcome=check.outcome, statistics=check.detail)


def summarize(suite: Suite, results: list[TableResult], checks: list[Check]) -> str:
    """How many numbers and claims came out how, in a line."""
    verdicts = Counter(cell.verdict(suite, row.row) for result in results
                       for row in result.rows for cell in row.cells.values())
    sentences = [f'{verdicts.total()} numbers: {count(verdicts)}.']
    if suite.compared != 'values':
        agreements = [order_agreement(result, column) for result in results
                      for column in result.table.columns]
        agreed, pairs = (sum(numbers) for numbers in zip(*agreements))
        if pairs:  # none, where nothing is published
            sentences.append(agreement(agreed, pairs) + '.')
    if checks:
        outcomes = Counter(check.outcome for check in checks)
        sentences.append(f'{len(checks)} claims: {count(outcomes)}.')
    return ' '.join(sentences)


def count(counter: Counter) -> str:
    return ', '.join(f'{name} {number}' for name, number in counter.most_common())


def explain(suite: Suite) -> list[str]:
    """What the numbers mean."""
    texts = ['± (splits) is the standard deviation over the splits of a test set '
             '(ddof=0); ± before a number of seeds is that over trainings with '
             'different seeds (ddof=1), of which one seed says nothing. Where nothing '
             'is trained there is no seed.',
             RULE]
    if suite.compared == 'values':
        texts.append('Reproduced: the mean of the seeds is no further from the '
                     "paper's figure than the tolerance, which is in the unit of its "
                     'column; several tolerances are in the order of the columns.')
    else:
        texts.append("The data are not the paper's, so that its values are not here: "
                     'only the order of rows can be compared. Ranks are among the rows '
                     'with a number both here and in the paper.')
    return texts + ([suite.note] if suite.note else [])


def print_report(suite: Suite, results: list[TableResult], console: Console) -> None:
    """The suite's own rows, the claims and the summary, on a console."""
    checks = check_all(results)
    for result in results:
        columns = result.table.columns
        table = RichTable('row', title=shown(heading(result)), box=box.SIMPLE_HEAD)
        for column in columns.values():
            table.add_column(shown(title_of(column)))
        for row in result.rows:
            figures = {name: cell.paper for name, cell in row.cells.items()}
            table.add_row(shown(row.row.label), *(
                shown(short(suite, texts_of(suite, result, row, name, figures)))
                for name in columns))
        console.print(table)
        for remark in remarks_on(suite, result):
            console.print(shown(f'  {remark}'))
    if checks:
        table = RichTable('claim', 'outcome', 'statistics', title='Claims',
                          box=box.SIMPLE_HEAD)
        for line in map(claim_line, checks):
            table.add_row(*(shown(line[name])
                            for name in ('claim', 'outcome', 'statistics')))
        console.print(table)
    console.print(shown(summarize(suite, results, checks)))


def shown(text: str) -> Text:
    """Any text as it is: nothing in it is markup, or a command of the terminal."""
    return Text(printable(text))


def short(suite: Suite, texts: dict[str, str]) -> str:
    """A number and how it compares, in few words."""
    number = texts.get('ours', NONE)
    if suite.compared == 'values' and 'paper' in texts:
        return f'{number}; paper {texts["paper"]}: {texts["verdict"]}'
    if suite.compared != 'values' and RANKS[0] in texts:
        return f'{number}; rank {texts[RANKS[0]]}, in the paper {texts[RANKS[1]]}'
    return number
