"""The report as Markdown, for repositories: in the order of the page, and shorter."""
import re
from collections.abc import Iterable

from .content import Report, need_of
from .details import find_details
from .results import Check
from .tables import Item, heading, references_of, remarks_on


def make_markdown(report: Report, images: Iterable[str]) -> str:
    """The whole report.

    Args:
        images: paths of figures, relative to the report; those of a table have its
            name.
    """
    paths = {re.sub(r'.*/|\.\w+$', '', path): path for path in images}
    parts = [f'# {plain(report.suite.title)}']
    if report.warning:
        parts.append(f'**{plain(report.warning)}**')
    if report.checks:
        parts.append(table(['claim', 'outcome', 'source'], [
            [check.claim.text, ', '.join(filter(None, [check.outcome, need_of(check)])),
             check.claim.source] for check in report.checks]))
    parts.append(plain('; '.join(f'{name}: {text}' for name, text in report.facts.items())
                       + '.'))
    for printed in report.tables:
        result = printed.result
        title = plain(heading(result))
        details = find_details(report.suite, result)
        parts += [f'## {title}', *map(plain, filter(None, [report.caption_of(result)])),
                  table([head.text for head in printed.heads], [
                      [line.label, *map(text_of, line.items)] for line in printed.lines])]
        if result.table.name in paths:
            parts.append(f'![{title}]({paths[result.table.name]})')
        parts += [
            bullets([f'{name}: {text}' for name, text in details.common.items()]
                    + remarks_on(report.suite, result) + report.remarks_of(result)
                    + references_of(result)),
            *map(steps_of, printed.checks)]
    parts += ['## How this was measured', *map(plain, report.explanations),
              bullets(f'{key}: {value}' for key, value in report.machine.items())]
    return '\n\n'.join(filter(None, parts)) + '\n'


def text_of(item: Item) -> str:
    return item.text if not item.steps and not item.more else ' '.join(filter(None, [
        item.text, item.more, ', '.join(step.outcome for step in item.steps)]))


def steps_of(check: Check) -> str:
    """How a claim came out, step by step."""
    if not check.steps:
        return bullets([f'{check.claim.text}: {check.outcome}: {check.detail}'])
    return bullets(f'{check.claim.text}: {step}' for step in check.steps)


def plain(text: str) -> str:
    """Any text as a line of Markdown that says just that."""
    return re.sub(r'([\\`*_\[\]<>|~#&$])', r'\\\1', ' '.join(str(text).split()))


def table(heads: list[str], lines: Iterable[list[str]]) -> str:
    rows = [[plain(text) for text in line] for line in [heads, *lines]]
    rows.insert(1, ['---'] * len(heads))
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def bullets(texts: Iterable[str]) -> str:
    return '\n'.join(f'- {plain(text)}' for text in texts)
