"""From a suite to runs: which trainings and evaluations its numbers need."""
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from vita_mm.engine.plugins import folder_of, plugins_of
from vita_mm.engine.runs import keep_test_only, load_config, override, use_trained_model
from vita_mm.engine.variants import (
    Variants,
    add_prompts,
    apply_variants,
    find_dataset,
)
from vita_mm.errors import UserError
from vita_mm.harness.spec.suite import (
    OF_TRAINING,
    Column,
    Row,
    Suite,
    Table,
    has_cell,
)
from vita_mm.io.files import locate

from .folder import ABSENT, INTERRUPTED, STALE, RunFolder, Status
from .inputs import InputFinder, changed_keys, identity, lookup
from .names import Names, choose, names_of_test, names_of_training
from .records import Inputs, RunSpec
from .result import DONE

SEED = 'randomness.seed'
# Variants that make an evaluation longer or shorter.
COSTLY = ('dataset', 'split', 'frames', 'stride', 'views', 'resize')


@dataclass(eq=False)
class Recipe:
    """What rows ask for, whatever the seed: the same for all that ask for the same.

    Attributes:
        source: config file and variants, for estimates.
        config: resolved, without the seed. Recipes share parts of their configs, which
            are therefore never changed in place.
        inputs: without the seed.
        folders: of its config files, beside which plug-ins may lie.
        content: digest of all that decides the result.
        names: what it may be called; of an evaluation, behind its training's name.
        trained: the training whose weights are evaluated; None for frozen CLIP, and for
            a training itself.
        rows: the first of those that ask for it, by how they write it.
        name: of its folder.
    """
    source: str
    config: Config
    inputs: Inputs
    folders: list[str]
    content: str
    names: Names
    trained: 'Recipe | None' = None
    rows: dict[str, str] = field(default_factory=dict)
    name: str = ''

    @property
    def trains(self) -> bool:
        return self.config.get('train_cfg') is not None


@dataclass(eq=False)
class Run:
    """A training, or an evaluation of a training's weights or of frozen CLIP.

    Attributes:
        recipe: what it is but for the seed.
        seed: of the training.
        folder: where it lies.
        trained: the training whose weights are evaluated, see :class:`Recipe`.
        inputs: the ``weights`` of an evaluation are None until its training is done.
        rows: ``TABLE/ROW`` of those whose numbers need it.
        status: whether it is done, and why not.
    """
    recipe: Recipe
    seed: int
    folder: RunFolder
    inputs: Inputs
    trained: 'Run | None' = None
    rows: list[str] = field(default_factory=list)
    status: Status = field(default_factory=lambda: Status(ABSENT))

    @property
    def name(self) -> str:
        """Of the folder, such as ``vita_mini,num_global=0/seed1``."""
        return f'{self.recipe.name}/seed{self.seed}'

    @property
    def source(self) -> str:
        return self.recipe.source

    @property
    def trains(self) -> bool:
        return self.recipe.trains

    @property
    def config(self) -> Config:
        """Resolved, the seed included."""
        if not self.trains:
            return self.recipe.config
        return changed(self.recipe.config, {SEED: self.seed}, self.name)

    @property
    def spec(self) -> RunSpec:
        """What is asked for, for the manifest in its folder."""
        return RunSpec(
            name=self.name, rows=self.rows, source=self.source, seed=self.seed,
            trained=str(self.trained.folder.path.resolve()) if self.trained else None,
            inputs=self.inputs, python_path=self.recipe.folders)

    @property
    def done(self) -> bool:
        return self.status.state == DONE


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

    Two rows share a run exactly if all that decides its result is equal: see
    :class:`vita_mm.harness.run.records.Inputs`. How they write it does not count.

    Args:
        suite: what to run.
        out: its folder.
        seeds: how many at least, for rows that train; a row may ask for more.
        options: dotted config key to value, on top of every config it fits.
        trust_code: results stay valid when our code has changed.
        trust_data: see :class:`vita_mm.harness.run.inputs.InputFinder`.
    """

    def __init__(self, suite: Suite, out: Path, seeds: int, options: dict | None = None,
                 trust_code: bool = False, trust_data: bool | None = None) -> None:
        self.suite = suite
        self.out = Path(out)
        self.options = {**suite.override, **(options or {})}
        self.trust_code = trust_code
        self._inputs = InputFinder(trust_data)
        self._files: dict[Path, Config] = {}
        self._configs: dict[tuple[str, Variants], Config] = {}
        self.recipes: dict[str, Recipe] = {}
        cells = [(table, row, self._recipes_of(table, row))
                 for table, row in suite.rows()]
        self._name_recipes()
        self.runs: dict[str, Run] = {}
        self.places: list[Place] = []
        self._evaluations: dict[str, list[Run]] = {}
        for table, row, columns in cells:
            for seed in range(row.number_of_seeds(seeds)):
                for name, recipe in columns.items():
                    self.places.append(Place(table, row, table.column(row, name), seed,
                                             self._run(recipe, seed, row)))
        self.refresh()

    def _recipes_of(self, table: Table, row: Row) -> dict[str, Recipe]:
        """The evaluations that give a row its numbers, by column."""
        columns = {name: table.column(row, name) for name in table.columns
                   if has_cell(row, name)}
        if row.train is None:
            return {name: self._alone(row, column) for name, column in columns.items()}
        plain = self._read(row.train, row.of_training)
        config = changed(plain, row.override, f'{row.id}: override')
        changes = {key: value for key, value in row.override.items()
                   if lookup(plain, key) != value}
        variants = row.variants.only(*OF_TRAINING)
        trained = self._add(row, say(row.train, variants), config, row.train, {
            **variants.given(), **{key: value for key, value in changes.items()
                                   if not key.startswith('test_')}})
        return {name: self._evaluation(row, column, config, changes, trained)
                for name, column in columns.items()}

    def _alone(self, row: Row, column: Column) -> Recipe:
        """An evaluation without training."""
        path, variants = column.test, column.variants
        assert path is not None  # see check_row
        return self._add(row, say(path, variants), for_test(self._read(path, variants)),
                         path, variants.given())

    def _evaluation(self, row: Row, column: Column, trained: Config, changes: dict,
                    training: Recipe) -> Recipe:
        """Of a training, whose own test set has what the row changes in it."""
        variants, test = column.variants, column.test
        if test is not None:
            config = copy.deepcopy(for_test(self._load(test)))
            use_trained_model(config, trained)
            add_prompts(config)
            config = self._with_options(apply_variants(config, variants, self._load))
            imports = [*plugins_of(config), *plugins_of(trained)]
            config.custom_imports = dict(imports=list(dict.fromkeys(imports)),
                                         allow_failed_imports=False)
            return self._add(row, say(test, variants), config, test, variants.given(),
                             training)
        config = apply_variants(trained, variants, self._load)
        if variants.dataset is not None:
            config = for_test(self._with_options(config))
            path, split = find_dataset(variants.dataset)
            named = Variants(split=split) | variants.without('dataset')
            return self._add(row, variants.only(*COSTLY).words(), config, path,
                             named.given(), training)
        changes = variants.given() | {key: value for key, value in changes.items()
                                      if key.startswith('test_')}
        source = say(training.source, variants.only(*COSTLY))
        return self._add(row, source, for_test(config), None, changes,
                         training)

    def _load(self, path: str) -> Config:
        """The config of a file, which is read once."""
        file = find_config(path)
        if file not in self._files:
            self._files[file] = load_config(file)
        return self._files[file]

    def _read(self, path: str, variants: Variants) -> Config:
        """The config of a file with variants, then with the options of the suite."""
        if (path, variants) not in self._configs:
            config = apply_variants(self._load(path), variants, self._load)
            self._configs[path, variants] = self._with_options(config)
        return self._configs[path, variants]

    def _with_options(self, config: Config) -> Config:
        """The same with the options of the suite that fit it."""
        fitting = {key: value for key, value in self.options.items()
                   if config.get(key.split('.')[0]) is not None}
        return changed(config, fitting,
                       f'the options of the suite, on {config.filename}')

    def _add(self, row: Row, source: str, config: Config, path: str | None,
             changes: dict | None = None, trained: Recipe | None = None) -> Recipe:
        """The recipe with this content."""
        inputs = self._inputs.of(config)
        trains = config.get('train_cfg') is not None
        if trains:
            inputs = with_config(inputs, {key: value for key, value
                                          in inputs.config.items() if key != SEED})
        content = identity(inputs, trained and trained.content)
        if trains:
            assert path is not None  # trainings are of a file
            names = names_of_training(path, changes or {}, content)
        else:
            names = names_of_test(path, changes or {}, content)
        own = [] if path is None else [folder_of(find_config(path))]
        folders = list(dict.fromkeys([*own, *(trained.folders if trained else ())]))
        recipe = self.recipes.setdefault(
            content, Recipe(source, config, inputs, folders, content, names, trained))
        recipe.names.spellings.append(names.choices[0])
        written = f'{source} {sorted(row.override.items()) if trains else changes}'
        recipe.rows.setdefault(written, row.id)
        return recipe

    def _name_recipes(self) -> None:
        """Trainings first, for the names of evaluations begin with theirs."""
        taken: set[str] = set()
        for trained in (False, True):
            self._give_names([recipe for recipe in self.recipes.values()
                              if (recipe.trained is not None) == trained], taken)

    def _give_names(self, recipes: list[Recipe], taken: set[str]) -> None:
        asked = [recipe.names if recipe.trained is None else Names(*(
            [f'{recipe.trained.name}@{name}' for name in names]
            for names in (recipe.names.choices, recipe.names.spellings)))
            for recipe in recipes]
        chosen = choose(asked, taken,
                        lambda number, name: self._holds(name, recipes[number]),
                        lambda name: (self.out / 'runs' / name).is_dir())
        for recipe, name in zip(recipes, chosen):
            recipe.name = name

    def _holds(self, name: str, recipe: Recipe) -> bool:
        """Whether a folder is of this recipe, be it stale or not."""
        for path in sorted((self.out / 'runs' / name).glob('seed*')):
            manifest = RunFolder(path).manifest
            if manifest is None:
                continue
            config = {key: value for key, value in manifest.inputs.config.items()
                      if key != SEED}
            trained = manifest.trained and Path(manifest.trained).parent.name
            return (not changed_keys(config, recipe.inputs.config)
                    and manifest.inputs.clip == recipe.inputs.clip
                    and trained == (recipe.trained and recipe.trained.name))
        return False

    def _run(self, recipe: Recipe, seed: int, row: Row) -> Run:
        """The run of a recipe; a row more needs it."""
        name = f'{recipe.name}/seed{seed}'
        trained = self._run(recipe.trained, seed, row) if recipe.trained else None
        if name not in self.runs:
            inputs = recipe.inputs
            if recipe.trains:
                inputs = with_config(inputs, {**inputs.config, SEED: repr(seed)})
            self.runs[name] = Run(recipe, seed, RunFolder(self.out / 'runs' / name),
                                  inputs, trained)
            if trained is not None:
                self._evaluations.setdefault(trained.name, []).append(self.runs[name])
        run = self.runs[name]
        if row.id not in run.rows:
            run.rows.append(row.id)
        return run

    def refresh(self, *runs: Run) -> None:
        """Look at the folders of runs again, by default of all."""
        # Trainings first, for evaluations need them.
        for run in sorted(runs or self.runs.values(),
                          key=lambda run: run.trained is not None):
            trained = run.trained
            weights = trained.folder.outcome.weights \
                if trained is not None and trained.done else None
            run.inputs = run.inputs.model_copy(
                update={'weights': weights.sha256 if weights else None})
            run.status = run.folder.status(run.inputs, self.trust_code)
            if trained is not None and not trained.done:
                # An old result is stale: its model is not the one asked for.
                run.status = Status(
                    ABSENT if run.status.state in (ABSENT, INTERRUPTED) else STALE,
                    [f'needs {trained.name}, which is {trained.status.state}'])
            if run.inputs.missing and not run.done:
                run.status = Status(ABSENT, [run.inputs.missing])

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

    def shared(self, runs: list[Run]) -> list[str]:
        """Which rows are one run although they are written differently, in sentences."""
        recipes = dict.fromkeys(run.recipe for run in runs)
        return [f'{" and ".join(recipe.rows.values())} are one run, '
                f'{recipe.name}: all that decides its result is equal'
                for recipe in recipes if len(recipe.rows) > 1]

    def is_used_up(self, training: Run) -> bool:
        """Whether a training is done and so are all its evaluations in the suite."""
        return training.done and all(
            run.done for run in self._evaluations.get(training.name, []))


def say(path: str, variants: Variants) -> str:
    """What is run, as on a command line."""
    return f'{path} {variants.words()}'.rstrip()


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


def changed(config: Config, options: dict, place: str) -> Config:
    """A config with these dotted keys set; the parts that stay are shared with it.

    Raises:
        UserError: see :func:`vita_mm.engine.runs.override`.
    """
    config = config.copy()
    # MMEngine (0.10.7) takes the key _delete_ out of the options that it merges.
    override(config, copy.deepcopy(options), place)
    return config


def for_test(config: Config) -> Config:
    """The evaluation in a config; the parts that stay are shared with it."""
    if config.get('test_dataloader') is None:
        raise UserError(f'{config.filename} has no test_dataloader to evaluate on')
    config = config.copy()  # shallow in MMEngine (0.10.7)
    config.test_dataloader = config.test_dataloader.copy()
    keep_test_only(config)
    return config


def with_config(inputs: Inputs, config: dict[str, str]) -> Inputs:
    return inputs.model_copy(update={'config': config})


def find_config(path: str) -> Path:
    """The file of a config as a suite names it.

    Args:
        path: absolute, as that of one beside the suite is, or relative to the current
            folder or the project; or one of an installed package, as MMEngine names
            them, such as ``mmaction::recognition/tsn/FILE.py``.

    Raises:
        UserError: if there is no such package.
    """
    package, two_colons, inside = path.partition('::')
    if two_colons:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(f'the config {path} is of a package that is not installed: '
                            f'{package}')
        return Path(spec.origin).parent / '.mim' / 'configs' / inside
    return Path(locate(path))
