"""A trained model beside frozen CLIP under the same protocol: evaluations and a table."""
import copy
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vita_mm.engine.pipelines import find_sampling
from vita_mm.engine.runs import (
    evaluate,
    join_group,
    keep_test_only,
    keep_trained_pixels,
    load_config,
    override,
    use_trained_model,
)
from vita_mm.engine.selection import find_selection, say
from vita_mm.engine.variants import Variants, apply_variants, read_dataset
from vita_mm.errors import UserError
from vita_mm.io.checkpoints import find_checkpoint, read_tensors
from vita_mm.io.digests import digest_file
from vita_mm.io.files import read_json, write_json
from vita_mm.io.processes import wait_for_all
from vita_mm.labels.class_names import columns_of, form_of, read_classes
from vita_mm.labels.protocols import read_protocol
from vita_mm.models.common.system import System
from vita_mm.models.frozen_clip.model import frozen_model
from vita_mm.systems import SYSTEMS, check_verb, find_system
from vita_mm.tracking import MLflowTracking

from .run.inputs import InputFinder, identity

FROZEN = 'frozen CLIP'
NONE = 'none'  # in the place of a checkpoint
USED = Counter()  # names of experiments in this process


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        path: of its config.
        config: that it was trained with.
        checkpoint: its file; None for frozen CLIP.
        system: which it is of.
        chosen: how its weights were chosen, if they are not the last of a training.
    """
    path: str
    config: Config
    checkpoint: str | None
    system: System
    chosen: str | None = None


def read_trained(verb: str, path: str, checkpoint: str, options: dict | None = None
                 ) -> Trained:
    """The model of a config and a checkpoint.

    Args:
        verb: that is asked of it.
        checkpoint: a file, a work dir, whose last weights count, or ``none`` for frozen
            CLIP.
        options: of the command line, for the config.

    Raises:
        UserError: if it is of no system of ours, its system cannot do that, or there are
            no such weights.
    """
    config = load_config(path)
    override(config, options or {}, '--cfg-options')
    system = find_system(config.get('model') or {})
    if system is None:
        raise UserError(f'{verb}: the model of {path} is of none of the systems '
                        + ', '.join(other.title for other in SYSTEMS.values())
                        + ', so that it is not known what it is without its classes: '
                        'evaluate it by a config of its own with vita-mm test')
    check_verb(verb, system)
    trains = 'train' not in system.refusals
    if trains and checkpoint == NONE:
        raise UserError(f'{system.title} is trained: give its checkpoint, not {NONE}')
    if not trains and checkpoint != NONE:
        raise UserError(f'{system.title} has no weights of its own: give {NONE} in the '
                        f'place of {checkpoint}')
    if not trains:
        return Trained(path, config, None, system)
    file = str(find_checkpoint(checkpoint))
    content = read_tensors(file)
    keep_trained_pixels(config, content, options or {})
    selection = find_selection(content, file)
    return Trained(path, config, file, system,
                   None if selection is None else say(selection))


@dataclass
class Pass:
    """One reading of a dataset by one model.

    Attributes:
        dataset: its name in results.
        model: its name in results.
        title: as printed.
        config: of the evaluation.
        checkpoint: None for frozen CLIP.
        key: of all that decides the result; None in other processes than the first.
    """
    dataset: str
    model: str
    title: str
    config: Config
    checkpoint: str | None = None
    key: str | None = None


def on_its_own_set(dataset: str, trained: Trained) -> list[Pass]:
    """The passes over the test set of a training, with its classes."""
    frozen = copy.deepcopy(trained.config)
    frozen.model = frozen_model(frozen.model)
    return [Pass(dataset, FROZEN, FROZEN, frozen), *as_trained(
        dataset, trained, {trained.system.name: copy.deepcopy(trained.config)})]


def zero_shot(protocol: str, trained: Trained, datasets: list[str] | None = None,
              readings: list[str] | None = None, options: dict | None = None,
              names: str | None = None) -> list[Pass]:
    """The passes over the datasets of a zero-shot protocol.

    Args:
        protocol, datasets: see :func:`read_protocol`.
        readings: of long clips, by default all that the system has.
        options: of the command line, for the configs of the datasets.
        names: a column of the lists of classes, for the datasets whose list has it.

    Raises:
        UserError: if there is no such protocol, dataset, reading or column.
    """
    system = trained.system
    if readings and not system.long_clips:
        raise UserError(f'--long-clips is for Vita-CLIP: {system.title} has one way to '
                        'read a clip')
    passes, named = [], []
    for dataset in read_protocol(protocol, datasets):
        own = read_dataset(dataset)
        if names is not None and names in columns_of(own.model.cls_head.classes):
            own = apply_variants(own, Variants(names=names))
            named.append(dataset)
        override(own, options or {}, '--cfg-options')
        own.test_cfg.prompts.update(system.prompts)
        if system.own_frames:
            frames = find_sampling(trained.config.test_dataloader.dataset.pipeline)
            own = apply_variants(own, Variants(frames=frames['clip_len']))
        frozen = copy.deepcopy(own)
        frozen.model = frozen_model(dict(
            clip=trained.config.model.clip,
            data_preprocessor=trained.config.model.data_preprocessor,
            cls_head=own.model.cls_head))
        passes.append(Pass(dataset, FROZEN, FROZEN, frozen))
        if trained.checkpoint is None:
            continue
        use_trained_model(own, trained.config)
        override(own, options or {}, '--cfg-options')  # over its views, too
        configs = {system.name: own}
        if system.long_clips:
            configs = {name: copy.deepcopy(own) for name in readings or system.long_clips}
            for name, config in configs.items():
                config.model.backbone.long_clips = name
        passes += as_trained(dataset, trained, configs)
    if names is not None and not named:
        raise UserError(f'--names {names}: no list of classes of the protocol {protocol} '
                        'has this column')
    return passes


def as_trained(dataset: str, trained: Trained, configs: dict[str, Config]) -> list[Pass]:
    """The passes of the trained model, of a name for each."""
    usual = trained.system.long_clips[:1]
    best = ', best' if trained.chosen else ''
    return [Pass(dataset, name,
                 trained.system.title + ('' if name in (trained.system.name, *usual)
                                         else f', {name}') + best,
                 config, trained.checkpoint)
            for name, config in configs.items()]


def compare(passes: list[Pass], models: list[Trained], folder: str, kind: str,
            resume: bool = False, launcher: str = 'none') -> list[dict]:
    """Evaluate, print a table, and write ``results.json`` into the folder.

    All is one run of MLflow with another below it for each pass.

    Args:
        models: whose the passes are.
        kind: of the run, such as ``zero_shot``.
        resume: keep the finished passes of an earlier call.
        launcher: of the processes that call this together.

    Returns:
        The rows of the results, one for each set of prompts of a pass.

    Raises:
        UserError: if what decides a result cannot be read, or changed meanwhile.
    """
    for one in passes:
        one.config.launcher = launcher
        one.config.log_level = 'WARNING'
        one.config.work_dir = os.path.join(
            folder, one.dataset, one.model.replace(' ', '_'))
    join_group(passes[0].config)
    if is_main_process():
        inputs = InputFinder()
        for one in passes:
            one.key = evaluation_key(one, inputs)
    wait_for_all()
    parent = start_parent(models, folder, kind, resume) if is_main_process() else None
    try:
        rows = run(passes, parent, resume)
        if parent:
            report(rows, passes, models, folder, parent)
            parent.close()
    except BaseException as error:
        if parent:
            parent.fail(error)
        raise
    return rows


def evaluation_key(one: Pass, known: InputFinder) -> str:
    """What the result depends on: model, code, data, weights.

    Args:
        known: what was looked at so far is not looked at again.

    Raises:
        UserError: if the annotations of the dataset have a fault.
    """
    config = copy.deepcopy(one.config)
    keep_test_only(config)
    inputs = known.of(config)
    if inputs.missing:
        raise UserError(inputs.missing)
    return identity(inputs, one.checkpoint and digest_file(one.checkpoint))


def start_parent(models: list[Trained], folder: str, kind: str, resume: bool
                 ) -> MLflowTracking:
    files = [model.checkpoint or NONE for model in models]
    backend = MLflowTracking(folder)
    backend.start(kind, folder, resume, kind.replace('_', '-') + ' '
                  + ' '.join(Path(file).name for file in files))
    backend.add_params(dict(config=', '.join(model.path for model in models),
                            checkpoint=', '.join(files)))
    digests = [digest_file(model.checkpoint) for model in models if model.checkpoint]
    if digests:
        backend.add_tags({'checkpoint.sha256': ', '.join(digests)})
    return backend


def run(passes: list[Pass], parent: MLflowTracking | None, resume: bool) -> list[dict]:
    """Evaluate what is not finished; the rows of all."""
    rows = []
    for number, one in enumerate(passes, 1):
        file = Path(one.config.work_dir, 'result.json')
        known = (read_json(file) or {}) if resume else {}
        found = [known.get('metrics') if known.get('key') == one.key else None]
        broadcast_object_list(found)  # the first process decides for all
        metrics = found[0]
        if is_main_process():
            print(f'pass {number} of {len(passes)}: {one.dataset} {one.model}'
                  + (', finished before' if metrics else ''), flush=True)
        if metrics is None:
            config = copy.deepcopy(one.config)
            config.experiment_name = unused(f'{one.dataset} {one.model}')
            header = parent.journal.header if parent and parent.journal else None
            metrics = evaluate(config, one.checkpoint, header)
            if is_main_process():
                if evaluation_key(one, InputFinder()) != one.key:
                    raise UserError(f'{one.checkpoint or "CLIP"}, the data of '
                                    f'{one.dataset} or the code changed while it was '
                                    'evaluated: start again')
                write_json(file, dict(key=one.key, metrics=metrics))
        rows += rows_of(one, metrics)
    return rows


def unused(name: str) -> str:
    """A name of an experiment that this process has not had: of two in one second
    MMEngine (0.10.7) would go on with the logger and the visualizer of the first, and
    its run would be the parent of the second's."""
    USED[name] += 1
    return name if USED[name] == 1 else f'{name} {USED[name]}'


def rows_of(one: Pass, metrics: dict) -> list[dict]:
    """One row of the results for each set of prompts; ``''`` is that of the training."""
    rows = []
    for key in metrics:
        if key != 'acc/top1' and not key.endswith('/acc/top1'):
            continue
        prompts = key.removesuffix('acc/top1').rstrip('/')
        found = {name.removeprefix(key.removesuffix('top1')): value
                 for name, value in metrics.items()
                 if name.startswith(key.removesuffix('top1'))}
        numbers = [number for number in range(1, 100) if f'split{number}_top1' in found]
        splits = [{name: found[f'split{number}_{name}'] for name in (
            'top1', 'top5', 'videos_read', 'videos_unreadable')} for number in numbers]
        rows.append(dict(
            dataset=one.dataset, class_names=form_of(one.config.model.cls_head.classes),
            prompts=prompts, model=one.model, title=one.title,
            chance=chance(one.config), splits=splits,
            **{name: found[name] for name in (
                'top1', 'top1_std', 'top5', 'top5_std', 'videos_read',
                'videos_unreadable') if name in found}))
    return rows


def chance(config: Config) -> float:
    """The accuracy of guesses, in the mean over the splits."""
    lists = config.test_evaluator.get('candidates') or [config.model.cls_head.classes]
    return mean(1 / len(read_classes(names, repeated=True)) for names in lists)


def report(rows: list[dict], passes: list[Pass], models: list[Trained], folder: str,
           parent: MLflowTracking) -> None:
    results = dict(
        models=[dict(config=model.path, system=model.system.name,
                     checkpoint=model.checkpoint, weights=model.chosen,
                     checkpoint_sha256=model.checkpoint and digest_file(model.checkpoint))
                for model in models],
        rows=rows)
    path = Path(folder, 'results.json')
    write_json(path, results)
    for row in rows:
        name = '/'.join(part.replace(' ', '_') for part in (
            row['dataset'], row['prompts'], row['model']) if part)
        parent.add_scalars({f'{name}/{key}': row[key]
                            for key in ('top1', 'top1_std', 'videos_read') if key in row})
    parent.add_text('results.json', json.dumps(results, indent=1))
    forms = class_forms(rows)
    parent.add_params({f'class_names.{name}': form for name, form in forms.items()})
    Console().print(make_table(rows, [
        *(f'class names of {name}: {form}' for name, form in forms.items()),
        *(f"{model.system.title}'s weights are the {model.chosen}"
          for model in models if model.chosen)]))
    print(f'written to {path}')


def class_forms(rows: list[dict]) -> dict[str, str]:
    """How the classes of each dataset are written."""
    return {row['dataset']: row['class_names'] for row in rows}


def make_table(rows: list[dict], notes: Sequence[str] = ()) -> Table:
    """
    Args:
        rows: of the results; those of a dataset stand together.
        notes: below the table.
    """
    numbers = range(max(len(row['splits']) for row in rows))
    title = 'top-1 accuracy (%)'
    if numbers:
        title = (f'{title}: the mean over {len(numbers)} splits ± their standard '
                 'deviation (ddof=0)')
    table = Table('dataset', 'prompts', 'model',
                  *(str(number + 1) for number in numbers), 'top-1', 'videos',
                  box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title,
                  caption=escape('\n'.join(notes)) or None)
    for column in table.columns:
        column.no_wrap = True
    for dataset in dict.fromkeys(row['dataset'] for row in rows):
        of_dataset = [row for row in rows if row['dataset'] == dataset]
        table.add_row(dataset, '', 'chance', *('' for _ in numbers),
                      f'{100 * of_dataset[0]["chance"]:.1f}', '')
        for prompts in dict.fromkeys(row['prompts'] for row in of_dataset):
            shown = prompts
            for row in (row for row in of_dataset if row['prompts'] == prompts):
                table.add_row('', shown, row['title'], *cells(row, len(numbers)))
                shown = ''
    return table


def cells(row: dict, splits: int) -> list[str]:
    """What a row says: each split, their mean, the number of videos."""
    each = [f'{100 * split["top1"]:.1f}' for split in row['splits']]
    spread = f' ± {100 * row["top1_std"]:.1f}' if each else ''
    lost = row['videos_unreadable']
    return [*each, *[''] * (splits - len(each)), f'{100 * row["top1"]:.1f}{spread}',
            str(row['videos_read']) + (f', {lost} unreadable' if lost else '')]
