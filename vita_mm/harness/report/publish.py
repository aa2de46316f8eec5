"""The tables of a suite in MLflow: a run for each table, a child for each row and seed,
and one for the mean of a row's seeds.

Everything goes through journals in the suite's folder, so that a server that is away
loses nothing.
"""
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from vita_mm.errors import UserError
from vita_mm.harness.run.folder import RunFolder
from vita_mm.harness.spec.suite import Suite
from vita_mm.io.checkpoints import read_tensors, write_atomically
from vita_mm.io.files import replacing
from vita_mm.models.common.description import KEY
from vita_mm.tracking import Journal, ServerAway, find_journals, redact, sync
from vita_mm.tracking.journal import now
from vita_mm.tracking.store import default_uri, read_environment
from vita_mm.tracking.values import PARAM_LENGTH, TAG_LENGTH, cut, to_key

from .results import DONE, FAILED, Cell, RowResult, TableResult

MEAN = 'mean'  # of the seeds of a row, in the place of one
RUNS = 'runs'  # the parent of the trainings and evaluations themselves


class Publisher:
    """Writes what a suite measured for MLflow; the same again changes nothing.

    Args:
        suite: whose numbers these are.
        out: its folder; the journals are in ``out/mlflow``.

    Raises:
        UserError: if the tracking address is none.
    """

    def __init__(self, suite: Suite, out: Path) -> None:
        self.suite = suite
        self.out = Path(out)
        self.uri = redact(default_uri())
        self.journals: dict[str, Journal] = {}
        self.closed: dict[Path, int] = {}
        # What holds is not superseded; the time of a journal says nothing, for clocks
        # are set back.
        for journal in find_journals(self.out):
            if 'key' in journal.header and 'superseded' not in last_tags(journal):
                self.journals[journal.header['key']] = journal

    def runs_parent(self) -> dict:
        """Journal header of the run that trainings and evaluations are part of."""
        return self._parent(RUNS, 'trainings and evaluations').header

    def publish(self, results: list[TableResult]) -> None:
        """Write the rows that are new, or whose numbers or verdicts have changed.

        A row whose numbers have changed gets a new run; the old one is tagged
        ``superseded``.
        """
        for result in results:
            for row in result.rows:
                for seed in seeds_of(row):
                    self._publish_row(result, row, seed)
                self._publish_mean(result, row)
                if FAILED in states_of(row):
                    self._publish_failure(result, row)
                else:
                    self._supersede(f'{row.row.id}/failed')

    def attach(self, folder: Path) -> None:
        """Make a report's files artifacts: of each table its own, of ``runs`` all."""
        for path in sorted(folder.rglob('*')):
            if path.is_file() and not path.name.endswith('.part'):
                keys = {RUNS, path.stem} & set(self.journals)
                for key in keys:
                    attach_file(self.journals[key], path,
                                f'report/{path.relative_to(folder)}')

    def deliver(self) -> int:
        """Send what is unsent, that of the trainings and evaluations included.

        Runs whose process was killed are closed. A server that is away is told of in
        one line; the next call sends the rest.

        Returns:
            The number of records sent.
        """
        count, unsent, away = 0, 0, set()
        for journal in find_journals(self.out, below=True):
            size = journal.path.stat().st_size
            if self.closed.get(journal.folder) == size and journal.is_sent():
                continue
            place = journal.header['uri']
            if place in away:
                continue
            try:
                sent = sync(journal, surely=True)
            except (ServerAway, UserError) as error:
                away.add(place)
                print(f'MLflow {error}; the records stay in {self.out}, the next call '
                      'sends them', flush=True)
                continue
            if sent is not None:
                count += sent
                unsent += journal.count_unsent()
                self.closed[journal.folder] = journal.path.stat().st_size
        if unsent:
            print(f'{unsent} records wait in {self.out} for the artifact store of '
                  'MLflow; the next call sends them', flush=True)
        return count

    def _parent(self, key: str, title: str) -> Journal:
        journal = self.journals.get(key) or self._create(
            key, f'{self.suite.name} {key}', None)
        write_tags(journal, dict(suite=self.suite.name, table=key, title=title))
        if not is_ended(journal):
            end(journal)
        journal.release()
        return journal

    def _create(self, key: str, name: str, parent: dict | None, **header) -> Journal:
        own = parent or read_environment()
        journal = Journal.create(
            self.out / 'mlflow', 'suite', key=key, run_name=name, parent=parent,
            run_id=None, uri=self.uri, experiment=own['experiment'],
            experiment_id=own.get('experiment_id'), **header)
        self.journals[key] = journal
        return journal

    def _child(self, result: TableResult, row: RowResult, name: str, content
               ) -> Journal:
        """The journal of a row, a new one if what it holds has changed."""
        key = f'{row.row.id}/{name}'
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        known = self.journals.get(key)
        if known is not None and known.header.get('content') == digest:
            return known
        self._supersede(key)
        parent = self._parent(result.table.name, result.table.title)
        return self._create(
            key, f'{row.row.name} {name}', parent.header, content=digest)

    def _supersede(self, key: str) -> None:
        """Mark what was published under this key, if anything, as out of date."""
        journal = self.journals.pop(key, None)
        if journal is not None:
            write_tags(journal, dict(superseded='true'))
            journal.release()

    def _publish_row(self, result: TableResult, row: RowResult, seed: int) -> None:
        metrics = dict(self._metrics(row, seed))
        datasets = [dataset.to_json() for path in folders_of(row, seed)
                    for dataset in RunFolder(path).outcome.datasets]
        journal = self._child(result, row, f'seed {seed}', [metrics, datasets])
        about = self._about(result, row, seed)
        if not is_ended(journal):
            # A label is no setting: a comparison would give it an axis.
            journal.write('params', values={
                to_key(key): cut(value, PARAM_LENGTH) for key, value in about.items()
                if key != 'label'})
            # A call that was killed here is made up for by the next, which writes all
            # again. MLflow knows a point that it has by its time.
            time = journal.header['time']
            journal.write('metrics', step=0, time=time, values=metrics)
            unique = {dataset['digest']: dataset for dataset in datasets}
            for dataset in unique.values():
                journal.write('dataset', **dict(
                    dataset, digest=dataset['digest'][:32]))
            end(journal)
        write_tags(journal, {**about, **dict(self._outcome(row, seed))})
        if self._is_best(row, seed):
            self._register(row, seed, journal, metrics)
        journal.release()

    def _publish_mean(self, result: TableResult, row: RowResult) -> None:
        """The means that the report prints, of a row of several seeds: what is compared
        with other rows."""
        if len(seeds_of(row)) < 2 or states_of(row) != {DONE}:
            self._supersede(f'{row.row.id}/{MEAN}')
            return
        metrics = {}
        for name, cell in row.cells.items():
            metrics |= {name: cell.mean, f'{name}_seeds_std': cell.std}
            if (found := cell.estimate) is not None:
                metrics |= {f'{name}_low': found.low, f'{name}_high': found.high}
        journal = self._child(result, row, MEAN, metrics)
        about = self._about(result, row, MEAN)
        if not is_ended(journal):
            journal.write('params', values={
                to_key(key): cut(value, PARAM_LENGTH) for key, value in about.items()
                if key != 'label'})
            journal.write('metrics', step=0, time=journal.header['time'], values=metrics)
            end(journal)
        write_tags(journal, about)
        journal.release()

    def _publish_failure(self, result: TableResult, row: RowResult) -> None:
        errors = {f'error.{name}': cell.error for name, cell in row.cells.items()
                  if cell.state == FAILED}
        journal = self._child(result, row, 'failed', errors)
        write_tags(journal, {**self._about(result, row, None), **errors,
                             'verdict': FAILED})
        if not is_ended(journal):
            end(journal, 'FAILED')
        journal.release()

    def _about(self, result: TableResult, row: RowResult, seed: int | str | None) -> dict:
        """What a comparison of rows shows."""
        return {**row.row.tags, 'suite': self.suite.name, 'table': result.table.name,
                'row': row.row.name, 'label': row.row.label,
                'seed': '-' if seed is None else seed}

    def _metrics(self, row: RowResult, seed: int) -> Iterator[tuple[str, float]]:
        for name, cell in row.cells.items():
            yield name, cell.values[seed]
            if seed in cell.spreads:
                yield f'{name}_split_std', cell.spreads[seed]
            if cell.videos is not None:
                yield f'{name}_videos', cell.videos
            # The paper's figures and the miniature's are never side by side.
            if self.suite.compared == 'values' and cell.paper is not None:
                yield f'paper_{name}', cell.paper.value
                yield f'delta_{name}', cell.values[seed] - cell.paper.value

    def _outcome(self, row: RowResult, seed: int) -> Iterator[tuple[str, str]]:
        """Verdicts, and which runs measured the row."""
        verdicts = {name: cell.verdict(self.suite, row.row)
                    for name, cell in row.cells.items()}
        yield 'verdict', ', '.join(dict.fromkeys(verdicts.values()))
        for name, cell in row.cells.items():
            yield f'verdict.{name}', verdicts[name]
            folder = cell.folders[seed]
            yield f'run.{name}', os.path.relpath(folder, self.out)
            for journal in find_journals(folder / 'work')[-1:]:
                if journal.sent()['run_id']:
                    yield f'mlflow_run.{name}', journal.sent()['run_id']

    def _is_best(self, row: RowResult, seed: int) -> bool:
        """Whether this is the best seed of a reproduced row that trains."""
        cell = headline(row)
        return row.row.train is not None and seed == max(
            cell.values, key=lambda each: cell.values[each]) and cell.verdict(
                self.suite, row.row) == 'reproduced'

    def _register(self, row: RowResult, seed: int, journal: Journal, metrics: dict
                  ) -> None:
        """Make the trained tensors a version of a registered model."""
        folder = headline(row).folders[seed]
        weights = RunFolder(folder).outcome.weights
        if weights is None:
            return
        tags = {'checkpoint.sha256': weights.sha256, 'suite': self.suite.name,
                'row': row.row.id}
        tags |= {key: str(value) for key, value in metrics.items()}
        known = [record['tags'] for record, _ in journal.read()
                 if record['kind'] == 'model']
        if tags in known:
            return
        try:
            content = read_tensors(folder / weights.path)
        except UserError as error:
            print(f'{row.row.id} is not registered as a model: {error}', flush=True)
            return
        # A folder of its own: a version must not change when there is a next one.
        path = f'model/{weights.sha256[:12]}/model.pth'
        file = journal.folder / 'files' / path
        described = content.get('meta', {}).get(KEY)  # not of every system
        write_atomically(dict(meta={} if described is None else {KEY: described},
                              state_dict=content['state_dict']), file)
        name = '-'.join(['vita_mm', self.suite.name, row.row.table, row.row.name])
        journal.write('model', path=path, tags=tags, name=re.sub(r'[^\w.\- ]', '_', name))


def headline(row: RowResult) -> Cell:
    return next(iter(row.cells.values()))


def states_of(row: RowResult) -> set[str]:
    return {cell.state for cell in row.cells.values()}


def seeds_of(row: RowResult) -> list[int]:
    """The seeds of which all numbers of a row are measured."""
    measured = [set(cell.values) for cell in row.cells.values()]
    return sorted(set.intersection(*measured)) if measured else []


def folders_of(row: RowResult, seed: int) -> list[Path]:
    return list(dict.fromkeys(cell.folders[seed] for cell in row.cells.values()))


def last_tags(journal: Journal) -> dict[str, str]:
    """The tags as the records leave them."""
    tags = {}
    for record, _ in journal.read():
        if record['kind'] == 'tags':
            tags.update(record['values'])
    return tags


def write_tags(journal: Journal, tags: dict) -> None:
    """Record those that are new or changed."""
    before = last_tags(journal)
    values = {to_key(key): cut(value, TAG_LENGTH) for key, value in tags.items()}
    changed = {key: value for key, value in values.items() if before.get(key) != value}
    if changed:
        journal.write('tags', values=changed)


def attach_file(journal: Journal, path: Path, name: str) -> None:
    """Record a file as an artifact, unless it is there with this content."""
    copy = journal.folder / 'files' / name
    if copy.exists() and copy.read_bytes() == path.read_bytes():
        return
    # First, so that a call that is killed before the copy is whole is made up for.
    journal.write('file', path=name)
    journal.release()
    with replacing(copy) as partial:
        shutil.copyfile(path, partial)


def is_ended(journal: Journal) -> bool:
    """Whether all of it was written; a call that was killed meanwhile leaves no end, or
    KILLED once that has been sent."""
    ends = [record['status'] for record, _ in journal.read()
            if record['kind'] == 'status']
    return ends[-1:] not in ([], ['KILLED'])


def end(journal: Journal, status: str = 'FINISHED') -> None:
    journal.write('status', status=status, time=now())
    journal.release()
