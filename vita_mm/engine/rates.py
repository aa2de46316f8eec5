"""The schedules of rates that the authors of the comparators trained with."""
import math
from collections.abc import Sequence

from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS
from torch.optim import Optimizer


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """A straight line from 0 to the rate, then a cosine, by a formula of the position.

    Times are in what the schedule counts: epochs, or optimizer steps. With
    ``convert_to_iter_based=True`` those given in epochs are turned into steps; ``lag``
    and ``hold`` always are in steps.

    The cosine of X-CLIP and ViFi-CLIP (``CosineLRScheduler`` of timm) begins where the
    training does: at the end of the warm-up the rate falls to where the cosine is by
    then. That of ActionCLIP begins at the end of the warm-up.

    Args:
        optimizer: with the rates of its groups.
        T_max: where the cosine ends.
        warmup: the length of the line.
        after_warmup: whether the cosine begins behind the warm-up instead of at 0.
        eta_min_ratio: the rate at the end, the same for all groups, as a share of the
            lowest of their rates.
        lag: how far the position is behind. Code that sets the rate after a step to that
            of the batch just read lags by one batch, which is a step divided by the
            batches accumulated in it.
        hold: at how many steps a rate is set anew: for the first of an epoch, then for
            each whose number in it, counted from 1, is a multiple.
        epoch: steps of an epoch, for ``hold``; ``convert_to_iter_based`` sets it.
        end: from here on the rate stays.
        last_step, by_epoch, verbose: as of every scheduler of MMEngine.
    """

    def __init__(self, optimizer: OptimWrapper | Optimizer, T_max: int,
                 warmup: int = 0, after_warmup: bool = False, eta_min_ratio: float = 0.,
                 lag: float = 0., hold: int = 1, epoch: int = INF, end: int = INF,
                 last_step: int = -1, by_epoch: bool = True,
                 verbose: bool = False) -> None:
        self.T_max, self.warmup, self.after_warmup = T_max, warmup, after_warmup
        self.eta_min_ratio = eta_min_ratio
        self.lag, self.hold, self.epoch = lag, hold, epoch
        super().__init__(optimizer, end=end, last_step=last_step, by_epoch=by_epoch,
                         verbose=verbose)

    @classmethod
    def build_iter_from_epoch(cls, *args, T_max: int, epoch_length, warmup: float = 0,
                              end: int = INF, by_epoch: bool = True, **kwargs):
        """What ``convert_to_iter_based`` calls: times are in epochs, but of ``lag``."""
        return cls(*args, T_max=T_max * epoch_length, warmup=warmup * epoch_length,
                   end=end if end == INF else end * epoch_length,
                   epoch=1 * epoch_length, by_epoch=False, **kwargs)

    def position(self) -> float:
        """Where on the line and the cosine the present step is."""
        done, step = divmod(self.last_step, self.epoch)
        if self.hold > 1:
            step = max(0, (step + 1) // self.hold * self.hold - 1)
        return max(0., done * self.epoch + step - self.lag)

    def _get_value(self) -> Sequence[float]:
        position = self.position()
        if position < self.warmup:
            return [rate * position / self.warmup for rate in self.base_values]
        begin = self.warmup if self.after_warmup else 0
        passed = 1. if position >= self.T_max else (
            position - begin) / (self.T_max - begin)
        share = (1 + math.cos(math.pi * passed)) / 2
        last = self.eta_min_ratio * min(self.base_values)
        return [last + (rate - last) * share for rate in self.base_values]
