"""Frozen CLIP against trained Vita-CLIP on the miniature benchmark.

    python benchmarks/demo.py SUPERVISED_CHECKPOINT MOTION_CHECKPOINT

Evaluates both on the supervised and the motion set, each with the model trained on it,
and zero-shot on the three sets of held-out classes with the model of the supervised set.
"""
import argparse
import statistics
from dataclasses import dataclass

from mmengine.config import Config
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

import vita_mm
from vita_mm.classes import read_classes
from vita_mm.engine.runs import keep_test_only
from vita_mm.errors import cli_errors

SUPERVISED, MOTION = 'configs/vita_mini.py', 'configs/vita_mini_motion.py'
FROZEN_CLIP = {
    'model.backbone.summary': False, 'model.backbone.local': False,
    'model.backbone.num_global': 0, 'model.backbone.time_embedding': False}
MANUAL_PROMPTS = {'model.cls_head.context': 'none'}


@dataclass(frozen=True)
class Evaluation:
    """A row: which test lists, and which class list each has."""
    name: str
    config: str
    lists: tuple[tuple[str, str], ...]
    zero_shot: bool


def evaluations(root: str) -> list[Evaluation]:
    def splits(name: str, classes: str) -> tuple[tuple[str, str], ...]:
        return tuple((f'{root}/{name}{split}.txt', f'{root}/{classes}'.format(split))
                     for split in (1, 2, 3))

    return [
        Evaluation('supervised (K400)', SUPERVISED,
                   ((f'{root}/k400_val.txt', f'{root}/k400_classes.txt'), ), False),
        Evaluation('motion (SSv2)', MOTION,
                   ((f'{root}/ssv2_val.txt', f'{root}/ssv2_classes.txt'), ), False),
        Evaluation('zero-shot (HMDB51)', SUPERVISED,
                   splits('hmdb51_test_split', 'hmdb51_classes.txt'), True),
        Evaluation('zero-shot (UCF101)', SUPERVISED,
                   splits('ucf101_test_split', 'ucf101_classes.txt'), True),
        Evaluation('zero-shot (K600)', SUPERVISED,
                   splits('k600_split', 'k600_classes_split{}.txt'), True)]


def evaluate(config_file: str, ann_file: str, classes: str, options: dict,
             checkpoint: str | None, name: str) -> float:
    """Top-1 accuracy in per cent, by MMAction2's own test loop."""
    config = Config.fromfile(config_file)
    config.merge_from_dict({
        'model.cls_head.classes': classes, 'test_dataloader.dataset.classes': classes,
        'test_dataloader.dataset.ann_file': ann_file,
        'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False, **options})
    config.experiment_name = name
    config.work_dir = f'work_dirs/demo/{name}'
    config.load_from = checkpoint
    config.log_level = 'ERROR'
    keep_test_only(config)
    runner = Runner.from_cfg(config)
    with vita_mm.tracking.guard(runner):
        return 100 * runner.test()['acc/top1']


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{statistics.mean(values):.1f} ± {statistics.pstdev(values):.1f}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('supervised', help='checkpoint trained on the supervised set')
    parser.add_argument('motion', help='checkpoint trained on the motion set')
    parser.add_argument('--root', default='data/mini')
    args = parser.parse_args()
    checkpoints = {SUPERVISED: args.supervised, MOTION: args.motion}
    table = Table('set', 'classes', 'videos', 'chance', 'frozen CLIP', 'Vita-CLIP',
                  title='top-1 accuracy (%), measured just now; ± over three splits\n'
                        '(in brackets: the dataset of the paper in whose role)')
    for row in evaluations(args.root):
        frozen, trained, videos, number = [], [], [], 0
        for index, (ann_file, classes) in enumerate(row.lists):
            name = f'{row.name.split()[-1].strip("()").lower()}-{index + 1}'
            number = len(read_classes(classes))
            with open(ann_file) as file:
                videos.append(str(sum(1 for _ in file)))
            frozen.append(evaluate(
                row.config, ann_file, classes, FROZEN_CLIP | MANUAL_PROMPTS, None,
                f'{name}-frozen-clip'))
            trained.append(evaluate(
                row.config, ann_file, classes, MANUAL_PROMPTS if row.zero_shot else {},
                checkpoints[row.config], f'{name}-vita-clip'))
        table.add_row(row.name, str(number), ' '.join(videos), f'{100 / number:.1f}',
                      spread(frozen), spread(trained))
    Console().print(table)


if __name__ == '__main__':
    with cli_errors():
        main()
