"""A hook that keeps what an evaluation said of each video."""
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from vita_mm.analysis.predictions import NAME, Predictions, save
from vita_mm.data import VideoAccMetric


@HOOKS.register_module()
class PredictionsHook(Hook):
    """Writes ``predictions.npz`` when a test ends, see
    :mod:`vita_mm.analysis.predictions`.

    Of an evaluation whose metric is no :class:`VideoAccMetric` there is none.

    Args:
        folder: where; default the work folder of the run.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self.sets: dict[tuple[str, str], Predictions] = {}

    def before_test(self, runner) -> None:
        self.sets = {}

    def after_prompts(self, runner, name: str) -> None:
        """Called by ``ZeroShotLoop`` for each set of prompts."""
        for metric in runner.test_evaluator.metrics:
            if isinstance(metric, VideoAccMetric):
                self.sets.update(((name, split), found) for split, found
                                 in metric.take_predictions().items())

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        self.after_prompts(runner, '')
        if self.sets:  # of the first process alone
            save(Path(self.folder or runner.work_dir, NAME), self.sets)
