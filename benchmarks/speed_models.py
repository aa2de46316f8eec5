"""The models that speed.py compares, with the same random weights, and what they do.

Letters: B clips, V views, T frames, D' width of the joint space.
"""
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from baseline_model import Baseline, baseline_step
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from speed_released import Released, check_equal
from torch import Tensor
from vita_mm.engine.hooks import TextOncePerStepHook
from vita_mm.labels.class_names import read_classes
from vita_mm.models import VitaCLIP
from vita_mm.models.common.clip import LoadedCLIP, load_clip

CONFIG = Path(__file__).resolve().parent.parent / 'configs' / 'vita_k400.py'
CLASSES = 'kinetics400'
WRITTEN_OUT, RELEASED = 'written out', 'released code'

Call = Callable[[], object]


@dataclass(frozen=True)
class Setup:
    """What is compared.

    Attributes:
        arch: the CLIP, see :func:`vita_mm.models.common.clip.read_architecture`.
        classes: how many of Kinetics-400's.
        threads: of torch.
        released: a checkout of the released code, if it is the opponent.
    """
    arch: str
    classes: int
    threads: int
    released: Path | None = None
    device: str = 'cpu'

    @property
    def opponent(self) -> str:
        return RELEASED if self.released else WRITTEN_OUT


# At most one of each is held: together they would not leave room for what is measured.


@functools.lru_cache(1)
def build_clip(arch: str) -> LoadedCLIP:
    torch.manual_seed(0)
    # Random weights are meant: no warning.
    MMLogger.get_instance('speed').setLevel('ERROR')
    return load_clip(arch)


@functools.lru_cache(1)
def build_model(setup: Setup, context: str = 'csc', checkpointing: bool = False,
                compile: bool = False) -> VitaCLIP:
    """Ours, as the config of Kinetics-400 says."""
    init_default_scope('mmaction')
    config = Config.fromfile(CONFIG).model
    config.cls_head.update(classes=read_classes(CLASSES)[:setup.classes],
                           context=context)
    config.backbone.update(checkpointing=checkpointing, compile=compile)
    clip = build_clip(setup.arch)
    torch.manual_seed(1)
    return MODELS.build(dict(config.to_dict(), clip=clip)).to(setup.device)


@functools.lru_cache(1)
def build_opponent(setup: Setup, name: str, context: str = 'csc'
                   ) -> Baseline | Released:
    """An opponent with our weights."""
    model = build_model(setup, context)
    if name == WRITTEN_OUT:
        return Baseline(model)
    assert setup.released is not None  # see Setup.opponent
    opponent = Released(setup.released, model).to(setup.device)
    check_equal(model, opponent, normalised(model, make_batch(model, 1))[:, 0])
    return opponent


def forget() -> None:
    for build in (build_opponent, build_model, build_clip):
        build.cache_clear()


# Inputs


def make_batch(model: VitaCLIP, clips: int, views: int = 1) -> dict:
    """Random clips as they come from the data pipeline, (V, 3, T, H, W) of uint8."""
    generator = torch.Generator().manual_seed(2)
    shape = (views, 3, model.backbone.num_frames,
             *model.cls_head.clip.model.visual.image_size)
    return dict(
        inputs=[torch.randint(256, shape, dtype=torch.uint8, generator=generator)
                for _ in range(clips)],
        data_samples=[ActionDataSample().set_gt_label(
            number % model.cls_head.num_classes) for number in range(clips)])


def normalised(model: VitaCLIP, batch: dict) -> Tensor:
    """Its clips as the model takes them: (B, V, 3, T, H, W)."""
    return model.data_preprocessor(batch)['inputs']


# What is timed: each of these returns something to be called


def our_step(model: VitaCLIP, clips: int, micro_batches: int = 1,
             bfloat16: bool = False) -> Call:
    """An optimizer step as in training, on micro-batches of ``clips`` clips each."""
    settings = dict(
        Config.fromfile(CONFIG).optim_wrapper, accumulative_counts=micro_batches,
        type='AutocastOptimWrapper' if bfloat16 else 'OptimWrapper')
    optimizer = build_optim_wrapper(model, settings)
    allocate_state(optimizer.optimizer)
    optimizer.initialize_count_status(model, 0, 10**6 * micro_batches)
    runner = SimpleNamespace(model=model, optim_wrapper=optimizer)
    hook = TextOncePerStepHook()
    batch = make_batch(model, clips)
    model.train()
    hook.before_train(runner)

    def step() -> None:
        for number in range(micro_batches):
            hook.before_train_iter(runner, number)
            model.train_step(batch, optimizer)

    return step


def their_step(setup: Setup, name: str, clips: int, micro_batches: int = 1) -> Call:
    """The same by the training loop of the released code."""
    model = build_model(setup)
    opponent = build_opponent(setup, name).train()
    optimizer = torch.optim.AdamW(opponent.parameters(), lr=4e-4, weight_decay=0.05)
    allocate_state(optimizer)
    batch = make_batch(model, clips)
    video = normalised(model, batch)[:, 0].repeat(micro_batches, 1, 1, 1, 1)
    labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
    labels = labels.repeat(micro_batches).to(setup.device)
    return lambda: baseline_step(opponent, optimizer, video, labels, micro_batches)


def allocate_state(optimizer: torch.optim.Optimizer) -> None:
    """Have an optimizer allocate what it keeps from step to step."""
    for group in optimizer.param_groups:
        for weight in group['params']:
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    optimizer.step()
    optimizer.zero_grad()


def our_evaluation(model: VitaCLIP, clips: int = 1, views: int = 1,
                   bfloat16: bool = False) -> Callable[[], Tensor]:
    """Scores of a batch, as in the test loop."""
    batch = make_batch(model, clips, views)
    model.eval()
    device = model.cls_head.logit_scale.device.type

    def evaluate() -> Tensor:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            return torch.stack([sample.pred_score for sample in model.test_step(batch)])

    return evaluate


def their_evaluation(setup: Setup, name: str, views: int = 1) -> Call:
    """The scores of one clip by the evaluation loop of the released code."""
    model, opponent = build_model(setup), build_opponent(setup, name).eval()
    video = normalised(model, make_batch(model, 1, views))[0]
    return without_gradient(lambda: opponent(video).softmax(dim=-1).mean(dim=0))


def without_gradient(call: Call) -> Call:
    return torch.no_grad()(call)


def with_gradient(call: Callable[[], Tensor]) -> Call:
    """Forward, and backward of a fixed gradient."""
    def both() -> None:
        out = call()
        out.backward(torch.ones_like(out))
    return both
