"""The paper's figures, drawn from what was measured."""
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vita_mm.analysis.pictures import literal
from vita_mm.errors import UserError
from vita_mm.harness.run.folder import RunFolder
from vita_mm.harness.spec.published import read_published
from vita_mm.harness.spec.suite import Number, Suite

from .results import DONE, Cell, RowResult, TableResult
from .tables import is_counted, measured_cells, title_of

# Told apart by marker and line too, for those who print in black and white.
COLOURS = ('#0b3c6f', '#b5480b', '#2f7d4f', '#6b4c8f', '#4d4d4d')
MARKERS = 'osD^v'
LINES = ('-', '-.', ':')  # '--' is a baseline
OTHERS_MARKERS = '*XP'
DODGE = 0.12
TRADE_OFF = 'table5'  # the numbers behind the paper's Figure 1b


def draw(result: TableResult, suite: Suite) -> Figure | None:
    """The figure of a table; None if it has none, or nothing of it is measured."""
    asked = result.table.figure
    if asked is None:
        return None
    return KINDS[asked['kind']](asked, result, suite)


def lines(asked: dict, result: TableResult, suite: Suite) -> Figure | None:
    """The first column over ``x``, a line for each series, bars as :func:`bars_of`.

    A series of a single row, a baseline, is a horizontal line. Points of several series
    at one place stand beside each other.
    """
    column = next(iter(result.table.columns.values()))
    series: dict[str | None, list[tuple[Number, RowResult]]] = {}
    for row in result.rows:
        if row.row.x is not None:
            series.setdefault(row.row.series, []).append((row.row.x, row))
    baselines = {name for name, rows in series.items()
                 if len(rows) == 1 and len(series) > 1}
    # Equal steps: the values double, and there may be a 0.
    ticks = sorted({x for name, rows in series.items() for x, _ in rows
                    if name not in baselines})
    shifts = dodge([name for name in series if name not in baselines])
    figure, (axes,) = canvas(result, suite, 1)
    for place, (name, rows) in enumerate(series.items()):
        points = [(x, cell) for x, row in rows
                  if (cell := measured(row, column.name)) is not None]
        style = dict(color=COLOURS[place % len(COLOURS)], label=name and literal(name))
        if points and name in baselines:
            axes.axhline(points[0][1].mean, linestyle='--', linewidth=1.2, **style)
        elif points:
            axes.errorbar([ticks.index(x) + shifts[name] for x, _ in points],
                          [cell.mean for _, cell in points],
                          yerr=list(zip(*(bars_of(cell) for _, cell in points))),
                          marker=MARKERS[place % len(MARKERS)],
                          linestyle=LINES[place % len(LINES)], capsize=3, **style)
    if not axes.has_data():
        return None
    axes.set_xticks(range(len(ticks)), [f'{x:g}' for x in ticks])
    axes.set_xlim(-0.3, len(ticks) - 0.7)
    axes.set_xlabel(literal(asked['x']))
    axes.set_ylabel(literal(f'{title_of(column)}, {bars_named(result, [column.name])}'))
    if len(series) > 1:
        axes.legend(frameon=False)
    return figure


def trade_off(asked: dict, result: TableResult, suite: Suite) -> Figure | None:
    """A panel for each column in ``y``, over the column ``x``.

    Bars as :func:`bars_of`. The paper's own points are there only where numbers can be
    compared with it.
    """
    x, ys = asked['x'], asked['y']
    columns = result.table.columns
    figure, panels = canvas(result, suite, len(ys))
    for y, axes in zip(ys, panels):
        for place, row in enumerate(result.rows):
            across, up = measured(row, x), measured(row, y)
            if across and up:
                axes.errorbar(across.mean, up.mean,
                              xerr=[[end] for end in bars_of(across)],
                              yerr=[[end] for end in bars_of(up)],
                              color=COLOURS[place % len(COLOURS)], capsize=3,
                              linestyle='none', marker=MARKERS[place % len(MARKERS)],
                              markersize=7, label=literal(row.row.label))
        axes.set_xlabel(literal(title_of(columns[x])))
        axes.set_ylabel(literal(f'{title_of(columns[y])}, '
                                f'{bars_named(result, [x, y])}'))
    if not any(axes.has_data() for axes in panels):
        return None
    if suite.compared == 'values':
        for y, axes in zip(ys, panels):
            draw_published(axes, x, y)
    # A panel may lack a point that the other has.
    entries = {label: handle for axes in panels
               for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(entries.values(), entries.keys(), loc='outside lower center',
                  ncols=2, frameon=False)
    return figure


def draw_published(axes, x: str, y: str) -> None:
    """The paper's points: hollow, grey, without bars."""
    points: dict[str, dict] = {}
    for (table, row, metric), published in read_published().items():
        if table == TRADE_OFF:
            points.setdefault(row, {})[metric] = published
    for place, point in enumerate(points.values()):
        if x in point and y in point:
            axes.plot(point[x].value, point[y].value, linestyle='none', markersize=10,
                      marker=OTHERS_MARKERS[place % len(OTHERS_MARKERS)],
                      markerfacecolor='none', markeredgecolor='0.35',
                      label=f'paper: {point[x].label}')


def bars_of(cell: Cell) -> tuple[float, float]:
    """How far a number reaches down and up: its interval, or else the sd of its seeds."""
    found, mean = cell.estimate, cell.mean
    if found is None or mean is None:
        return cell.std or 0, cell.std or 0
    return max(mean - found.low, 0), max(found.high - mean, 0)


def bars_named(result: TableResult, columns: list[str]) -> str:
    """What the bars of columns are, for an axis."""
    cells = [cell for name in columns for cell in measured_cells(result, name)]
    known = [cell.estimate is not None for cell in cells if not is_counted(cell)]
    return 'interval of 95 %' if known and all(known) else '± sd of the seeds' \
        if not any(known) else 'interval of 95 %, or ± sd of the seeds'


def dodge(names: list) -> dict:
    """By name how far its points stand beside their place, in steps of the axis."""
    return {name: DODGE * (place - (len(names) - 1) / 2)
            for place, name in enumerate(names)}


def attention(asked: dict, result: TableResult, suite: Suite) -> Figure | None:
    """What a row attends to in a video of its test set, above frozen CLIP; see
    :mod:`vita_mm.analysis.rollout`.

    Raises:
        UserError: if its weights or the video are not here, or there is no rollout of
            its system.
    """
    row = next(each for each in result.rows if each.row.name == asked['row'])
    cell = measured(row, next(iter(result.table.columns)))
    if cell is None or not cell.folders:
        return None
    folder = RunFolder(cell.folders[min(cell.folders)])
    # Not before it is needed: it loads the models.
    from vita_mm.analysis.attention_pictures import frames_figure, look
    from vita_mm.inference import Predictor
    from vita_mm.models import CLIPVisionTransformer

    weights = folder.weights
    predictor = Predictor(weights, config=None if weights else str(
        folder.path / 'config.py'))
    frozen = CLIPVisionTransformer(predictor.model.cls_head.clip)
    sight = look(predictor, frozen if weights else None,
                 video_of(folder, asked.get('video', 0)))
    return frames_figure(sight.frames, sight.heats, sight.title)


def video_of(folder: RunFolder, place: int) -> str:
    """The path of a video of the test set that a run read, by its place in the list."""
    from mmaction.registry import DATASETS
    from mmaction.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    config = Config.fromfile(folder.path / 'config.py')
    dataset = DATASETS.build(config.test_dataloader.dataset)
    if place >= len(dataset):
        raise UserError(f'the test set of {folder.path} has no video {place}: it has '
                        f'{len(dataset)}')
    return dataset.get_data_info(place)['filename']


KINDS = dict(lines=lines, trade_off=trade_off, rollout=attention)


def canvas(result: TableResult, suite: Suite, panels: int) -> tuple[Figure, list]:
    """An empty figure, without pyplot's global state."""
    figure = Figure(figsize=(5.5 if panels == 1 else 4.2 * panels, 4.2),
                    layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(literal(f'{result.table.title}, {suite.title}'), fontsize=10)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for panel in axes:
        panel.spines[['top', 'right']].set_visible(False)
        panel.grid(axis='y', color='0.9')
        panel.set_axisbelow(True)
    return figure, list(axes)


def measured(row: RowResult, column: str) -> Cell | None:
    cell = row.cells.get(column)
    return cell if cell is not None and cell.state == DONE else None
