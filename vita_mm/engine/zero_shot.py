"""Evaluation of one pass over the videos with several sets of prompts."""
import logging
from collections.abc import Iterable, Sized
from typing import cast

import torch
from mmengine.dist import is_main_process
from mmengine.registry import LOOPS
from mmengine.runner import TestLoop, autocast
from rich.progress import track

from vita_mm.errors import UserError
from vita_mm.io.processes import unwrapped


@LOOPS.register_module()
class ZeroShotLoop(TestLoop):
    """A test loop that computes video features once and text features once a prompt set.

    Its metrics are those of the evaluator for each set, ``SET/acc/top1`` and so on.

    Args:
        prompts: name to templates, see
            :func:`vita_mm.labels.class_names.read_templates`. A head with a learned
            context that all classes share has this alone, as the set ``learned``.
        **kwargs: as in MMEngine's ``TestLoop``.
    """

    def __init__(self, runner, dataloader, evaluator,
                 prompts: dict[str, str | list[str]], **kwargs) -> None:
        super().__init__(runner, dataloader, evaluator, **kwargs)
        if not prompts:
            raise UserError("prompts is empty: give at least one set, such as name='{}'")
        self.prompts = prompts

    @torch.no_grad()
    def run(self) -> dict:
        runner = self.runner
        model = unwrapped(runner.model)
        head = getattr(model, 'cls_head', None)
        if head is None or not hasattr(head, 'text_features'):
            raise UserError('zero-shot evaluation needs a text side, which '
                            f'{type(head).__name__} has not: evaluate it on its own '
                            "classes, with test_cfg=dict(type='TestLoop')")
        if head.class_specific:
            raise UserError('zero-shot evaluation has prompts for any class, but what '
                            'this model has learned is of its own classes alone: set '
                            "model.cls_head.context='none' if it is class-specific "
                            'context')
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        prompts = self.prompts if head.context is None else dict(learned=None)
        model.eval()
        batches = []
        for index, batch in enumerate(self.progress()):
            runner.call_hook('before_test_iter', batch_idx=index, data_batch=batch)
            with autocast(enabled=self.fp16):
                batches.append(video_features(model, batch))
            runner.call_hook('after_test_iter', batch_idx=index, data_batch=batch,
                             outputs=batches[-1][1])
        metrics = {}
        # Those of MMEngine have a length, unlike torch's in general.
        videos = len(cast(Sized, self.dataloader.dataset))
        for name, templates in prompts.items():
            if templates is not None:
                head.use_templates(templates)
            with autocast(enabled=self.fp16):
                text = head.text_features()
            for features, samples in batches:
                head.predict_by_feat(head.logits(features.to(text.device), text),
                                     samples)
                self.evaluator.process(samples)
            found = self.evaluator.evaluate(videos)
            metrics.update({f'{name}/{key}': value for key, value in found.items()})
            runner.call_hook('after_prompts', name=name)
        runner.call_hook('after_test_epoch', metrics=metrics)
        runner.call_hook('after_test')
        return metrics

    def progress(self) -> Iterable:
        """The batches, with a bar where the logger does not tell of them."""
        quiet = self.runner.logger.level <= logging.INFO or not is_main_process()
        return track(self.dataloader, self.runner.experiment_name, disable=quiet)


def video_features(model, batch: dict) -> tuple[torch.Tensor, list]:
    """Features of all views of a batch, (B * views, ...), and its data samples.

    They wait on the CPU: a whole dataset of them is small, but not for a GPU at work.
    """
    data = model.data_preprocessor(batch, training=False)
    features, _ = model.extract_feat(data['inputs'], test_mode=True)
    return features.cpu(), [sample.cpu() for sample in data['data_samples']]
