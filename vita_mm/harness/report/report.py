"""The files of a report: a page, Markdown, figures, tables for a paper."""
import io
from dataclasses import replace
from pathlib import Path

from vita_mm.errors import UserError
from vita_mm.io.files import write_bytes

from .content import Report
from .exports import to_csv, to_latex
from .figures import draw
from .markdown import make_markdown
from .page import make_page

# Figures of the same numbers are the same files.
UNDATED = dict(png={'Software': None}, pdf={'CreationDate': None})
OWN = ('tables/*.csv', 'tables/*.tex', 'figures/*.png', 'figures/*.pdf')


def write_report(report: Report, folder: Path, runs: bool = True) -> Path:
    """Write everything under a folder; each file is there whole or not at all.

    Args:
        folder: gets ``report.md``, ``report.html``, ``figures/`` (PNG, PDF) and
            ``tables/`` (CSV, LaTeX); those of an earlier report are gone.
        runs: whether the page links to the folders of runs.

    Returns:
        The page, ``report.html``.
    """
    folder = Path(folder)
    files, remarks = {}, {}
    for result in report.results:
        name = result.table.name
        files[f'tables/{name}.csv'] = to_csv(report.suite, result).encode()
        files[f'tables/{name}.tex'] = to_latex(report.suite, result).encode()
        try:
            figure = draw(result, report.suite)
        except UserError as error:  # of a rollout, whose video may not be here
            remarks[name] = f'the figure is not drawn: {error}'
            continue
        if figure is None:
            continue
        for kind, undated in UNDATED.items():
            content = io.BytesIO()
            figure.savefig(content, format=kind, dpi=160, metadata=undated)
            files[f'figures/{name}.{kind}'] = content.getvalue()
    report = replace(report, remarks=remarks)
    images = {path: content for path, content in files.items() if path.endswith('.png')}
    files['report.md'] = make_markdown(report, images).encode()
    files['report.html'] = make_page(report, images, folder if runs else None).encode()
    for path, content in files.items():
        write_bytes(folder / path, content)
    for pattern in OWN:  # an old one would show what holds no longer
        for path in folder.glob(pattern):
            if path.relative_to(folder).as_posix() not in files:
                path.unlink()
    return folder / 'report.html'


def publish_report(report: Report, folder: Path) -> Path:
    """Write a report to be kept in a repository, without links to folders of runs.

    Returns:
        The page.

    Raises:
        UserError: if the numbers are not all of one commit without changes.
    """
    if (fault := report.provenance.fault) is not None:
        raise UserError(f'the report is not published to {folder}: {fault}; commit, and '
                        'run the suite anew from that commit')
    return write_report(report, folder, runs=False)
