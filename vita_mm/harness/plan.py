"""From a suite to runs: which trainings and evaluations its numbers need."""
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from vita_mm.engine.runs import (keep_test_only, load_config, override,
                                 use_trained_model)
from vita_mm.errors import UserError

from .folder import ABSENT, DONE, STALE, RunFolder, Standing
from .inputs import find_inputs
from .suite import ROOT, Column, Row, Suite, Table, has_cell


@dataclass(eq=False)
class Run:
    """A training, or an evaluation of a training's weights or of frozen CLIP.

    Attributes:
        name: of the folder, such as ``vita_mini,num_global=0/seed1``.
        source: config file, for estimates.
        config: resolved.
        seed: of the training.
        folder: where it lies.
        trained: the training whose weights are evaluated; None for frozen CLIP, and for
            a training itself.
        inputs: see :func:`find_inputs`; the ``weights`` of an evaluation are None until
            its training is done.
        standing: whether it is done, and why not.
    """
    name: str
    source: str
    config: Config
    seed: int
    folder: RunFolder
    trained: 'Run | None' = None
    inputs: dict | None = None
    standing: Standing = field(default_factory=lambda: Standing(ABSENT))

    @property
    def trains(self) -> bool:
        return self.config.get('train_cfg') is not None

    @property
    def done(self) -> bool:
        return self.standing.state == DONE


@dataclass
class Place:
    """Where a number of the suite comes from: a run, and a name in its metrics."""
    table: Table
    row: Row
    column: Column
    seed: int
    run: Run


class Plan:
    """The runs of a suite, each once, however many rows share it.

    Args:
        suite: what to run.
        out: its folder.
        seeds: how many, for rows that train.
        options: dotted config key to value, on top of every config it fits.
        trust_code: results stay valid when our code has changed.
    """

    def __init__(self, suite: Suite, out: Path, seeds: int, options: dict | None = None,
                 trust_code: bool = False) -> None:
        self.suite = suite
        self.out = Path(out)
        self.options = {**suite.override, **(options or {})}
        self.trust_code = trust_code
        self.runs: dict[str, Run] = {}
        self.places: list[Place] = []
        for table, row in suite.rows():
            for seed in range(seeds if row.train else 1):
                for name in table.columns:
                    if has_cell(row, name):
                        column = table.column(row, name)
                        run = self._run_of(row, column, seed)
                        self.places.append(Place(table, row, column, seed, run))
        self.refresh()

    def _run_of(self, row: Row, column: Column, seed: int) -> Run:
        """The evaluation that gives a cell its number."""
        if row.train is None:
            return self._add(config_name(column.test), column.test,
                             self._read(column.test), seed)
        trained = self._training(row, seed)
        if column.test is None:
            return self._add(f'{trained.name.rpartition("/")[0]}@test', row.train,
                             trained.config.copy(), seed, trained)
        config = self._read(column.test)
        use_trained_model(config, trained.config)
        name = f'{trained.name.rpartition("/")[0]}@{config_name(column.test)}'
        return self._add(name, column.test, config, seed, trained)

    def _training(self, row: Row, seed: int) -> Run:
        plain = self._read(row.train)
        config = plain.copy()
        override(config, row.override, f'{row.id}: override')
        changes = {key: value for key, value in row.override.items()
                   if lookup(plain, key) != value}
        config.randomness.seed = seed
        return self._add(folder_name(row.train, changes), row.train, config, seed,
                         trains=True)

    def _read(self, path: str) -> Config:
        config = load_config(ROOT / path)
        fitting = {key: value for key, value in self.options.items()
                   if config.get(key.split('.')[0]) is not None}
        override(config, fitting, f'the options of the suite, on {path}')
        return config

    def _add(self, name: str, source: str, config: Config, seed: int,
             trained: Run | None = None, trains: bool = False) -> Run:
        name = f'{name}/seed{seed}'
        if name in self.runs:
            return self.runs[name]
        if not trains:
            keep_test_only(config)
        folder = RunFolder(self.out / 'runs' / name)
        self.runs[name] = Run(name, source, config, seed, folder, trained)
        return self.runs[name]

    def refresh(self) -> None:
        """Look at the folders again; trainings first, for evaluations need them."""
        for run in sorted(self.runs.values(), key=lambda run: run.trained is not None):
            self.look(run)

    def look(self, run: Run) -> None:
        """Look at the folder of one run again."""
        trained = run.trained
        weights = trained.folder.manifest['checkpoint']['sha256'] \
            if trained is not None and trained.done else None
        run.inputs = find_inputs(run.config, weights)
        run.standing = run.folder.standing(run.inputs, self.trust_code)
        if trained is not None and not trained.done:
            # An old result is stale: its model is not the one asked for.
            run.standing = Standing(
                STALE if run.folder.status else ABSENT,
                [f'needs {trained.name}, which is {trained.standing.state}'])
        if run.inputs['missing'] and not run.done:
            run.standing = Standing(ABSENT, [run.inputs['missing']])

    def select(self, only: str | None) -> list[Run]:
        """The runs that the rows fitting a pattern need, trainings before evaluations.

        Raises:
            UserError: if no row fits.
        """
        chosen = {id(row) for _, row in self.suite.rows(only)}
        if not chosen:
            names = ', '.join(table.name for table in self.suite.tables)
            raise UserError(f'--only {only} fits no row of the suite '
                            f'{self.suite.name}; its tables are {names}, its rows '
                            'TABLE/ROW')
        needed = {}
        for place in self.places:
            if id(place.row) in chosen:
                for run in filter(None, (place.run.trained, place.run)):
                    needed[run.name] = run
        return sorted(needed.values(),
                      key=lambda run: (run.trained is not None, run.seed))

    def users(self, run: Run) -> list[str]:
        """The rows whose numbers need a run."""
        return list(dict.fromkeys(
            place.row.id for place in self.places
            if run in (place.run, place.run.trained)))


def chains(runs: list[Run]) -> Iterator[list[Run]]:
    """Group what is to do: a training and its evaluations go in one process.

    It has then loaded the libraries once; evaluations of one trained model are next to
    each other as well.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if not run.done:
            groups.setdefault((run.trained or run).name, []).append(run)
    yield from groups.values()


def lookup(config, key: str):
    """The value at a dotted key; None where there is none."""
    for part in key.split('.'):
        try:
            config = config[int(part)] if isinstance(config, list) else config.get(part)
        except (AttributeError, IndexError, ValueError):
            return None
    return config


def config_name(path: str) -> str:
    """``configs/zero_shot/mini_k600.py`` becomes ``zero_shot-mini_k600``."""
    parts = Path(path).with_suffix('').parts
    if 'configs' in parts:
        return '-'.join(parts[parts.index('configs') + 1:])
    return parts[-1]


def folder_name(path: str, changes: dict) -> str:
    """The config's name and what differs from it."""
    words = [config_name(path)] + [
        f'{key.rsplit(".", 1)[-1]}={value}' for key, value in sorted(changes.items())]
    name = ','.join(words).replace('/', '-').replace(' ', '_')
    if len(name) <= 100 and name.isprintable():
        return name
    return f'{words[0]},{hashlib.sha256(name.encode()).hexdigest()[:12]}'
