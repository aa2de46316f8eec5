"""Frozen CLIP against trained Vita-CLIP on the two trained sets of the miniature.

    python benchmarks/demo.py SUPERVISED_CHECKPOINT MOTION_CHECKPOINT

A checkpoint is a file, or a work dir, whose last weights count. The zero-shot sets are
the work of tools/zero_shot.py.
"""
import argparse
import signal
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
ROWS = {'supervised (K400)': 'vita_mini.py', 'motion (SSv2)': 'vita_mini_motion.py'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('supervised', help='checkpoint trained on the supervised set')
    parser.add_argument('motion', help='checkpoint trained on the motion set')
    return parser.parse_args()


def measure(config, checkpoint: str | None, name: str) -> dict:
    """The metrics of the config's test set."""
    from vita_mm.engine.runs import evaluate

    config.experiment_name = name
    config.work_dir = f'work_dirs/demo/{name}'
    config.log_level = 'ERROR'
    config.test_dataloader.num_workers = 0
    return evaluate(config, checkpoint)


def frozen_clip(path: Path):
    """The config without prompts."""
    from mmengine.config import Config

    config = Config.fromfile(path)
    frozen = Config.fromfile(CONFIGS / 'frozen_clip' / 'k400.py').model
    config.model.backbone.update(frozen.backbone)
    config.model.cls_head.context = frozen.cls_head.context
    return config


def main(args: argparse.Namespace) -> None:
    # Late, for they take seconds: --help does not wait for them.
    from mmengine.config import Config
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from vita_mm.engine.selection import find_selection, say
    from vita_mm.io.checkpoints import find_checkpoint, read_tensors
    from vita_mm.labels.class_names import read_classes

    table = Table('set', 'classes', 'videos', 'chance', 'frozen CLIP', 'Vita-CLIP',
                  title='top-1 accuracy (%), measured just now\n'
                        '(in brackets: the dataset of the paper in whose role)')
    checkpoints = [find_checkpoint(path) for path in (args.supervised, args.motion)]
    selections = [find_selection(read_tensors(path), path) for path in checkpoints]
    table.caption = escape('\n'.join(
        f'{row}: the {say(selection)}'
        for row, selection in zip(ROWS, selections) if selection is not None)) or None
    for (row, name), checkpoint, selection in zip(ROWS.items(), checkpoints, selections):
        path = CONFIGS / name
        name = row.split()[0]
        frozen = measure(frozen_clip(path), None, f'{name}-frozen-clip')
        config = Config.fromfile(path)
        number = len(read_classes(config.model.cls_head.classes))
        trained = measure(config, str(checkpoint), f'{name}-vita-clip')
        table.add_row(row, str(number), str(trained['acc/videos_read']),
                      f'{100 / number:.1f}', f'{100 * frozen["acc/top1"]:.1f}',
                      f'{100 * trained["acc/top1"]:.1f}'
                      + ('' if selection is None else ' (best)'))
    Console().print(table)


if __name__ == '__main__':
    args = parse_args()
    from vita_mm.errors import cli_errors

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main(args)
