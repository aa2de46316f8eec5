"""Say which classes a model takes for which.

    vita-mm confusion CONFIG CHECKPOINT        evaluate, then count
    vita-mm confusion CONFIG PREDICTIONS.pkl   count what `test --dump` has written
    vita-mm confusion WORK_DIR                 count what an evaluation has left there

CHECKPOINT as of `test`: a work dir stands for its last weights, `none` for a model
without trained tensors. Prints the most confused pairs of classes, and leaves tables and
a picture (per_class.csv, confusion.csv, confused_pairs.csv, confusion.png) in the folder
of the evaluation, or in --out; those of each set of prompts and of each split in folders
of their own.
"""
import argparse
from pathlib import Path

from .arguments import add_common_arguments

TABLE = 'confusion.csv'
NO_COUNT = ("{}: its test_evaluator does not count classes; confusion needs one of "
            "dict(type='VideoAccMetric')")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', metavar='CONFIG|WORK_DIR')
    parser.add_argument('checkpoint', nargs='?', metavar='CHECKPOINT|PREDICTIONS.pkl')
    parser.add_argument('--out', type=Path, metavar='DIR')
    parser.add_argument('--topk', type=int, default=10, help='pairs that are printed')
    add_common_arguments(parser)


def main(args: argparse.Namespace) -> None:
    import torch.distributed
    from mmengine.dist import is_main_process
    if args.checkpoint is None:
        folder = newest(Path(args.config))
    elif args.checkpoint.endswith('.pkl'):
        folder = None
    else:
        folder = evaluate(args)
    if is_main_process():
        write(args, folder)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def write(args: argparse.Namespace, folder: Path | None) -> None:
    """Print, and where it is wanted elsewhere save, what an evaluation left in a folder
    or dumped."""
    from vita_mm.analysis.confusion import Confusion
    found = count(args) if folder is None else {
        place: Confusion.read(folder / place) for place in places(folder)}
    out = args.out or folder or Path(args.checkpoint).with_suffix('')
    for place, confusion in found.items():
        if out != folder:
            name = '' if place == Path() else f' {place}'
            confusion.save(out / place, f'{Path(args.config).stem}{name}')
        show(confusion, place, args.topk)
    print(f'tables and pictures: {out}')


def places(folder: Path) -> list[Path]:
    """The evaluations in a folder ``confusion``, each by its path there."""
    return sorted(path.parent.relative_to(folder) for path in folder.rglob(TABLE))


def times(folder: Path) -> dict[Path, int]:
    """The folders ``confusion`` in a work dir, with the time of the last change."""
    found: dict[Path, int] = {}
    for table in folder.rglob(TABLE):
        place = next((parent for parent in table.parents if parent.name == 'confusion'
                      and parent.is_relative_to(folder)), table.parent)
        found[place] = max(found.get(place, 0), table.stat().st_mtime_ns)
    return found


def newest(folder: Path) -> Path:
    """The folder ``confusion`` of the newest evaluation in a work dir, or that itself.

    Raises:
        UserError: if there is none.
    """
    from vita_mm.errors import UserError
    found = times(folder)
    if not found:
        raise UserError(f'{folder} holds no confusion of an evaluation: give a config '
                        'and a checkpoint to evaluate')
    return max(found, key=lambda path: found[path])


def evaluate(args: argparse.Namespace) -> Path:
    """Evaluate as `test` does; returns the folder ``confusion`` that this left on the
    first process.

    Raises:
        UserError: if the evaluation counts no classes.
    """
    from mmengine.dist import is_main_process

    from vita_mm.engine.runs import evaluate, keep_trained_pixels
    from vita_mm.errors import UserError
    from vita_mm.io.checkpoints import find_checkpoint, read_tensors
    config = read(args)
    checkpoint = None
    if args.checkpoint != 'none':
        checkpoint = str(find_checkpoint(args.checkpoint))
        keep_trained_pixels(config, read_tensors(checkpoint), args.cfg_options)
    hooks = config.get('custom_hooks') or []
    if not any(hook['type'] == 'ConfusionHook' for hook in hooks):
        config.custom_hooks = [*hooks, dict(type='ConfusionHook')]
    work_dir = Path(config.work_dir)
    before = times(work_dir)
    evaluate(config, checkpoint)
    found = [place for place, time in times(work_dir).items()
             if time != before.get(place)]
    if not found and is_main_process():
        raise UserError(NO_COUNT.format(args.config))
    return found[0] if found else work_dir


def count(args: argparse.Namespace) -> dict:
    """The confusions of predictions that were dumped, by split."""
    from mmaction.registry import METRICS
    from mmengine.registry import init_default_scope

    from vita_mm.data import VideoAccMetric
    from vita_mm.errors import UserError
    from vita_mm.io.predictions import read_predictions
    from vita_mm.labels.class_names import read_classes
    samples = read_predictions(args.checkpoint)
    config = read(args)
    init_default_scope('mmaction')
    source = config.test_dataloader.dataset.get('classes')
    classes = None if source is None else read_classes(source)
    number = len(classes or samples[0]['pred_score'])
    if any(len(sample['pred_score']) != number
           or not 0 <= int(sample['gt_label']) < number for sample in samples):
        raise UserError(f'{args.checkpoint} has scores or labels of other classes than '
                        f'the {number} of {args.config}')
    found = {}
    for evaluator in evaluators(config):
        metric = METRICS.build(evaluator)
        if isinstance(metric, VideoAccMetric):
            metric.dataset_meta = dict(classes=classes)
            metric.process([], samples)
            metric.evaluate(len(samples))
            found.update(metric.take_confusions())
    if not found:
        raise UserError(NO_COUNT.format(args.config))
    return {Path(split): confusion for split, confusion in found.items()}


def read(args: argparse.Namespace):
    """The config, whose accuracy is counted by class.

    Raises:
        UserError: if it cannot be read, or is of a system without confusion.
    """
    from vita_mm.engine.runs import read_config
    from vita_mm.systems import check_verb, find_system
    config = read_config(args)
    system = find_system(config.get('model') or {})
    if system is not None:
        check_verb('confusion', system)
    for evaluator in evaluators(config):
        if evaluator['type'] == 'AccMetric':
            evaluator['type'] = 'VideoAccMetric'
    return config


def evaluators(config) -> list:
    found = config.get('test_evaluator') or []
    return found if isinstance(found, list) else [found]


def show(confusion, place: Path, topk: int) -> None:
    """Print the most confused pairs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from vita_mm.analysis.confusion import summary
    table = Table('class', 'taken for', 'videos', 'share', title=' '.join(
        [*place.parts, summary(confusion)]))
    for row in confusion.pairs.head(topk).itertuples():
        table.add_row(Text(row.true), Text(row.predicted),
                      f'{row.mistaken} of {row.videos}', f'{row.share:.0%}')
    Console().print(table)
