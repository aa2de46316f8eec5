"""Rates, weight decay and twenty steps of training of every system, against what its
authors' code does, written out.

Read in microsoft/VideoX, folder X-CLIP, 1744b21 (utils/optimizer.py, main.py,
datasets/blending.py) and timm's CosineLRScheduler; muzairkhattak/ViFi-CLIP e2d1948 (the
same files); sallymmx/ActionCLIP 31c34df (utils/solver.py, utils/lr_scheduler.py,
train.py); OpenGVLab/efficient-video-recognition b282e8b (main.py); ju-chen/
Efficient-Prompt 1f69a18 (src/main.py, src/train.py); TalalWasim/Vita-CLIP c858299
(training/train.py).
"""
import copy
from math import cos, pi

import numpy as np
import pytest
import torch
from conftest import CLASSES, scatter
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, HOOKS, PARAM_SCHEDULERS
from mmengine.runner import Runner
from torch.nn import functional as F
from torch.utils.data import Dataset
from vita_mm.engine.runs import check_rates, load_config
from vita_mm.engine.schedule import EpochInSteps
from vita_mm.errors import UserError
from vita_mm.models.actionclip.checkpoints import FORMAT as ACTIONCLIP
from vita_mm.models.common.packed_text import PackedPrompts
from vita_mm.models.xclip.checkpoints import FORMAT as XCLIP
from wings import ARCH
from world import ROOT

CONFIGS = dict(
    xclip='xclip/k400', xclip_32f='xclip/k400_32f', vifi_clip='vifi_clip/k400',
    vifi_clip_32f='vifi_clip/k400_32f', actionclip='actionclip/k400', evl='evl/k400',
    a5='efficient_prompt/a5', b2='efficient_prompt/b2_ssv2',
    released='released/vita_k400')


def read(name):
    return load_config(ROOT / 'configs' / f'{CONFIGS[name]}.py')


# The rate of each optimizer step, as the authors' loops set it.


def timm_rates(rate, lowest, epochs, warmup, batches, accumulation):
    """X-CLIP, ViFi-CLIP: set after a step, by the number of the batch just read."""
    rates, now = [], 0.
    for epoch in range(epochs):
        for batch in range(batches):
            if (batch + 1) % accumulation:
                continue
            rates.append(now)
            update, length = epoch * batches + batch, epochs * batches
            if update < warmup * batches:
                now = rate * update / (warmup * batches)
            else:
                now = lowest + (rate - lowest) * (1 + cos(pi * update / length)) / 2
    return rates


def actionclip_rates(rate, epochs, warmup, batches, every):
    """Set before the first step of an epoch, and before each that is a multiple."""
    rates, now = [], None
    for epoch in range(epochs):
        for batch in range(batches):
            if batch == 0 or (batch + 1) % every == 0:
                at = epoch + batch / batches
                passed = (at - warmup) / (epochs - warmup)
                now = rate * (at / warmup if at < warmup else (1 + cos(pi * passed)) / 2)
            rates.append(now)
    return rates


def evl_rate(step, rate, length):
    """EVL, Vita-CLIP: torch's CosineAnnealingLR, moved with each step."""
    return rate * (1 + cos(pi * step / length)) / 2


def a5_rate(step, rate, length):
    """Set after a step by the number of that step; down to a hundredth."""
    return rate * (.01 + .99 * (1 + cos(pi * max(0, step - 1) / length)) / 2)


def our_schedule(config, batches, optimizer):
    """The schedulers of a config, built as the runner's hook does."""
    accumulation = config.optim_wrapper.get('accumulative_counts', 1)
    epoch = EpochInSteps(batches, accumulation)
    return [PARAM_SCHEDULERS.build(
        {'end': config.train_cfg.max_epochs if each.get('by_epoch', True) else 10**8,
         **each}, default_args=dict(optimizer=optimizer, epoch_length=epoch))
        for each in config.param_scheduler]


def two_groups(rate):
    """An optimizer of a group with the rate of CLIP's weights and of one with 10 times
    that."""
    return torch.optim.SGD([
        dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=times * rate)
        for times in (1, 10)], lr=rate)


def our_rates(config, batches):
    optimizer = two_groups(config.optim_wrapper.optimizer.lr)
    schedules, rates = our_schedule(config, batches, optimizer), []
    steps = config.train_cfg.max_epochs * batches // config.optim_wrapper.get(
        'accumulative_counts', 1)
    for _ in range(steps):
        rates.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        for each in schedules:
            each.step()
    return rates


@pytest.mark.parametrize('name, rate, epochs, accumulation, size', [
    ('xclip', 8e-6, 30, 4, 8), ('xclip_32f', 8e-6, 10, 8, 4),
    ('vifi_clip', 2.2e-5, 30, 16, 4), ('vifi_clip_32f', 8e-6, 10, 8, 4)])
def test_rates_of_x_clip_and_vifi_clip(name, rate, epochs, accumulation, size):
    config, batches = read(name), 8 * accumulation
    assert config.train_dataloader.batch_size == size
    assert config.train_cfg.max_epochs == epochs
    assert config.optim_wrapper.accumulative_counts == accumulation
    given = our_rates(config, batches)
    assert len(given) == 8 * epochs
    for group, times in enumerate((1, 10)):
        assert [rates[group] for rates in given] == pytest.approx(timm_rates(
            times * rate, rate / 100, epochs, 5, batches, accumulation), rel=1e-12)
    if name == 'xclip':  # 10 of 30 epochs are passed; the last step
        assert given[80][0] == pytest.approx(6.02e-6, rel=2e-3)
        assert given[-1] == pytest.approx([8e-8, 8e-8], rel=0.1)


def test_rates_of_actionclip():
    config = read('actionclip')
    given = our_rates(config, batches=23)
    for group, times in enumerate((1, 10)):
        assert [rates[group] for rates in given] == pytest.approx(
            actionclip_rates(times * 5e-6, 50, 5, 23, 10), rel=1e-12)
    assert [rates[0] for rates in given[:9]] == [0.] * 9 and given[9][0] > 0


@pytest.mark.parametrize('name, rate, steps, rate_of, length, videos', [
    ('evl', 4e-4, 50000, evl_rate, 50000, 240000),
    ('a5', 1e-3, 100000, a5_rate, 200000, 240000),
    ('b2', 1e-3, 100000, a5_rate, 200000, 168913)])
def test_rates_of_schedules_of_so_many_steps(name, rate, steps, rate_of, length, videos):
    config = read(name)
    assert config.optim_wrapper.optimizer.lr == rate
    # They end in the last epoch.
    batches = videos // config.auto_scale_lr.base_batch_size
    assert steps / batches <= config.train_cfg.max_epochs < steps / batches + 1
    assert config.train_dataloader.batch_size * 8 == config.auto_scale_lr.base_batch_size
    optimizer = two_groups(rate)
    schedules = our_schedule(config, 1, optimizer)
    for step in [1, *range(steps // 9, steps, steps // 9), steps - 1]:
        schedules[0].load_state_dict(dict(last_step=step - 1, _global_step=step - 1))
        schedules[0].step()
        assert optimizer.param_groups[0]['lr'] == pytest.approx(
            rate_of(step, rate, length), rel=1e-12)
    # What is left of the last epoch changes nothing.
    for each in schedules:
        each.load_state_dict(dict(_global_step=steps - 1))
        each.last_step = steps - 1 if each is schedules[0] else -1
        each.step()
    assert optimizer.param_groups[0]['lr'] == 0


# Twenty steps: CLIP, frames and epochs are small, and rates so large that a wrong one
# shows; all else is the config's.
CLIPS = 2  # a batch
SMALL = dict(
    xclip=(dict(num_frames=4), {}), vifi_clip=({}, {}), evl=(
        dict(num_frames=4, num_layers=2), {}),
    actionclip=(dict(checkpointing=False, temporal=dict(
        num_positions=77, num_layers=1, eps=1e-12)), {}),
    a5=({}, {}), released=(dict(num_frames=4, num_global=2), dict(num_context=3)))
FEW = {'optim_wrapper.accumulative_counts': 2, 'train_cfg.max_epochs': 5,
       'param_scheduler.0.T_max': 5, 'param_scheduler.0.warmup': 1,
       'param_scheduler.0.lag': 1 / 2}
SHORT = dict(
    xclip=FEW, vifi_clip=FEW,
    actionclip={'train_cfg.max_epochs': 4, 'param_scheduler.0.T_max': 4,
                'param_scheduler.0.warmup': 1, 'param_scheduler.0.hold': 2},
    evl={'train_cfg.max_epochs': 2, 'param_scheduler.0.T_max': 20},
    a5={'train_cfg.max_epochs': 2, 'param_scheduler.0.T_max': 30,
        'param_scheduler.0.end': 18, 'param_scheduler.1.begin': 18},
    released={'train_cfg.max_epochs': 2, 'param_scheduler.0.T_max': 20,
              'param_scheduler.0.end': 20})
RATE = dict(xclip=1e-3, vifi_clip=1e-3, actionclip=1e-3, evl=1e-2, a5=1e-2, released=1e-2)
STEPS = dict(
    xclip=[timm_rates(times * 1e-3, 1e-5, 5, 1, 8, 2) for times in (1, 10)],
    vifi_clip=[timm_rates(1e-3, 1e-5, 5, 1, 8, 2)],
    actionclip=[actionclip_rates(times * 1e-3, 4, 1, 5, 2) for times in (1, 10)],
    evl=[[evl_rate(step, 1e-2, 20) for step in range(20)]],
    a5=[[a5_rate(step, 1e-2, 30) for step in range(18)] + [0., 0.]],
    released=[[evl_rate(step, 1e-2, 20) for step in range(20)]])


@DATASETS.register_module()
class RandomClips(Dataset):
    """Clips of noise, whose labels are in turn."""

    def __init__(self, frames, count):
        generator = torch.Generator().manual_seed(6)
        self.clips = torch.randint(256, (count, 1, 3, frames, 16, 16),
                                   generator=generator, dtype=torch.uint8)

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        sample = ActionDataSample().set_gt_label(index * 2 % len(CLASSES))
        return dict(inputs=self.clips[index], data_samples=sample)


@HOOKS.register_module()
class LossesHook(Hook):
    """Seeds each batch and notes its loss."""

    def before_run(self, runner):
        runner.losses = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        seed(runner.iter)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.losses.append(outputs['loss'].item())


def seed(batch):
    torch.manual_seed(batch)
    np.random.seed(batch)


@pytest.fixture
def small(tiny_weights, tmp_path):
    """Function: the config of a system for twenty steps on a tiny CLIP."""

    def small(name):
        config = read(name)
        config.model.clip = dict(arch=ARCH, pretrained=tiny_weights(ARCH))
        backbone, head = SMALL[name]
        config.model.backbone.update(backbone)
        config.model.cls_head.update(head, classes=CLASSES)
        blending = config.model.data_preprocessor.get('blending', {})
        for each in blending.get('augments', ()):
            each.num_classes = len(CLASSES)
        config.merge_from_dict({**SHORT[name], 'optim_wrapper.optimizer.lr': RATE[name]})
        steps = 20 // config.train_cfg.max_epochs  # an epoch
        count = steps * config.optim_wrapper.get('accumulative_counts', 1)
        config.train_dataloader = dict(
            batch_size=CLIPS, num_workers=0, drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='RandomClips', frames=4, count=CLIPS * count))
        config.train_cfg.pop('val_interval', None)
        config.default_hooks = dict(
            config.default_hooks, logger=None, checkpoint=None, sampler_seed=None)
        config.custom_hooks = [each for each in config.custom_hooks
                               if each.type == 'TextOncePerStepHook']
        config.custom_hooks.append(dict(type='LossesHook'))
        config.merge_from_dict(dict(
            work_dir=str(tmp_path), log_level='WARNING', visualizer=None,
            experiment_name=f'twenty-{name}'))
        for key in ('val_dataloader', 'val_cfg', 'val_evaluator', 'test_dataloader',
                    'test_cfg', 'test_evaluator'):
            config[key] = None
        return config

    return small


def build(config):
    model = MODELS.build(copy.deepcopy(config.model))
    scatter(model, seed=1)
    return model.double()


def rule_of(name):
    """Function: of the name and tensor of ours, the group of its rate and its decay."""

    def xclip(key, tensor):
        name, = {each.partition('.{')[0] for each in XCLIP.their_names(key)}
        new = any(word in name for word in ('prompts', 'mit', 'message_'))
        plain = tensor.ndim == 1 or name.endswith('.bias') \
            or 'positional_embedding' in name
        return int(new), 0. if plain else .001

    def actionclip(key, tensor):
        return int(ACTIONCLIP.their_names(key)[0].startswith('fusion.')), .2

    decay = dict(vifi_clip=.001, evl=.05, a5=.01, released=.05)
    return dict(xclip=xclip, actionclip=actionclip).get(
        name, lambda key, tensor: (0, decay[name]))


@pytest.mark.parametrize('name', list(SMALL))
def test_every_tensor_has_its_rate_and_decay(small, name):
    config = small(name)
    model = build(config)
    check_rates(config.optim_wrapper, model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    names = {parameter: key for key, parameter in model.named_parameters()}
    given = {names[parameter]: (group['lr'], group['weight_decay'])
             for group in wrapper.param_groups for parameter in group['params']
             if parameter.requires_grad}
    rule = rule_of(name)
    expected = {}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            group, decay = rule(key, parameter)
            expected[key] = RATE[name] * 10. ** group, decay
    assert given == expected
    if name == 'xclip':
        assert given['backbone.temporal.layers.0.ln_1.weight'][1] == 0
        assert given['backbone.tower.module.positional_embedding'][1] == 0
        assert given['backbone.patch_proj'] == pytest.approx((1e-2, .001))


def test_flat_decay_is_checked_as_mmengines_groups_are(small):
    config = small('xclip')
    config.optim_wrapper.paramwise_cfg.custom_keys['nothing'] = dict(lr_mult=2.)
    with pytest.raises(UserError, match="no parameter has 'nothing'"):
        check_rates(config.optim_wrapper, build(config))


def soft_targets(labels, video):
    """Labels of X-CLIP's and ViFi-CLIP's training, and their clips: mixed by MixUp or
    CutMix, as often, and smoothed by 0.1."""
    off = .1 / len(CLASSES)
    target = torch.full((len(labels), len(CLASSES)), off).double()
    target[range(len(labels)), labels] = 1 - .1 + off
    if np.random.choice(2) == 0:
        share = torch.distributions.Beta(.8, .8).sample()
        order = torch.randperm(len(labels))
        video = share * video + (1 - share) * video[order]
    else:
        order = torch.randperm(len(labels))
        share = torch.distributions.Beta(1., 1.).sample()
        height, width = video.shape[-2:]
        half = [torch.tensor(int(size * (1 - share).sqrt())) // 2
                for size in (width, height)]
        x, y = torch.randint(width, (1, )), torch.randint(height, (1, ))
        left, right = (x - half[0]).clamp(0, width), (x + half[0]).clamp(0, width)
        top, bottom = (y - half[1]).clamp(0, height), (y + half[1]).clamp(0, height)
        video = video.clone()
        video[..., top:bottom, left:right] = video[order][..., top:bottom, left:right]
        share = 1 - ((right - left) * (bottom - top) / (height * width)).item()
    return video, share * target + (1 - share) * target[order]


def mixed_loss(model, video, labels):
    video, target = soft_targets(labels, video)
    scores = model(video, mode='tensor', stage='head')
    return -(target * scores.log_softmax(1)).sum(1).mean()


def plain_loss(model, video, labels):
    return F.cross_entropy(model(video, mode='tensor', stage='head'), labels)


def actionclip_loss(model, video, labels):
    """Both sides against the softmax of 10 times which labels are equal."""
    head = model.cls_head
    clips = model.extract_feat(video)[0]
    drawn = torch.randint(16, (len(labels), )).tolist()
    prompts = head.tower.module(PackedPrompts([
        head.sequences[template][label]
        for template, label in zip(drawn, labels.tolist())]))
    logits = head.logit_scale.exp() * clips @ prompts.T
    target = (10 * (labels[:, None] == labels).double()).softmax(1)
    halves = [(target * (target.log() - rows.log_softmax(1))).sum() / len(labels)
              for rows in (logits, logits.T)]
    return sum(halves) / 2


LOSS = dict(xclip=mixed_loss, vifi_clip=mixed_loss, actionclip=actionclip_loss)
BETAS = dict(xclip=(.9, .98), vifi_clip=(.9, .98), actionclip=(.9, .98))


def plain_training(name, model, config, accumulation):
    """The losses of all batches of twenty steps."""
    data = RandomClips(**{key: config.train_dataloader.dataset[key]
                          for key in ('frames', 'count')})
    mean, std = (torch.tensor(config.model.data_preprocessor[key]).float().double()
                 .view(3, 1, 1, 1) for key in ('mean', 'std'))
    rule, groups, rates = rule_of(name), [], []
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            group, decay = rule(key, parameter)
            groups.append(dict(params=[parameter], weight_decay=decay))
            rates.append(STEPS[name][group])
    optimizer = torch.optim.AdamW(groups, lr=0., eps=1e-8,
                                  betas=BETAS.get(name, (.9, .999)))
    model.train()
    losses = []
    for step in range(20):
        for group, rate in zip(optimizer.param_groups, rates):
            group['lr'] = rate[step]
        optimizer.zero_grad()
        for _ in range(accumulation):
            batch = len(losses)
            seed(batch)
            first = batch * CLIPS % len(data)
            rows = [data[index] for index in range(first, first + CLIPS)]
            video = torch.stack([(row['inputs'] - mean) / std for row in rows])
            labels = torch.cat([row['data_samples'].gt_label for row in rows])
            loss = LOSS.get(name, plain_loss)(model, video, labels)
            (loss / accumulation).backward()
            losses.append(loss.item())
        optimizer.step()
    return losses


@pytest.mark.parametrize('name', list(SMALL))
def test_twenty_steps_are_those_of_a_plain_loop(small, name):
    config = small(name)
    accumulation = config.optim_wrapper.get('accumulative_counts', 1)
    expected = plain_training(name, build(config), config, accumulation)
    runner = Runner.from_cfg(config)
    scatter(runner.model, seed=1)
    runner.model.double()
    runner.train()
    assert len(runner.losses) == len(expected) == 20 * accumulation
    # The training gets somewhere, so that a wrong rate or decay would show.
    assert max(expected) - min(expected) > 0.05
    # In float64, but for the shares of clips that are mixed.
    assert runner.losses == pytest.approx(expected, abs=1e-7)
