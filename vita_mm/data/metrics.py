"""Accuracies that say of how many videos they are."""
import logging
from statistics import mean, pstdev

import numpy as np
from mmaction.evaluation.metrics import AccMetric
from mmaction.registry import METRICS
from mmengine.logging import print_log

from vita_mm.analysis.confusion import Confusion
from vita_mm.analysis.predictions import Predictions
from vita_mm.errors import UserError, printable
from vita_mm.labels.class_names import read_classes


@METRICS.register_module()
class VideoAccMetric(AccMetric):
    """MMAction2's accuracy, with the number of videos that were and were not read.

    Copies of a dataset differ in their broken and missing videos: an accuracy without
    these counts means little. The log names them. Scores that are not finite, which
    would count as some class or other, stop the evaluation.

    Args:
        unreadable: whether a video that cannot be read counts as a ``'miss'`` or is left
            out (``'exclude'``).
        **kwargs: as in ``AccMetric``.
    """

    def __init__(self, unreadable: str = 'miss', **kwargs) -> None:
        super().__init__(**kwargs)
        if unreadable not in ('miss', 'exclude'):
            raise UserError(f"unreadable must be 'miss' or 'exclude', not {unreadable!r}")
        self.unreadable = unreadable
        self._confusions: dict[str, Confusion] = {}
        self._predictions: dict[str, Predictions] = {}
        self._named = set()

    def process(self, data_batch, data_samples: list[dict]) -> None:
        for number, sample in enumerate(data_samples, len(self.results) + 1):
            if not sample['pred_score'].isfinite().all():
                raise UserError(
                    f'the scores of the video {sample.get("video") or number} are not '
                    'finite numbers, so that there is no accuracy: look for the cause in '
                    'the weights or the precision')
        super().process(data_batch, data_samples)
        for result, sample in zip(self.results[-len(data_samples):], data_samples):
            result['unreadable'] = sample.get('unreadable')
            result['splits'] = sample.get('splits')
            result['video'] = sample.get('video')

    def compute_metrics(self, results: list[dict], split: str = '',
                        classes: list[str] | None = None) -> dict:
        """The metrics of some results, of which confusion and predictions are kept.

        Args:
            results: of all videos, from all processes.
            split: under which :meth:`take_confusions` and :meth:`take_predictions` give
                them.
            classes: of the scores; default those of the dataset.
        """
        self.name_faults(results)
        readable = [result for result in results if not result['unreadable']]
        counts = dict(videos_read=len(readable),
                      videos_unreadable=len(results) - len(readable))
        if not readable:
            raise UserError(f'none of the {len(results)} videos can be read')
        classes = classes or (self.dataset_meta or {}).get('classes')
        self._predictions[split] = Predictions.of(
            results, self.unreadable == 'miss', classes)
        if self.unreadable == 'exclude':
            results = readable
        else:
            results = [miss(result) if result['unreadable'] else result
                       for result in results]
        self._confusions[split] = Confusion.of(
            np.stack([result['pred'] for result in results]),
            np.array([result['label'] for result in results]),
            np.array([not result['unreadable'] for result in results]),
            classes)
        return dict(super().compute_metrics(results), **counts)

    def name_faults(self, results: list[dict]) -> None:
        """Log which videos could not be read and why, each once."""
        faults = {result['unreadable'] for result in results if result['unreadable']}
        new = sorted(faults - self._named)
        self._named |= faults
        if new:
            print_log(f'{len(new)} videos could not be read:\n'
                      + printable('\n'.join(new)), 'current', logging.WARNING)

    def take_confusions(self) -> dict[str, Confusion]:
        """Those of the last evaluation by split (or ``''``), which are given but once.

        Only the process that computes metrics, the first, has any.
        """
        taken, self._confusions = self._confusions, {}
        return taken

    def take_predictions(self) -> dict[str, Predictions]:
        """The same of what was said of each video."""
        taken, self._predictions = self._predictions, {}
        return taken


def miss(result: dict) -> dict:
    """The same with scores that put the right class last."""
    scores = np.zeros_like(result['pred'])
    scores[result['label']] = -1
    return dict(result, pred=scores)


@METRICS.register_module()
class SplitAccMetric(VideoAccMetric):
    """Accuracy on each of the splits of a test set, with their mean and deviation.

    ``top1`` is the mean over the splits and ``top1_std`` the standard deviation with
    ddof=0; ``split1_top1`` and so on are those of each.

    Args:
        candidates: for each split the classes among which it chooses, see
            :func:`read_classes`; default all. Where a clip has several views, scores
            are averaged before the choice is narrowed.
        num_splits: how many annotation files the dataset has.
        **kwargs: as in :class:`VideoAccMetric`.
    """

    def __init__(self, num_splits: int = 3,
                 candidates: list[str | list[str]] | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.candidates = [read_classes(source) for source in candidates or ()] \
            or [None] * num_splits
        if len(self.candidates) != num_splits:
            raise UserError(f'there are {num_splits} splits but candidates for '
                            f'{len(self.candidates)}')

    def compute_metrics(self, results: list[dict]) -> dict:
        metrics, splits = {}, []
        for number, candidates in enumerate(self.candidates):
            chosen = [self.narrow(result, candidates) for result in results
                      if number in result['splits']]
            if not chosen:
                raise UserError(f'split {number + 1} has no videos: give the dataset '
                                f'{len(self.candidates)} annotation files')
            splits.append(super().compute_metrics(chosen, f'split{number + 1}',
                                                  candidates))
            metrics.update({f'split{number + 1}_{key}': value
                            for key, value in splits[-1].items()})
        for key in splits[0]:
            if not key.startswith('videos_'):
                values = [float(split[key]) for split in splits]
                metrics.update({key: mean(values), f'{key}_std': pstdev(values)})
        unreadable = sum(bool(result['unreadable']) for result in results)
        return dict(metrics, videos_read=len(results) - unreadable,
                    videos_unreadable=unreadable)

    def narrow(self, result: dict, candidates: list[str] | None) -> dict:
        """The result with the scores of the candidates only."""
        if candidates is None:
            return result
        assert self.dataset_meta is not None  # MMEngine gives it before it evaluates
        classes = self.dataset_meta['classes']
        ids = [classes.index(name) for name in candidates]
        if result['label'] not in ids:
            raise UserError(f'{classes[result["label"]]!r} is the class of a video, but '
                            'it is not among the candidates of its split')
        return dict(result, pred=result['pred'][ids], label=ids.index(result['label']))
