"""What speed.py has measured: kept in a JSON file, shown as a table."""
import hashlib
import os
from pathlib import Path
from typing import Any

import vita_mm
import speed_measure as measure
import torch
from rich import box
from rich.console import Console, Group
from rich.table import Table
from speed_measure import Figures
from speed_models import Setup
from speed_parts import Comparison, Facts
from vita_mm.harness.run.closure import digest_tree, parse
from vita_mm.io.files import read_json, write_json
from vita_mm.tracking.probes import cpu_name, find_git

HEADER = ('what', 'against', 'ours', 'opponent', 'ratio', 'spread', 'wall', 'target',
          '')
FACTS_HEADER = ('what', 'of ours', 'value')
NOTE = ('Medians of pairs measured in turn. The ratio is opponent / ours in CPU '
        'seconds (on a GPU wall seconds), of memory ours / opponent; the spread is the '
        'least and the largest of the pairs; wall is the ratio in wall seconds. '
        'Against matrix products alone the ratio is the share of their rate.')


# Of the package: what is measured.
CODE = ('models/**/*.py', 'data/*.py', 'engine/*.py', 'labels/*.py')


def find_stamp(setup: Setup) -> dict:
    """What results depend on: those with another stamp are others."""
    package = Path(vita_mm.__file__).parent
    code = repr([digest_tree(parse(file)) for part in CODE
                 for file in sorted(package.glob(part))])
    baseline = Path(__file__).with_name('baseline_model.py').read_bytes()
    return dict(arch=setup.arch, classes=setup.classes, threads=setup.threads,
                processor=cpu_name(), torch=torch.__version__,
                code=hashlib.sha256(code.encode() + baseline).hexdigest()[:16])


def describe_machine(setup: Setup) -> dict[str, str]:
    product = measure.MatrixProduct(1576, 768)
    took = min(product.repeat(1e11)['wall'] for _ in range(3))
    git = find_git(Path(__file__).parent)
    dirty = ' and changes' if git.get('git.dirty') == 'true' else ''
    machine = dict(
        processor=cpu_name(), cores=str(len(os.sched_getaffinity(0))),
        threads=str(setup.threads),
        memory=f'{measure.main_memory() / 2**30:.0f} GiB', torch=torch.__version__,
        commit=git.get('git.commit', 'unknown')[:12] + dirty)
    machine['matmul rate, float32'] = f'{100 / took:.0f} GFLOP/s'
    if torch.cuda.is_available():
        machine['gpu'] = torch.cuda.get_device_name()
    return machine


class Results:
    """The rows that were measured, in a file that is whole after each pair.

    The file keeps the rows of every stamp; those of this one are worked on.
    """

    def __init__(self, path: Path, stamp: dict, machine: dict, again: list[str]
                 ) -> None:
        self.path = path
        content: Any = read_json(path)  # a list
        self.sets: list[dict] = content or []
        own = [one for one in self.sets if one['stamp'] == stamp]
        self.own: dict = own[0] if own else dict(stamp=stamp, machine=machine, rows=[])
        if not own:
            self.sets.append(self.own)
        self.own['machine'] = machine
        self.rows: list[dict] = self.own['rows']
        self.rows[:] = [row for row in self.rows if row['part'] not in again]

    def find(self, part: str, what: str, opponent: str | None = None
             ) -> dict[str, Any] | None:
        return next((row for row in self.rows if (part, what, opponent) == (
            row['part'], row['what'], row.get('opponent'))), None)

    def pairs_of(self, comparison: Comparison) -> int:
        row = self.find(comparison.part, comparison.what, comparison.opponent)
        return len(row['ours'][comparison.figure]) if row else 0

    def add_pair(self, comparison: Comparison, ours: Figures, opponent: Figures
                 ) -> None:
        row: dict[str, Any] | None = self.find(
            comparison.part, comparison.what, comparison.opponent)
        if row is None:
            row = dict(part=comparison.part, what=comparison.what,
                       opponent=comparison.opponent, figure=comparison.figure,
                       ours={name: [] for name in ours},
                       opponent_took={name: [] for name in opponent})
            self.rows.append(row)
        for name in ours:
            row['ours'][name].append(ours[name])
            row['opponent_took'][name].append(opponent[name])
        target = comparison.target
        row['ratios'] = {name: measure.summarize(
            row['ours'][name], row['opponent_took'][name], name != 'GiB')
            for name in ours}
        if target is not None:
            row['target'] = str(target)
            row['reached'] = target.reached(row['ratios'][comparison.figure]['ratio'])
        self.save()

    def add_facts(self, facts: Facts, found: Figures) -> None:
        self.rows.append(dict(part=facts.part, what=facts.what, facts=found))
        self.save()

    def save(self) -> None:
        write_json(self.path, self.sets)
        self.path.with_suffix('.md').write_text(self.markdown(), encoding='utf-8')

    def print(self, console: Console) -> None:
        table = Table(*HEADER, box=box.SIMPLE_HEAD, title='Speed', padding=(0, 1, 0, 0))
        for column in table.columns[2:]:
            column.no_wrap = True
        for line in lines_of(self.rows):
            table.add_row(*line)
        facts = Table(*FACTS_HEADER, box=box.SIMPLE_HEAD)
        for line in facts_of(self.rows):
            facts.add_row(*line)
        console.print(Group(table, facts) if facts.rows else table, NOTE, sep='\n')

    def markdown(self) -> str:
        """Of every stamp, the newest first."""
        parts = ['# Speed', NOTE]
        for found in reversed(self.sets):
            described = found['machine'] | {
                name: str(found['stamp'][name]) for name in ('arch', 'classes')}
            facts = facts_of(found['rows'])
            parts += ['\n'.join(f'- {key}: {value}' for key, value in described.items()),
                      markdown_table(HEADER, lines_of(found['rows'])),
                      markdown_table(FACTS_HEADER, facts) if facts else '']
        return '\n\n'.join(filter(None, parts)) + '\n'


def lines_of(rows: list[dict]) -> list[tuple[str, ...]]:
    """The comparisons, as :data:`HEADER` names them."""
    return [line_of(row) for row in rows if 'ratios' in row]


def facts_of(rows: list[dict]) -> list[tuple[str, ...]]:
    return [(row['what'], name, f'{value:.4g}')
            for row in rows for name, value in row.get('facts', {}).items()]


def line_of(row: dict) -> tuple[str, ...]:
    main, wall = row['ratios'][row['figure']], row['ratios'].get('wall')
    unit = 'GiB' if row['figure'] == 'GiB' else 's'
    reached = {True: 'reached', False: 'missed', None: ''}[row.get('reached')]
    return (row['what'], row['opponent'], f'{main["ours"]:.3g} {unit}',
            f'{main["opponent"]:.3g} {unit}', f'{main["ratio"]:.2f}',
            f'{main["low"]:.2f}-{main["high"]:.2f}',
            f'{wall["ratio"]:.2f}' if wall else '', row.get('target', ''), reached)


def markdown_table(header: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rows = [header, ('---', ) * len(header), *lines]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
