"""Hooks that make a run repeatable, its classes agree, and its mistakes seen."""
import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook, LoggerHook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from vita_mm.analysis.confusion import Confusion
from vita_mm.data import VideoAccMetric
from vita_mm.description import describe, tell_activation
from vita_mm.errors import UserError, printable
from vita_mm.io.processes import unwrapped
from vita_mm.models import CLIPTextHead
from vita_mm.models.common.description import KEY, evaluation_pipeline
from vita_mm.tracking import get_backend


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Lets a resumed run end with the same weights as one that was never stopped.

    MMEngine restores model, optimizer and schedulers; the sampler and the augmentations
    follow from seed and epoch (``SeededSampler``). What is left are draws of the model
    itself: each epoch starts them from its own seed.
    """

    def before_train_epoch(self, runner) -> None:
        numbers = np.random.SeedSequence(
            (runner.seed, runner.epoch, get_rank())).generate_state(1)
        torch.manual_seed(int(numbers[0]))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        meta = checkpoint.get('meta', {})
        # MMEngine (0.10.7) would execute this text, a config of before version 2.
        meta.pop('config', None)
        if runner._resume and runner._randomness_cfg.get('seed') is not None:
            # The sampler has the config's seed; MMEngine would take the checkpoint's
            # for the rest.
            meta['seed'] = runner.seed


@HOOKS.register_module()
class RankZeroLoggerHook(LoggerHook):
    """MMEngine's logger, whose file of test results is written by one rank.

    In MMEngine 0.10.7 all ranks write that same file, over each other.
    """

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        if is_main_process():
            super().after_test_epoch(runner, metrics)


@HOOKS.register_module()
class DescriptionHook(Hook):
    """Writes into checkpoints what model they are of, see
    :mod:`vita_mm.description`.

    A config that a description cannot say does not stop the run: its checkpoints then
    need the config.
    """
    description = None

    def before_train(self, runner) -> None:
        classes = getattr(unwrapped(runner.model).cls_head, 'classes', None)
        try:
            self.description = json.dumps(describe(
                runner.cfg.model, evaluation_pipeline(runner.cfg), classes))
        except UserError as error:
            runner.logger.warning('checkpoints of this run do not say what model they '
                                  f'are of: {error}')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self.description is not None:
            checkpoint['meta'][KEY] = self.description

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        tell_activation(checkpoint)


@HOOKS.register_module()
class TextOncePerStepHook(Hook):
    """Encodes the prompts of the classes once for all that a training step needs.

    Once for the micro-batches of an optimizer step (gradient accumulation), and each
    data-parallel rank encodes its share of the classes. Gradients stay what they are.
    Without this hook every micro-batch encodes all classes on every rank.
    """

    def before_train(self, runner) -> None:
        head = text_head(runner)
        if head is not None:
            head.share_classes(is_model_wrapper(runner.model) and get_world_size() > 1)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        head = text_head(runner)
        if head is not None:
            head.last_micro_batch = runner.optim_wrapper.should_sync()

    def after_train(self, runner) -> None:
        head = text_head(runner)
        if head is not None:
            head.share_classes(False)
            head.last_micro_batch = True


def text_head(runner) -> CLIPTextHead | None:
    """The head of the runner's model, if it has a text side."""
    head = getattr(unwrapped(runner.model), 'cls_head', None)
    return head if isinstance(head, CLIPTextHead) else None


@HOOKS.register_module()
class SubstituteHook(Hook):
    """Names and counts the training samples that stand in for unreadable videos.

    The count of each epoch is the metric ``data/substituted``.
    """

    def before_train_epoch(self, runner) -> None:
        self.faults = []

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None,
                         outputs=None) -> None:
        self.faults += [fault for sample in data_batch['data_samples']
                        if (fault := sample.get('stands_in'))]

    def after_train_epoch(self, runner) -> None:
        faults = sorted(chain.from_iterable(all_gather_object(self.faults)))
        runner.visualizer.add_scalar('data/substituted', len(faults), runner.iter)
        if faults:
            runner.logger.warning(
                f'epoch {runner.epoch + 1}: {len(faults)} of '
                f'{len(runner.train_dataloader.dataset)} training videos were replaced '
                'by others:\n' + printable('\n'.join(faults)))


@HOOKS.register_module()
class ConfusionHook(Hook):
    """Writes which classes each evaluation confuses.

    See :mod:`vita_mm.analysis.confusion`.

    They are in the folder ``confusion`` beside the log and among the artifacts of the
    MLflow run, in folders of their own for each set of prompts and each split. In a
    training each validation replaces the one before: at any time they are of the newest
    weights, in the end of the last, which are what a suite evaluates.
    """

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.val_evaluator)

    def after_prompts(self, runner, name: str) -> None:
        """Called by ``ZeroShotLoop`` for each set of prompts."""
        self._write(runner, runner.test_evaluator, name)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        self._write(runner, runner.test_evaluator)

    def _write(self, runner, evaluator: Evaluator, prompts: str = '') -> None:
        for metric in evaluator.metrics:
            if not isinstance(metric, VideoAccMetric):
                continue
            for split, confusion in metric.take_confusions().items():
                try:
                    self._save(runner, confusion, prompts, split)
                except OSError as error:  # no reason to lose a training
                    runner.logger.warning(f'the confusion is not written: {error}')

    def _save(self, runner, confusion: Confusion, prompts: str, split: str) -> None:
        place = Path('confusion', prompts, split)
        folder = Path(runner.log_dir, place)
        title = f'{runner.experiment_name} {prompts} {split}'.strip()
        files = confusion.save(folder, title)
        runner.logger.info(f'per-class accuracy and confusion: {folder}')
        backend = get_backend(runner)
        if backend is not None:
            for file in files:
                backend.add_file(f'{place}/{file.name}', file)


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Stops a run whose model and dataset have different lists of classes.

    A model that has no list, as MMAction2's own, must have as many classes as a dataset
    that has one.
    """

    def before_run(self, runner) -> None:
        head = getattr(unwrapped(runner.model), 'cls_head', None)
        of_model = getattr(head, 'classes', None)
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            dataset: Any = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
            of_data = getattr(dataset, 'metainfo', {}).get('classes')
            if of_data is None or of_data == of_model:
                continue
            if of_model is None:
                count = getattr(head, 'num_classes', None)
                if count not in (None, len(of_data)):
                    raise UserError(
                        f'the model has {count} classes but {dataset.ann_file} has '
                        f'{len(of_data)} ({of_data[0]} …): set '
                        f'model.cls_head.num_classes={len(of_data)}')
                continue
            raise UserError(
                f'the model has {len(of_model)} classes ({of_model[0]} …) but '
                f'{dataset.ann_file} has {len(of_data)} ({of_data[0]} …), or they are in '
                'another order: give cls_head and the datasets the same `classes`')
