"""The report as a page on its own, drawn from ``page.html.j2``; it fetches nothing."""
import base64
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .content import Report, need_of
from .details import find_details
from .tables import OURS, Bar, Printed, heading, references_of, remarks_on

TEMPLATE = 'page.html.j2'
DENSE = 8  # more heads than these are set closer
LEGEND = Bar((25, 40, 70), 45, 10, 80, 'an example')


def make_page(report: Report, images: Mapping[str, bytes], folder: Path | None) -> str:
    """The page; texts of suites, files and machines are escaped.

    Args:
        images: PNG by path, relative to the report.
        folder: where the page is to lie, for links to the folders of runs; None for
            none.
    """
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent),
                              autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(TEMPLATE).render(
        report=report, legend=LEGEND,
        claims=[dict(check=check, need=need_of(check), table=printed.result.table.name)
                for printed in report.tables for check in printed.checks],
        sections=[section(report, printed, images, folder) for printed in report.tables])


def section(report: Report, printed: Printed, images: Mapping[str, bytes],
            folder: Path | None) -> dict:
    """What the template shows of a table."""
    result = printed.result
    name = result.table.name
    details = find_details(report.suite, result)
    kind = 'picture' if (result.table.figure or {}).get('kind') == 'rollout' else 'chart'
    figure = images.get(f'figures/{name}.png')
    return dict(
        name=name, title=heading(result), printed=printed, details=details,
        caption=report.caption_of(result),
        width=width_of(printed, kind), kind=kind,
        figure=figure and base64.b64encode(figure).decode(),
        pdf=f'figures/{name}.pdf' if figure else None,
        remarks=remarks_on(report.suite, result) + report.remarks_of(result)
        + references_of(result),
        runs={} if folder is None else links(details.folders, folder))


def width_of(printed: Printed, kind: str) -> str:
    """Whether a table leaves room for its figure, has all of the page, or needs more."""
    if len(printed.heads) > DENSE:
        return 'dense'
    single = sum(head.kind == OURS for head in printed.heads) == 1
    return 'narrow' if single and kind == 'chart' else 'wide'


def links(folders: Mapping[str, Mapping[str, Mapping[int, Path]]], folder: Path
          ) -> dict[str, dict[str, dict[int, str]]]:
    """The addresses of runs' folders, relative to the page."""
    return {label: {title: {seed: quote(os.path.relpath(path, folder))
                            for seed, path in seeds.items()}
                    for title, seeds in columns.items()}
            for label, columns in folders.items() if columns}
