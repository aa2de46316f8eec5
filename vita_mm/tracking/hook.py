"""The hook that tells MLflow what the runner knows, and how the run ended."""
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from vita_mm.io.processes import wait_for_all

from .backend import MLflowTracking
from .probes import (
    attempt,
    count_parameters,
    digest_file,
    find_clip,
    find_command,
    find_datasets,
    find_diff,
    find_environment,
    find_git,
)
from .values import only_numbers


def get_backend(runner) -> MLflowTracking | None:
    """The runner's MLflow backend, on the process that records: the first one."""
    if not is_main_process():
        return None
    backends = runner.visualizer._vis_backends.values()
    return next((backend for backend in backends
                 if isinstance(backend, MLflowTracking)), None)


@contextlib.contextmanager
def guard(runner) -> Iterator[None]:
    """Record how the code inside ends if not well.

    An exception makes the run FAILED, a ``KeyboardInterrupt`` (Ctrl-C, or SIGTERM
    turned into it) KILLED::

        with tracking.guard(runner):
            runner.train()
    """
    try:
        yield
    except BaseException as error:
        backend = get_backend(runner)
        if backend is not None:
            backend.fail(error)
        raise


@HOOKS.register_module()
class TrackingHook(Hook):
    """Starts and ends the MLflow run of a training, validation or test.

    It records parameters of the run, environment, git state, datasets and checkpoints.
    It does nothing without ``MLflowTracking`` among the ``vis_backends``.
    """

    # After CheckpointHook, so that checkpoints are there to be hashed.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._hashed = {}
        self._saved = None

    def before_train(self, runner) -> None:
        self._start(runner, 'train', dict(
            train=runner._train_loop, val=runner._val_loop), runner._resume)
        wait_for_all()

    def before_val(self, runner) -> None:
        self._start(runner, 'val', dict(val=runner._val_loop))

    def before_test(self, runner) -> None:
        self._start(runner, 'test', dict(test=runner._test_loop))
        wait_for_all()

    def after_train(self, runner) -> None:
        self._note_checkpoints(runner)
        self._succeed(runner, 'train')

    def after_val(self, runner) -> None:
        self._succeed(runner, 'val')

    def after_test(self, runner) -> None:
        self._succeed(runner, 'test')

    def after_run(self, runner) -> None:
        """LoggerHook has closed the visualizer by now; this is for runs without it."""
        backend = get_backend(runner)
        if backend is not None:
            backend.close()

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        saved = runner.message_hub.runtime_info.get('last_ckpt')
        if saved != self._saved:
            self._saved = saved
            self._note_checkpoints(runner)

    def after_train_epoch(self, runner) -> None:
        self._note_checkpoints(runner)

    def after_val_epoch(self, runner, metrics=None) -> None:
        """The metrics come from LoggerHook; the best checkpoint may be new."""
        self._note_checkpoints(runner)

    def after_test_epoch(self, runner, metrics=None) -> None:
        """Record the metrics, which LoggerHook writes to a file only."""
        backend = get_backend(runner)
        if backend is not None:
            backend.add_scalars(only_numbers(metrics or {}))

    def _start(self, runner, kind: str, loops: dict, resume: bool = False) -> None:
        backend = get_backend(runner)
        if backend is None or backend.journal is not None:  # a validation in training
            return
        backend.start(kind, runner.work_dir, resume, runner.experiment_name)
        backend.outcome = 'FAILED'
        self._hashed = {}
        note_run(backend, runner, kind)
        note_code(backend)
        for dataset in attempt(find_datasets, loops):
            # MLflow's digests have at most 36 characters.
            backend.add_dataset(**dict(dataset, digest=dataset['digest'][:32]))
            backend.add_tags({f'data.{dataset["context"]}.file': dataset['source'],
                              f'data.{dataset["context"]}.sha256': dataset['digest']})
        if kind != 'train':
            self._note_file(backend, 'checkpoint', runner._load_from)

    def _succeed(self, runner, kind: str) -> None:
        backend = get_backend(runner)
        if backend is not None and backend.kind == kind:
            backend.outcome = 'FINISHED'

    def _note_checkpoints(self, runner) -> None:
        backend = get_backend(runner)
        if backend is None or backend.kind != 'train':
            return
        for key, path in list(runner.message_hub.runtime_info.items()):
            if key == 'last_ckpt':
                self._note_file(backend, 'checkpoint.last', path)
            elif key.startswith('best_ckpt'):
                suffix = key.removeprefix('best_ckpt').lstrip('_')
                self._note_file(backend, f'checkpoint.best.{suffix}'.rstrip('.'), path)

    def _note_file(self, backend: MLflowTracking, name: str, path: str | None) -> None:
        """Record path and SHA-256 of a checkpoint, unless it is unchanged."""
        if not path or not os.path.isfile(path):
            return
        stat = os.stat(path)
        version = (path, stat.st_mtime_ns, stat.st_size)
        if self._hashed.get(name) != version:
            self._hashed[name] = version
            digest = attempt(digest_file, path)
            if digest:
                backend.add_tags({f'{name}.path': path, f'{name}.sha256': digest})


def note_run(backend: MLflowTracking, runner, kind: str) -> None:
    """Record seed, launcher, environment, model and command line."""
    backend.add_params({'run.kind': kind, 'run.seed': runner.seed,
                        'run.launcher': runner._launcher,
                        **attempt(count_parameters, runner.model)})
    backend.add_tags({**attempt(find_environment), **attempt(find_command),
                      **attempt(find_clip, runner.model)})


def note_code(backend: MLflowTracking) -> None:
    """Record commit, branch and, if the checkout is dirty, the difference."""
    package = Path(__file__).resolve().parent
    backend.add_tags(attempt(find_git, package))
    diff = attempt(find_diff, package)
    if diff and isinstance(diff, str):
        backend.add_text('git.diff', diff)
