"""What the cache of decoded frames saves of a training and an evaluation on small videos.

    python tools/make_mini.py
    python benchmarks/frame_cache.py [CONFIG]

Batches of the training are loaded in this process, as the suites do, in turn by decoding
and from a cache that was filled before; each is then a step of training. Printed are
medians of CPU seconds, and the machine.
"""
import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default='configs/vita_mini.py')
    parser.add_argument('--batches', type=int, default=40, help='to measure (40)')
    parser.add_argument('--threads', type=int, default=1, help='of torch (1)')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    import torch
    from mmengine.registry import init_default_scope
    from vita_mm.data import frame_cache
    from vita_mm.data.dataset import SampleKey
    from vita_mm.engine.runs import build_runner, load_config
    from vita_mm.tracking.probes import cpu_name

    torch.set_num_threads(args.threads)
    config = load_config(args.config)
    init_default_scope(config.default_scope)
    with tempfile.TemporaryDirectory(prefix='frame_cache-') as folder:
        os.environ['VITA_MM_CACHE'] = folder
        config.work_dir, config.log_level = f'{folder}/run', 'WARNING'
        config.visualizer.vis_backends = []
        runner = build_runner(config)
        size = config.train_dataloader.batch_size
        training = sets_of(config.train_dataloader.dataset)
        keys = [SampleKey(number, 0, 0)
                for number in torch.randperm(
                    len(training['cached']), generator=torch.Generator().manual_seed(0)
                )[:args.batches * size].tolist()]
        evaluation = sets_of(config.test_dataloader.dataset)
        filling = [seconds(training['cached'].__getitem__, key)[0] for key in keys]
        rows, views = ({name: [] for name in training} for _ in range(2))
        steps = []
        model: Any = runner.model
        for first in range(0, len(keys) - size + 1, size):
            for name, dataset in training.items():
                spent, batch = seconds(load, dataset, keys[first:first + size])
                rows[name].append(spent)
                steps.append(seconds(model.train_step, batch, runner.optim_wrapper)[0])
        for number in range(min(len(evaluation['cached']), len(keys))):
            evaluation['cached'][number]
            for name, dataset in evaluation.items():
                views[name].append(seconds(dataset.__getitem__, number)[0])
        kept = frame_cache.size_of(Path(folder, 'frames'))
        files = sum(1 for _ in Path(folder, 'frames').glob('*/*'))
    step = 1e3 * statistics.median(steps)
    print(f'{args.config}: steps of {size} clips; {torch.__version__}, {args.threads} '
          f'thread(s), {cpu_name()}')
    print('\n| CPU ms | batch | step | share of the batch | view of evaluation |\n'
          '|---|---|---|---|---|')
    for name, found in rows.items():
        batch = 1e3 * statistics.median(found)
        print(f'| {name} | {batch:.1f} | {step:.1f} | {batch / (batch + step):.0%} | '
              f'{1e3 * statistics.median(views[name]):.2f} |')
    print(f'\nfirst reading: {1e3 * size * statistics.mean(filling):.1f} ms a batch; '
          f'{kept / files / 2**20:.2f} MiB a video')


def sets_of(dataset) -> dict:
    """A dataset that decodes, and one that reads the cache."""
    from mmaction.registry import DATASETS
    from vita_mm.engine.pipelines import with_steps
    return {name: DATASETS.build({**dataset, 'pipeline': with_steps(
                dataset['pipeline'], OpenVideo=dict(cache=name == 'cached'))})
            for name in ('decoded', 'cached')}


def load(dataset, keys: list) -> dict:
    from mmengine.dataset import pseudo_collate
    return pseudo_collate([dataset[key] for key in keys])


def seconds(function, *arguments) -> tuple[float, object]:
    """CPU seconds of a call, and what it returned."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


if __name__ == '__main__':
    arguments = parse_args()
    from vita_mm.errors import cli_errors
    with cli_errors():
        main(arguments)
