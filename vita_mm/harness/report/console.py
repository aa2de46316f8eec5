"""The report of a suite on a console."""
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from vita_mm.errors import printable

from .content import Report
from .markdown import text_of
from .tables import heading, remarks_on


def print_report(report: Report, console: Console) -> None:
    """The suite's own rows, the claims and the summary."""
    for printed in report.tables:
        table = RichTable(title=shown(heading(printed.result)), box=box.SIMPLE_HEAD)
        for head in printed.heads:
            table.add_column(shown(head.text))
        for line in printed.lines:
            if line.row is not None:
                table.add_row(shown(line.label), *(
                    shown(text_of(item)) for item in line.items))
        console.print(table)
        for remark in remarks_on(report.suite, printed.result):
            console.print(shown(f'  {remark}'))
    if report.checks:
        table = RichTable('claim', 'outcome', 'step by step', title='Claims',
                          box=box.SIMPLE_HEAD)
        for check in report.checks:
            table.add_row(shown(check.claim.text), shown(check.outcome),
                          shown('\n'.join(map(str, check.steps)) or check.detail))
        console.print(table)
    console.print(shown(report.summary))
    if report.warning:
        console.print(shown(report.warning))


def shown(text: str) -> Text:
    """Any text as it is: nothing in it is markup, or a command of the terminal."""
    return Text(printable(text))
