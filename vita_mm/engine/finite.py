"""A loss or a weight that is no finite number ends a training."""
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from vita_mm.errors import UserError
from vita_mm.io.processes import unwrapped

REMEDY = ('the training has diverged: take a lower optim_wrapper.optimizer.lr or clip '
          'gradients (optim_wrapper.clip_grad.max_norm=1), and start it again or resume '
          'the last checkpoint')


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops a training before weights that are not finite are saved or validated.

    Each loss is looked at: ``RuntimeInfoHook`` has waited for it already, so that this
    costs no synchronisation of its own. The trained weights are looked at when an epoch
    ends, before a validation and before a checkpoint is written. Gradients are not:
    under float16 their overflow is a matter of the loss scale, which skips the step.

    Losses are means over all processes (``CLIPRecognizer``), so that all stop together.
    """

    # Before CheckpointHook, ParamSchedulerHook and LoggerHook.
    priority = 'ABOVE_NORMAL'

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None
                         ) -> None:
        for name, value in (outputs or {}).items():
            if not torch.as_tensor(value).isfinite().all():
                raise UserError(f'{name} is {float(value)} in iteration '
                                f'{batch_idx + 1} of epoch {runner.epoch + 1}: {REMEDY}')

    def after_train_epoch(self, runner) -> None:
        check_weights(runner)

    def before_val(self, runner) -> None:
        check_weights(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        check_weights(runner)


def check_weights(runner) -> None:
    """Raises UserError naming a trained parameter that is not finite."""
    trained = {name: value.detach()
               for name, value in unwrapped(runner.model).named_parameters()
               if value.requires_grad}
    # One number for all of them is one synchronisation.
    if trained and not torch.stack(
            [value.isfinite().all() for value in trained.values()]).all():
        name = next(name for name, value in trained.items()
                    if not value.isfinite().all())
        raise UserError(f'{name} holds values that are not finite numbers after '
                        f'iteration {runner.iter} (epoch {runner.epoch + 1}): {REMEDY}')
