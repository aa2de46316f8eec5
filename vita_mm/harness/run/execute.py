"""Execute runs of a suite, one after the other, in this process or group of processes.

    python -m vita_mm.harness.run.execute FOLDER... [--launcher none|pytorch|slurm]

Each folder holds what was asked for (``run.json``, ``config.py``). What is done already
is passed over; a training goes on from its newest whole checkpoint, and an evaluation
refuses weights that are not those of its training. Used by benchmarks/run_ablations.py.
"""
import argparse
import os
import signal
import sys
import time
from pathlib import Path

import torch.distributed
from mmengine.config import Config
from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.runner import Runner

from vita_mm.analysis.predictions import NAME as PREDICTIONS
from vita_mm.engine.plugins import add_to_path
from vita_mm.engine.runs import build_runner, join_group, keep_test_only
from vita_mm.errors import UserError, cli_errors
from vita_mm.io.checkpoints import newest_whole_checkpoint, read_tensors, write_atomically
from vita_mm.io.digests import TRUST, TRUSTED, digest_file
from vita_mm.io.files import lock
from vita_mm.io.processes import keep_imports
from vita_mm.tracking import guard
from vita_mm.tracking.probes import (
    attempt,
    count_parameters,
    find_clip,
    find_datasets,
    find_environment,
    find_git,
)
from vita_mm.tracking.values import only_numbers

from .folder import RunFolder
from .inputs import check_code
from .records import Inputs, Manifest
from .result import DONE, Dataset, Weights

# Tracking, and checkpoints that load as tensors only and from which a training goes on.
HOOKS = ('ExactResumeHook', 'TrackingHook')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('folders', nargs='+', type=Path)
    parser.add_argument('--launcher', default='none',
                        choices=('none', 'pytorch', 'slurm'))
    args = parser.parse_args()
    folders = [RunFolder(path) for path in args.folders]
    join_group(Config(dict(launcher=args.launcher,
                           env_cfg=dict(dist_cfg=dict(backend='nccl')))))
    locks = []  # for as long as this process lives
    for folder in folders:
        append_output_to(folder.log)
        # A job of an earlier sweep may still be at work there.
        if is_main_process():
            locks.append(lock(folder.path / 'lock', f'{folder.path} is being run'))
        result = folder.result
        if result is None or result.state != DONE:
            execute(folder, args.launcher)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def append_output_to(path: Path) -> None:
    """Send standard output and error, those of child processes included, to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    os.close(file)


def execute(folder: RunFolder, launcher: str) -> None:
    """Train or evaluate, and write what came out.

    Raises:
        UserError: if the folder asks for nothing, or what was read has changed since.
    """
    start = time.monotonic()
    manifest = folder.manifest
    if manifest is None:
        raise UserError(f'{folder.path} holds no run.json that says what to run')
    add_to_path(manifest.python_path)
    config = Config.fromfile(folder.path / 'config.py')
    check_code(config, manifest.inputs)
    config.launcher = launcher
    config.work_dir = str(folder.work)
    config.experiment_name = manifest.name
    equip(config, manifest)
    config.custom_hooks.append(dict(type='PredictionsHook', folder=str(folder.path)))
    trained = RunFolder(manifest.trained) if manifest.trained else None
    if trained is not None:
        # Not known before the training is done, and that may have been a moment ago.
        manifest = manifest.model_copy(update=dict(inputs=manifest.inputs.model_copy(
            update=dict(weights=trained_weights(trained).sha256))))
        if is_main_process():
            folder.write_manifest(manifest)
    # The digests of this run are compared with those that the plan made.
    os.environ[TRUST] = str(int(any(
        digest.startswith(TRUSTED) for digest in manifest.inputs.data.values())))
    run = train if config.get('train_cfg') else test
    runner, metrics, checkpoint = run(config, trained)
    if is_main_process():
        datasets = [Dataset(**found) for found in attempt(
            find_datasets, dict(train=runner._train_loop, test=runner._test_loop))]
        check_data(datasets, manifest.inputs)
        weights = None
        if checkpoint is not None:
            weights = Weights(
                path=os.path.relpath(checkpoint.resolve(), folder.path.resolve()),
                sha256=digest_file(checkpoint))
            if trained is not None:  # once more, for the file was read in between
                check_weights(checkpoint, trained, weights.sha256)
        folder.finish(
            seconds=time.monotonic() - start, name=manifest.name, seed=runner.seed,
            metrics=metrics, weights=weights, datasets=datasets, command=sys.argv,
            predictions=PREDICTIONS if (folder.path / PREDICTIONS).exists() else None,
            precision=runner.cfg.get('precision') or 'float32',
            clip=attempt(find_clip, runner.model),
            environment=attempt(find_environment),
            git=attempt(find_git, Path(__file__).parent))
    if torch.distributed.is_initialized():
        barrier()


def equip(config: Config, manifest: Manifest) -> None:
    """Give a config what a run of a suite needs, whoever wrote it: one of MMAction2's
    own knows neither MLflow nor checkpoints that load as tensors only."""
    hooks = config.get('custom_hooks') or []
    given = {hook.get('type') for hook in hooks if isinstance(hook, dict)}
    config.custom_hooks = [*hooks, *(dict(type=name) for name in HOOKS
                                     if name not in given)]
    visualizer: dict = config.get('visualizer') or dict(type='Visualizer')
    backends: list[dict] = list(visualizer.get('vis_backends') or [])
    if not any(backend.get('type') == 'MLflowTracking' for backend in backends):
        backends.append(dict(type='MLflowTracking'))
    for backend in backends:
        if backend.get('type') == 'MLflowTracking':
            backend.update(parent=manifest.parent,
                           tags=dict(suite=manifest.suite, run=manifest.name))
    config.visualizer = dict(visualizer, vis_backends=backends)
    # The last weights count: no choice is made on a test set.
    defaults = dict(config.get('default_hooks') or {})
    checkpoint = defaults.get('checkpoint', dict(type='CheckpointHook', interval=1))
    if checkpoint:
        defaults['checkpoint'] = dict(checkpoint, save_best=None)
    config.default_hooks = defaults


def train(config: Config, _) -> tuple[Runner, dict, Path]:
    """Train to the end, from the newest whole checkpoint on if there is one."""
    divide_batch(config, get_world_size())
    newest = newest_whole_checkpoint(config.work_dir)
    if newest is not None:
        config.load_from, config.resume = str(newest), True
    runner = build_runner(config)
    with guard(runner):
        runner.train()
    counts = count_parameters(runner.model)
    return (runner, dict(trainable_parameters=counts['run.trainable_parameters']),
            keep_weights(config.work_dir))


def keep_weights(work_dir: str) -> Path:
    """The last weights without what only a training needs, in a file of their own.

    Raises:
        UserError: if the training left no checkpoint.
    """
    path = Path(work_dir, 'weights.pth')
    if is_main_process():
        last = newest_whole_checkpoint(work_dir)
        if last is None:
            raise UserError(f'the training left no checkpoint in {work_dir}: let '
                            'default_hooks.checkpoint save one')
        content = read_tensors(last)
        write_atomically(dict(meta=content.get('meta', {}),
                              state_dict=content['state_dict']), path)
    return path


def test(config: Config, trained: RunFolder | None) -> tuple[Runner, dict, Path | None]:
    checkpoint = None
    if trained is not None:
        checkpoint = trained.path / trained_weights(trained).path
        read_tensors(checkpoint)
        check_weights(checkpoint, trained, digest_file(checkpoint))
        config.load_from = str(checkpoint)
    keep_test_only(config)
    runner = build_runner(config)
    with guard(runner):
        metrics = only_numbers(runner.test())
    return runner, {**metrics, **(trained.outcome.metrics if trained else {})}, checkpoint


def trained_weights(trained: RunFolder) -> Weights:
    """What a training left.

    Raises:
        UserError: if it is not done.
    """
    result = trained.result
    if result is None or result.weights is None:
        raise UserError(f'{trained.path} is no training that is done: run it first')
    return result.weights


def check_weights(checkpoint: Path, trained: RunFolder, digest: str) -> None:
    """What is evaluated must be what was trained.

    Raises:
        UserError: if the file has another digest than the training recorded.
    """
    expected = trained_weights(trained).sha256
    if digest != expected:
        raise UserError(
            f'{checkpoint} is not what was trained: its SHA-256 is {digest[:12]}…, that '
            f'of the training {expected[:12]}…; put the file back, or remove '
            f'{trained.path} to train again')


def divide_batch(config: Config, processes: int) -> None:
    """Keep the clips of a step, whatever the number of processes.

    ``auto_scale_lr.base_batch_size`` is the total, the ``batch_size`` of the config where
    there is none; a process takes at most that ``batch_size`` at once and accumulates
    gradients beyond that.

    Raises:
        UserError: if the total cannot be divided so.
    """
    most = config.train_dataloader.get('batch_size', 1)  # MMEngine's own default
    total = (config.get('auto_scale_lr') or {}).get('base_batch_size', most)
    share, rest = divmod(total, processes)
    steps = next((n for n in range(1, share + 1)
                  if share % n == 0 and share // n <= most), 0)
    if rest or not steps:
        raise UserError(f'{total} clips a step cannot be divided among {processes} '
                        'processes: take a number that divides it')
    config.train_dataloader.batch_size = share // steps
    if steps > 1:
        config.optim_wrapper.accumulative_counts = steps


def check_data(datasets: list[Dataset], inputs: Inputs) -> None:
    """The numbers must be of the data that the plan saw."""
    for dataset in datasets:
        if inputs.data.get(dataset.context) not in (None, dataset.digest):
            raise UserError(f'{dataset.source} or its videos changed while the suite '
                            'ran: start it again')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        keep_imports()
        main()
