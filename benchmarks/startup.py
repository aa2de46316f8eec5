"""What the start of a training takes, from the command to its first batch.

    python tools/make_mini.py
    python benchmarks/startup.py DIR [CONFIG]

The training stops before its first step. Its work dir, MLflow's database and the digests
and frames of the videos are in DIR: a second call tells what it takes where these are
there already.
"""
import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

START = time.perf_counter(), time.process_time()


class Stop(Exception):
    """The first batch is there."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', metavar='DIR', type=Path)
    parser.add_argument('config', nargs='?', default='configs/vita_mini.py')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    marks = [('', START)]

    def mark(what: str) -> None:
        marks.append((what, (time.perf_counter(), time.process_time())))

    import vita_mm  # noqa: F401
    from mmengine.hooks import Hook
    from vita_mm.engine.recipe import prepare_work_dir
    from vita_mm.engine.runs import build_runner, load_config
    from vita_mm.io.processes import keep_imports
    from vita_mm.tracking import guard

    class Marks(Hook):
        """The hook behind all others."""
        priority = 'LOWEST'

        def before_train(self, runner) -> None:
            mark('tracking, hooks')

        def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
            mark('first batch')
            raise Stop

    keep_imports()
    mark('imports')
    folder = args.folder.absolute()
    os.environ['VITA_MM_CACHE'] = f'{folder}/cache'
    os.environ['MLFLOW_TRACKING_URI'] = f'sqlite:///{folder}/mlflow.db'
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(args.config)
    config.work_dir, config.log_level = tempfile.mkdtemp(dir=folder), 'WARNING'
    config.experiment_name = 'startup'
    for part in 'train', 'val', 'test':
        config[f'{part}_dataloader'].num_workers = 0
    _lock, _ = prepare_work_dir(config, None)
    mark('config')
    runner = build_runner(config)
    runner.register_hook(Marks())
    mark('runner')
    with contextlib.suppress(Stop), guard(runner):
        runner.train()
    print(f'{args.config}, {os.cpu_count()} cores\n\n| | seconds | CPU seconds |\n'
          '|---|---|---|')
    for (_, before), (what, after) in zip(marks, marks[1:]):
        print(f'| {what} | {after[0] - before[0]:.2f} | {after[1] - before[1]:.2f} |')


if __name__ == '__main__':
    main(parse_args())
