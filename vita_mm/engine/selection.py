"""Which weights a number is of: the last of a training, or the best of its validations.

A checkpoint chosen on a set flatters the number that is then measured on the same set, so
that such a checkpoint says how it was chosen, and what is measured of it says it again.
"""
from pathlib import Path

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from vita_mm.io.digests import digest_file
from vita_mm.tracking import get_backend

KEY = 'selection'
LENGTH = 200


@HOOKS.register_module()
class MarkedCheckpointHook(CheckpointHook):
    """MMEngine's hook, whose best checkpoints say so.

    Their ``meta['selection']`` has the ``metric``, the ``data`` (annotation files) and
    ``sha256`` of these. Those that are saved on the way have none.
    """
    choosing = False

    def _save_best_checkpoint(self, runner, metrics) -> None:
        self.choosing = True
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.choosing = False

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        # MMEngine (0.10.7) saves the last checkpoint anew behind a best one.
        self.choosing = False
        super()._save_checkpoint_with_step(runner, step, meta)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self.choosing:
            lists = annotation_files(runner._val_loop)
            # A copy, for both checkpoints are saved with one and the same meta.
            checkpoint['meta'] = dict(checkpoint['meta'], **{KEY: dict(
                metric=', '.join(self.key_indicators), data=', '.join(lists),
                sha256=digest_lists(lists))})


@HOOKS.register_module()
class SelectionHook(Hook):
    """Says beside the metrics of a test that its weights were chosen, and how.

    In the log's line and file of metrics as ``weights``, in MLflow as the tag
    ``checkpoint.selection``.
    """
    selection = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self.selection = find_selection(checkpoint, runner._load_from or '')

    def before_train(self, runner) -> None:
        self.selection = None  # what is tested behind it are other weights

    def before_test_epoch(self, runner) -> None:
        if self.selection is None:
            return
        lists = annotation_files(runner._test_loop)
        if lists and self.selection.get('sha256') == digest_lists(lists):
            runner.logger.warning(
                f'the weights are the {say(self.selection)}, the very set of this test: '
                'the number will be too good; the last weights of a training are '
                'named by its work dir')

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        if self.selection is None:
            return
        # Before LoggerHook, which puts it into the line and the file of the metrics.
        runner.message_hub.update_info('test/weights', say(self.selection))
        backend = get_backend(runner)
        if backend is not None:
            backend.add_tags({'checkpoint.selection': say(self.selection)})


def find_selection(checkpoint: dict, path: str | Path) -> dict | None:
    """How a checkpoint was chosen; None for one that was not.

    Checkpoints that were not written by :class:`MarkedCheckpointHook` are known by
    MMEngine's name for the best ones.
    """
    meta = checkpoint.get('meta')
    selection = meta.get(KEY) if isinstance(meta, dict) else None
    if isinstance(selection, dict):
        return {key: str(value) for key, value in selection.items()}
    return {} if Path(path).name.startswith('best_') else None


def say(selection: dict) -> str:
    """Such as ``best acc/top1 on data/kinetics400/val.txt``."""
    text = 'best {} on {}'.format(selection.get('metric', 'of its name'),
                                  selection.get('data') or 'an unknown set')
    return ''.join(letter if letter.isprintable() else '?' for letter in text)[:LENGTH]


def annotation_files(loop) -> list[str]:
    """Of the dataset of a loop, in order; none where it has no such files."""
    dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
    files = getattr(dataset, 'ann_files', getattr(dataset, 'ann_file', None)) or []
    return [files] if isinstance(files, str) else list(files)


def digest_lists(files: list[str]) -> str:
    return ' '.join(digest_file(file) if Path(file).is_file() else file
                    for file in files)
