"""Schedules that count optimizer steps, and act as the config says after a resume too."""
import copy

from mmengine.hooks import ParamSchedulerHook
from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from vita_mm.errors import UserError

# What moves in a scheduler while it runs; all else of its state is the schedule itself.
MOVING = {'last_step', '_global_step', '_last_value', 'best', 'num_bad_epochs',
          'cooldown_counter'}


class EpochInSteps:
    """Optimizer steps of an epoch, maybe no whole number: a multiple of it is one.

    It is rounded up, so that a schedule does not end before the training does.
    """

    def __init__(self, iterations: int, accumulation: int) -> None:
        self.iterations, self.accumulation = iterations, accumulation

    def __rmul__(self, epochs: float) -> int:
        return int(-(-epochs * self.iterations // self.accumulation))

    def __gt__(self, number: float) -> bool:
        return self.iterations / self.accumulation > number


@HOOKS.register_module()
class StepScheduleHook(ParamSchedulerHook):
    """MMEngine's hook for schedules, counting optimizer steps.

    The position of a schedule is the number of optimizer steps done, whatever the
    accumulation (``optim_wrapper.accumulative_counts``) and the number of processes:
    one with ``by_epoch=False`` is written in optimizer steps, one with
    ``convert_to_iter_based=True`` in epochs, and both move with each optimizer step.
    MMEngine (0.10.7) counts micro-batches.

    A resumed training follows the schedule, the rates and the other optimizer settings
    of its config, at the position that it has come to: MMEngine would go on with those
    of the checkpoint, without a word. Where they differ a warning names them.

    The Runner has to be built from a config (``Runner.from_cfg``) with one optimizer.
    """

    def __init__(self) -> None:
        self.settings = []  # of the optimizer's groups, before any schedule
        self.schedules = []
        self.resumed = False

    def before_run(self, runner) -> None:
        if not isinstance(runner.optim_wrapper, OptimWrapper) or not built(runner):
            return  # not a training, or one of several optimizers
        groups = runner.optim_wrapper.param_groups
        for group in groups:
            unschedule(group)
        self.settings = [settings(group) for group in groups]
        self.build(runner)
        self.schedules = [schedule(each) for each in runner.param_schedulers or ()]

    def build(self, runner) -> None:
        """Put the config's schedules, at their start, in the place of the runner's."""
        for group, values in zip(runner.optim_wrapper.param_groups, self.settings):
            unschedule(group)
            group.update(copy.deepcopy(values))
        if runner.param_schedulers is None:
            return
        accumulation = runner.optim_wrapper._accumulative_counts
        epoch = EpochInSteps(len(runner.train_dataloader), accumulation)
        configs = runner.cfg.get('param_scheduler')
        if configs is None:
            raise UserError('StepScheduleHook builds schedules from the config: make the '
                            'Runner with Runner.from_cfg, or use ParamSchedulerHook')
        configs = [configs] if isinstance(configs, dict) else configs
        ends = {True: runner.max_epochs, False: -(-runner.max_iters // accumulation)}
        runner.param_schedulers = runner.build_param_scheduler([
            dict(end=ends[each.get('by_epoch', True)], epoch_length=epoch) | each
            for each in configs])

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Refuse the state of another optimizer before it is loaded.

        Raises:
            UserError: if it is not one of the parameters that the model trains.
        """
        if not runner._resume or not self.settings:
            return
        self.resumed = True
        ours = runner.optim_wrapper.state_dict()['param_groups']
        theirs = checkpoint.get('optimizer', {}).get('param_groups', ours)
        if [len(group['params']) for group in ours] != [
                len(group['params']) for group in theirs]:
            raise UserError(
                'the training cannot be resumed: the optimizer of the checkpoint is of '
                'other parameters than this config trains; start a new one with '
                'load_from=CHECKPOINT')

    def before_train(self, runner) -> None:
        if not self.resumed:
            return
        self.resumed = False
        align(runner)
        changed = self.find_changed(runner)
        if not changed:
            return
        if any(getattr(each, 'need_val_args', False)
               for each in runner.param_schedulers or ()):
            raise UserError('a schedule that follows a metric cannot be changed in a '
                            f'resumed training: it has other {", ".join(changed)}')
        self.build(runner)
        self.replay(runner)
        runner.logger.warning(
            'the checkpoint has another schedule or other optimizer settings than the '
            f'config ({"; ".join(changed)}): the config acts, from optimizer step '
            f'{runner.optim_wrapper._global_step} on')

    def find_changed(self, runner) -> list[str]:
        """What differs between the config and the checkpoint that was resumed."""
        found = []
        for group, values in zip(runner.optim_wrapper.param_groups, self.settings):
            for key, value in values.items():
                scheduled = any(each.param_name == key
                                for each in runner.param_schedulers or ())
                before = group.get(f'initial_{key}' if scheduled else key, value)
                if plain(before) != plain(value):
                    found.append(f'{key} {before} → {value}')
        for each, ours in zip(runner.param_schedulers or (), self.schedules):
            theirs = schedule(each)
            found += [f'{key} {theirs.get(key)} → {ours.get(key)}'
                      for key in sorted(ours.keys() | theirs.keys())
                      if plain(ours.get(key)) != plain(theirs.get(key))]
            steps = runner.epoch if each.by_epoch else steps_done(runner)
            if each._global_step != steps:
                found.append(f'position {each._global_step} → {steps}')
        return list(dict.fromkeys(found))

    def replay(self, runner) -> None:
        """Take new schedulers to where the training has come.

        They are chained, each works on the value that the others left: in the order of
        the training.
        """
        wrapper, loop = runner.optim_wrapper, runner.train_loop
        wrapper._global_step = steps_done(runner)
        length = len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else 0
        for iteration in range(1, loop.iter + 1):
            for each in runner.param_schedulers or ():
                if not each.by_epoch and iteration % wrapper._accumulative_counts == 0:
                    each.step()
            for each in runner.param_schedulers or ():
                if each.by_epoch and length and iteration % length == 0:
                    each.step()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None
                         ) -> None:
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, OptimWrapperDict) or wrapper.should_update():
            super().after_train_iter(runner, batch_idx, data_batch, outputs)


def built(runner) -> bool:
    """Whether the runner's optimizer is one, and its schedulers are there, if any."""
    return not isinstance(runner.optim_wrapper, OptimWrapperDict) and (
        runner.param_schedulers is None or isinstance(runner.param_schedulers, list)
        and all(isinstance(each, _ParamScheduler) for each in runner.param_schedulers))


def unschedule(group: dict) -> None:
    """Give a group of parameters the values back that its schedulers began with."""
    for key in [key for key in group if key.startswith('initial_')]:
        group[key.removeprefix('initial_')] = group.pop(key)


def settings(group: dict) -> dict:
    return {key: copy.deepcopy(value) for key, value in group.items() if key != 'params'}


def schedule(scheduler: _ParamScheduler) -> dict:
    """What a scheduler is to do, without how far it is."""
    return {key: copy.deepcopy(value) for key, value in scheduler.state_dict().items()
            if key not in MOVING}


def plain(value):
    """Tuples as lists: a checkpoint may have turned one into the other."""
    return list(value) if isinstance(value, tuple) else value


def steps_done(runner) -> int:
    return runner.iter // runner.optim_wrapper._accumulative_counts


def align(runner) -> None:
    """Count the iterations of a resumed training in its own micro-batches.

    On another number of processes, or with another accumulation, an epoch has another
    number of them than when the checkpoint was written. An epoch always begins anew.
    """
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        begin = loop.epoch * len(loop.dataloader)
        if loop.iter != begin:
            loop._iter = begin
            runner.optim_wrapper.initialize_count_status(
                runner.model, begin, loop.max_iters)
