"""Frozen CLIP against trained Vita-CLIP on the two trained sets of the miniature.

    python benchmarks/demo.py SUPERVISED_CHECKPOINT MOTION_CHECKPOINT

The zero-shot sets are the work of tools/zero_shot.py.
"""
import argparse

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from vita_mm.classes import read_classes
from vita_mm.engine.runs import evaluate
from vita_mm.errors import cli_errors

ROWS = {'supervised (K400)': 'configs/vita_mini.py',
        'motion (SSv2)': 'configs/vita_mini_motion.py'}


def measure(config: Config, checkpoint: str | None, name: str) -> dict:
    """The metrics of the config's test set."""
    config.experiment_name = name
    config.work_dir = f'work_dirs/demo/{name}'
    config.log_level = 'ERROR'
    config.test_dataloader.num_workers = 0
    return evaluate(config, checkpoint)


def frozen_clip(path: str) -> Config:
    """The config without prompts."""
    config = Config.fromfile(path)
    frozen = Config.fromfile('configs/_base_/frozen_clip.py').model
    config.model.backbone.update(frozen.backbone)
    config.model.cls_head.context = frozen.cls_head.context
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('supervised', help='checkpoint trained on the supervised set')
    parser.add_argument('motion', help='checkpoint trained on the motion set')
    args = parser.parse_args()
    table = Table('set', 'classes', 'videos', 'chance', 'frozen CLIP', 'Vita-CLIP',
                  title='top-1 accuracy (%), measured just now\n'
                        '(in brackets: the dataset of the paper in whose role)')
    for (row, path), checkpoint in zip(ROWS.items(), (args.supervised, args.motion)):
        name = row.split()[0]
        frozen = measure(frozen_clip(path), None, f'{name}-frozen-clip')
        config = Config.fromfile(path)
        number = len(read_classes(config.model.cls_head.classes))
        trained = measure(config, checkpoint, f'{name}-vita-clip')
        table.add_row(row, str(number), str(trained['acc/videos_read']),
                      f'{100 / number:.1f}', f'{100 * frozen["acc/top1"]:.1f}',
                      f'{100 * trained["acc/top1"]:.1f}')
    Console().print(table)


if __name__ == '__main__':
    with cli_errors():
        main()
