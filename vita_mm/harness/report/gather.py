"""Collect the numbers of a suite from the folders of its runs."""
from collections import defaultdict

from vita_mm.engine.variants import prompts_of
from vita_mm.errors import UserError
from vita_mm.harness.run.folder import ABSENT, STALE
from vita_mm.harness.run.plan import Place, Plan, Run
from vita_mm.harness.run.result import DONE, FAILED
from vita_mm.harness.spec.published import read_published
from vita_mm.labels.class_names import form_of

from .claims import step_before
from .outcomes import read_outcomes, stacked
from .results import Cell, RowResult, TableResult, others_of
from .statistics import interval

# The worst of a cell's runs is the state of the cell.
ORDER = (FAILED, STALE)


def gather(plan: Plan) -> list[TableResult]:
    """What is measured, beside what is published; from folders only, nothing runs."""
    published = read_published()
    places: dict[tuple, list[Place]] = defaultdict(list)
    for place in plan.places:
        places[place.row.id, place.column.name].append(place)
    results = []
    for table in plan.suite.tables:
        rows = [RowResult(row, {
            name: collect(places[row.id, name],
                          published.get((table.name, row.published or '', name)))
            for name in table.columns if (row.id, name) in places})
            for row in table.rows]
        for before, row in zip(rows, rows[1:]):
            row.steps = step_before(row, before)
        results.append(TableResult(table, rows, others_of(table, published)))
    return results


def collect(places: list[Place], paper) -> Cell:
    """One cell, from its runs of all seeds."""
    cell = Cell(places[0].column, paper=paper)
    causes = [cause_of(place.run) for place in places]
    for place in places:
        if place.run.done:
            measure(cell, place)
    states = [run.status.state for run in causes]
    cell.state = next((state for state in ORDER if state in states),
                      DONE if cell.values else cell.state)
    for run in causes:
        if cell.error is None and cell.state in (FAILED, ABSENT) \
                and run.status.state == cell.state:
            cell.error = last_words(run)
    if cell.outcomes.keys() != cell.values.keys():  # of runs that kept none
        cell.outcomes = {}
    if cell.outcomes and cell.state == DONE:
        scale = cell.column.scale
        cell.estimate = interval(*stacked(cell.outcomes)).times(scale).within(0, scale)
    return cell


def cause_of(run: Run) -> Run:
    """The run that says how this one stands: its training, where that was not done."""
    trained = run.trained
    return trained if trained and trained.status.state in (FAILED, ABSENT) else run


def measure(cell: Cell, place: Place) -> None:
    """Add the numbers of one seed."""
    outcome, column = place.run.folder.outcome, place.column
    metrics = outcome.metrics
    prefix = column.metric.rpartition('acc/')[0] + 'acc/'
    if column.metric not in metrics:
        cell.state, cell.error = FAILED, (
            f'{place.run.name} has no metric {column.metric!r}; it has '
            + ', '.join(sorted(metrics)))
        return
    cell.values[place.seed] = metrics[column.metric] * column.scale
    cell.folders[place.seed] = place.run.folder.path
    found = outcome.predictions and read_outcomes(
        place.run.folder.path / outcome.predictions, column.metric)
    # A file that says something else is of another evaluation.
    if found and abs(found.right @ found.weights - metrics[column.metric]) < 1e-6:
        cell.outcomes[place.seed] = found
    if column.std is not None:
        cell.spreads[place.seed] = metrics[column.std] * column.scale
    if f'{prefix}videos_read' in metrics:  # MMAction2's own metrics do not count them
        cell.videos = int(metrics[f'{prefix}videos_read'])
        cell.unreadable = int(metrics.get(f'{prefix}videos_unreadable', 0))
    if prompts_of(place.run.config):
        classes = place.run.config.model.cls_head.classes
        try:
            cell.class_names = form_of(classes)
        except UserError:  # a file that is not here any more
            cell.class_names = f'of {classes}'


def last_words(run: Run) -> str | None:
    """Why a run failed or cannot be run, in a line; the log has the rest."""
    result = run.folder.result
    lines = result.last_lines if result is not None else []
    return '; '.join([*run.status.reasons, *lines[-1:]]) or None
