"""Schedules count optimizer steps; a resumed training follows its config."""
import copy
from math import cos, pi

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner
from torch.utils.data import Dataset
from vita_mm.engine import ExactResumeHook, FiniteHook
from vita_mm.errors import UserError

CLIPS = 12
BATCH = 4  # clips a step


@MODELS.register_module()
class Slope(BaseModel):
    """A model of one weight, whose loss is what ``losses`` says from some call on."""

    def __init__(self, sick_from=None, value=float('nan')):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.calls, self.sick_from, self.value = 0, sick_from, value

    def forward(self, inputs, mode='tensor'):
        if mode == 'predict':
            return []
        self.calls += 1
        loss = (self.weight ** 2 * (1 + inputs)).mean()
        if self.sick_from is not None and self.calls >= self.sick_from:
            loss = loss * self.value
        return dict(loss=loss)


@DATASETS.register_module()
class Numbers(Dataset):

    def __len__(self):
        return CLIPS

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([index / CLIPS]))


@HOOKS.register_module()
class RatesHook(Hook):
    """Notes rate and decay of each optimizer step before the schedule moves on."""
    priority = 'HIGH'

    def before_run(self, runner):
        runner.rates, runner.decays = [], []

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.optim_wrapper.should_update():
            group = runner.optim_wrapper.param_groups[0]
            runner.rates.append(group['lr'])
            runner.decays.append(group['weight_decay'])


COSINE = dict(type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True)
RELEASED = dict(type='CosineAnnealingLR', T_max=9, end=9, by_epoch=False)
OWN = dict(type='WarmupCosineLR', T_max=3, warmup=1, eta_min_ratio=0.01, lag=1 / 4,
           hold=2, convert_to_iter_based=True)
WARM_UP = [dict(type='LinearLR', start_factor=0.1, end=2, by_epoch=False),
           dict(type='CosineAnnealingLR', T_max=3, begin=0, end=3,
                convert_to_iter_based=True)]


def make_config(work_dir, schedule=COSINE, accumulation=1, **more):
    config = Config(dict(
        default_scope='mmengine', work_dir=str(work_dir), model=dict(type='Slope'),
        train_dataloader=dict(
            batch_size=BATCH // accumulation, num_workers=0,
            dataset=dict(type='Numbers'), collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(accumulative_counts=accumulation,
                           optimizer=dict(type='SGD', lr=0.1, weight_decay=0.)),
        param_scheduler=copy.deepcopy(schedule), randomness=dict(seed=0),
        default_hooks=dict(
            param_scheduler=dict(type='StepScheduleHook'), logger=None,
            checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type=ExactResumeHook.__name__),
                      dict(type=FiniteHook.__name__), dict(type='RatesHook')],
        log_level='WARNING',
        experiment_name=f'{work_dir.name}-{make_config.count}'))
    make_config.count += 1
    config.merge_from_dict(more)
    return config


make_config.count = 0


def train(work_dir, *args, resume=None, **more):
    """A runner that has trained."""
    config = make_config(work_dir, *args, **more)
    if resume:
        config.load_from, config.resume = str(resume), True
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.mark.parametrize('schedule', [COSINE, RELEASED, WARM_UP, OWN, dict(
    type='MultiStepLR', milestones=[1, 2], convert_to_iter_based=True)])
@pytest.mark.parametrize('accumulation', [2, 4])
def test_a_schedule_counts_optimizer_steps(tmp_path, schedule, accumulation):
    plain = train(tmp_path / 'plain', schedule).rates
    assert len(plain) == 9 and len(set(plain)) > 2
    assert train(tmp_path / 'accumulated', schedule, accumulation).rates == plain
    if schedule in (COSINE, RELEASED):
        assert plain == pytest.approx([(1 + cos(pi * n / 9)) / 20 for n in range(9)])


def test_epochs_need_not_be_whole_steps(tmp_path):
    """Of 3 epochs of 6 micro-batches with 4 in a step the last step has but 2."""
    def rates(name, schedule):
        return train(tmp_path / name, schedule, 2,
                     optim_wrapper=dict(accumulative_counts=4)).rates

    assert rates('cosine', COSINE) == pytest.approx(
        [(1 + cos(pi * n / 5)) / 20 for n in range(5)])
    assert rates('poly', dict(type='PolyLR', power=1, by_epoch=False)) == pytest.approx(
        [(1 - n / 4) / 10 for n in range(5)])


def test_a_schedule_by_epoch_moves_by_epoch(tmp_path):
    rates = train(tmp_path, dict(type='StepLR', step_size=1, gamma=0.5),
                  accumulation=2).rates
    assert rates == [0.1] * 3 + [0.05] * 3 + [0.025] * 3


@pytest.mark.parametrize('schedule', [COSINE, RELEASED, WARM_UP, OWN])
def test_a_resumed_training_has_the_rates_of_one_that_was_not_stopped(
        tmp_path, schedule):
    whole = train(tmp_path / 'whole', schedule, 2)
    checkpoint = tmp_path / 'whole' / 'epoch_1.pth'
    resumed = train(tmp_path / 'resumed', schedule, 2, resume=checkpoint)
    assert resumed.rates == whole.rates[3:]
    assert torch.equal(resumed.model.weight, whole.model.weight)


@pytest.mark.parametrize('schedule', [COSINE, RELEASED, OWN])
@pytest.mark.parametrize('before, after', [(1, 2), (2, 1), (1, 4)])
def test_a_training_resumes_with_its_batch_divided_otherwise(
        tmp_path, schedule, before, after):
    """As on fewer or more processes, which accumulate accordingly."""
    whole = train(tmp_path / 'whole', schedule, before)
    resumed = train(tmp_path / 'resumed', schedule, after,
                    resume=tmp_path / 'whole' / 'epoch_1.pth')
    assert resumed.rates == whole.rates[3:]
    assert resumed.model.weight.item() == pytest.approx(whole.model.weight.item())
    assert resumed.iter == resumed.max_iters == 9 * after


def test_what_the_config_of_a_resumed_training_asks_for_acts(tmp_path):
    train(tmp_path / 'short')
    checkpoint = tmp_path / 'short' / 'epoch_2.pth'
    longer = {'param_scheduler.T_max': 6, 'train_cfg.max_epochs': 6,
              'optim_wrapper.optimizer.weight_decay': 0.1,
              'optim_wrapper.optimizer.lr': 0.2}
    resumed = train(tmp_path / 'long', resume=checkpoint, **longer)
    whole = train(tmp_path / 'whole', **longer)
    assert len(resumed.rates) == 12
    assert (resumed.rates, resumed.decays) == (whole.rates[6:], whole.decays[6:])
    log = (tmp_path / 'long' / resumed.timestamp / f'{resumed.timestamp}.log').read_text()
    assert 'T_max 9 → 18' in log and 'lr 0.1 → 0.2' in log and 'step 6 on' in log
    assert 'weight_decay 0.0 → 0.1' in log


def test_another_schedule_acts_after_a_resume(tmp_path):
    train(tmp_path / 'cosine')
    checkpoint = tmp_path / 'cosine' / 'epoch_2.pth'
    steps = dict(type='StepLR', step_size=1, gamma=0.5)
    assert train(tmp_path / 'steps', steps, resume=checkpoint).rates == [0.025] * 3
    assert train(tmp_path / 'none', schedule=None, resume=checkpoint).rates == [0.1] * 3


def test_a_schedule_that_follows_a_metric_cannot_be_changed(tmp_path):
    schedule = dict(type='ReduceOnPlateauLR', monitor='loss', factor=0.5)
    train(tmp_path / 'first', schedule)
    checkpoint = tmp_path / 'first' / 'epoch_2.pth'
    train(tmp_path / 'second', schedule, resume=checkpoint)
    with pytest.raises(UserError, match='other factor 0.5 → 0.1'):
        train(tmp_path / 'third', dict(schedule, factor=0.1), resume=checkpoint)


def test_the_seed_of_the_config_acts_after_a_resume(tmp_path):
    train(tmp_path / 'first')
    resumed = train(tmp_path / 'second', resume=tmp_path / 'first' / 'epoch_2.pth',
                    randomness=dict(seed=5))
    assert resumed.seed == 5


def test_a_checkpoint_is_not_executed(tmp_path):
    train(tmp_path / 'first')
    path = tmp_path / 'first' / 'epoch_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['config'] = f'open({str(tmp_path / "trace")!r}, "w").close()'
    torch.save(checkpoint, path)
    train(tmp_path / 'second', resume=path)
    assert not (tmp_path / 'trace').exists()


def test_the_state_of_other_parameters_is_refused(tmp_path):
    train(tmp_path / 'first')
    path = tmp_path / 'first' / 'epoch_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['optimizer']['param_groups'][0]['params'] = [0, 1]
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match='other parameters than this config trains'):
        train(tmp_path / 'second', resume=path)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('accumulation', [1, 2])
def test_a_loss_that_is_not_finite_ends_a_training(tmp_path, value, accumulation):
    with pytest.raises(UserError, match=f'loss is {value} in iteration 2 of epoch 2'):
        train(tmp_path, accumulation=accumulation, model=dict(
            sick_from=CLIPS // BATCH * accumulation + 2, value=value))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """The loss before the last step of an epoch is finite, the weights behind it are
    not."""
    runner = Runner.from_cfg(make_config(tmp_path))

    class Spoil(Hook):
        priority = 'HIGHEST'

        def after_train_epoch(self, runner):
            if runner.epoch == 1:
                runner.model.weight.data.fill_(float('inf'))

    runner.register_hook(Spoil())
    with pytest.raises(UserError, match='weight holds values that are not finite'):
        runner.train()
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


def test_weights_that_are_not_finite_are_not_saved_between_epochs_either(tmp_path):
    config = make_config(tmp_path, default_hooks=dict(checkpoint=dict(
        interval=2, by_epoch=False)))
    runner = Runner.from_cfg(config)

    class Spoil(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 3:
                runner.model.weight.data.fill_(float('nan'))

    runner.register_hook(Spoil())
    with pytest.raises(UserError, match='weight holds values that are not finite'):
        runner.train()
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_2.pth']
