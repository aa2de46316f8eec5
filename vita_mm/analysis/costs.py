"""What systems cost: weights, multiply-adds, memory, checkpoints, all by one method."""
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmaction.models.recognizers.base import BaseRecognizer
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from vita_mm.engine.runs import load_config
from vita_mm.errors import UserError
from vita_mm.harness.spec.published import read_published
from vita_mm.io.files import locate
from vita_mm.models import (
    ActionCLIPTextHead,
    CLIPRecognizer,
    CLIPTextHead,
    CLIPVisionTransformer,
    VitaCLIPVisionTransformer,
    XCLIPTextHead,
)
from vita_mm.models.common.clip import Frozen
from vita_mm.models.common.description import evaluation_pipeline
from vita_mm.models.common.packed_text import PackedPrompts

# Below the table.
NOTES = """
Models are those of the configs, with random weights, on torch's meta device: nothing is
computed, so that it takes a minute or two anywhere. Counted are

- parameters: all, frozen CLIP included, and those that are trained; of ViFi-CLIP that is
  all but the token embedding (49408 x 512, 25.30 M), for its authors' code embeds the
  prompts of the classes once and keeps them;
- multiply-adds (MAC) of the matrix products, by torch's FLOP counter: for a view
  (vision, with what its classes see of it, without the cosines) and for the text of the
  400 classes of Kinetics-400, once for each set of weights. `every token` is the view
  with all tokens of the last layer, as other code computes it where CLS alone is used;
- memory: the most bytes of tensors alive at once in a forward and backward pass in
  float32, of one clip and of the text, without weights and their gradients;
- checkpoint: bytes of what is saved.
"""
GIGA, MEGA, MIB = 10**9, 10**6, 2**20


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        label: its name.
        config: a config file.
        frames: of a view; by default those of its evaluation.
        options: changes of the model, dotted.
        figures: published, as (table, row, metric).
        reason: why they are not what is counted here.
    """
    label: str
    config: str
    frames: int | None = 8
    options: tuple = ()
    figures: tuple = ()
    reason: str = ''


UNEXPLAINED = 'less than 1 % apart, unexplained'
NO_ATTENTION = ('the paper leaves out attention and adds one class of text: FFN, '
                'patches and that are {:.1f}')
SIXTEEN = (('backbone.num_frames', 16), )
ROWS = (
    Row('frozen CLIP', 'configs/frozen_clip/k400.py'),
    Row('Vita-CLIP, 8 frames', 'configs/vita_k400.py', figures=(
        ('table1', 'vita_8f_1x1', 'gflops'), ('table5', 'vita', 'parameters')),
        reason=NO_ATTENTION + '; its 38.88 M go with Mc = 16'),
    Row('Vita-CLIP, 8 frames, Mc = 16', 'configs/vita_k400.py',
           options=(('cls_head.num_context', 16), ),
           figures=(('table5', 'vita', 'parameters'), )),
    Row('Vita-CLIP, 16 frames', 'configs/vita_k400.py', 16, SIXTEEN, figures=(
        ('table1', 'vita_16f_4x3', 'gflops'), ), reason=NO_ATTENTION),
    Row('X-CLIP, 8 frames', 'configs/xclip/k400.py', figures=(
        ('table1', 'xclip_b16_8f_1x1', 'gflops'),
        ('table5', 'xclip_supervised', 'parameters')), reason=UNEXPLAINED),
    Row('X-CLIP, 16 frames', 'configs/xclip/k400.py', 16, SIXTEEN, figures=(
        ('table1', 'xclip_b16_16f_4x3', 'gflops'), ), reason=UNEXPLAINED),
    Row('X-CLIP, 32 frames', 'configs/xclip/k400_32f.py', 32, figures=(
        ('table5', 'xclip_zero_shot', 'parameters'), )),
    Row('ActionCLIP, 32 frames', 'configs/actionclip/k400.py', 32, figures=(
        ('table1', 'actionclip_b16', 'gflops'), ),
        reason='with every token of the last layer it is the same'),
    Row('A6 (Ju et al.), 16 frames', 'configs/efficient_prompt/a5.py', 16,
        (('backbone.temporal.num_layers', 2), )),
    Row('EVL, 8 frames', 'configs/evl/k400.py', figures=(
        ('table1', 'evl_b16', 'gflops'), ),
        reason='published for 3 views: {third:.0f} each; what is left is unexplained'),
    Row('ViFi-CLIP, 16 frames', 'configs/vifi_clip/k400.py', 16))


@dataclass(frozen=True)
class Costs:
    """Of a system: numbers of parameters, MACs and bytes."""
    total: int
    trained: int
    view: int
    every_token: int
    text: int
    clip_memory: int
    text_memory: int
    checkpoint: int


def row_of(config: str) -> Row:
    """The row of a config that is in no published table."""
    return Row(config, config, frames=None)


def build(config: Config, options: tuple = ()) -> BaseRecognizer:
    """The model of a config with random weights, on the meta device.

    Raises:
        UserError: if it does not build.
    """
    init_default_scope('mmaction')
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # random weights are meant
    config.merge_from_dict({f'model.{key}': value for key, value in options})
    if 'clip' in config.model:
        config.model.clip.pretrained = None
    config.model.backbone.pop('checkpointing', None)
    try:
        return MODELS.build(config.model).to('meta')
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'the model of {config.filename} does not build: {error}'
                        ) from error


def count(row: Row) -> Costs:
    """The costs of a row's model.

    Raises:
        UserError: if its config cannot be read, or its model not be built.
    """
    config = load_config(locate(row.config))
    model: Any = build(config, row.options)
    view, text, encode = parts(model, config, row.frames)
    held = [part.module for part in model.modules() if isinstance(part, Frozen)]
    weights = {id(weight): weight for part in (model, *held)
               for weight in part.parameters()}
    trained = [weight for weight in weights.values() if weight.requires_grad]
    for weight in trained:
        weight.register_post_accumulate_grad_hook(forget_gradient)
    macs = multiply_adds(view)
    return Costs(
        total=sum(weight.numel() for weight in weights.values()),
        trained=sum(weight.numel() for weight in trained),
        view=macs,
        every_token=macs + skipped(model, frames_of(config, row.frames)),
        text=multiply_adds(text) if text else 0,
        clip_memory=peak(view, weights.values()),
        text_memory=peak(encode, weights.values()) if encode else 0,
        checkpoint=sum(tensor.nbytes for tensor in model.state_dict().values()))


def parts(model: Any, config: Config, frames: int | None
          ) -> tuple[Callable, Callable | None, Callable | None]:
    """What computes a view, what the text of all classes, and what the text of a step of
    training; None where there is no text, or where training does not change it."""
    if not isinstance(model, CLIPRecognizer):
        inputs = inputs_of(config)
        return lambda: model(inputs, mode='tensor', stage='head'), None, None
    backbone, head = model.backbone, model.cls_head
    size = backbone.tower.module.image_size
    video = torch.empty(1, 3, frames_of(config, frames), *size, device='meta')
    if not isinstance(head, CLIPTextHead):
        return lambda: head(backbone(video)), None, None
    if isinstance(head, XCLIPTextHead):
        classes = head.encode().detach()

        def view() -> torch.Tensor:
            return head.video_prompts(classes[None], backbone(video)[:, 1:])
    else:
        def view() -> torch.Tensor:
            return backbone(video)
    return view, head.encode, text_of_step(head)


def frames_of(config: Config, frames: int | None = None) -> int:
    """The frames of a view, by default those of an evaluation."""
    if frames is not None:
        return frames
    for step in evaluation_pipeline(config):
        if 'clip_len' in step:
            return step['clip_len']
    raise UserError(f'the pipelines of {config.filename} do not say how many frames a '
                    'view has: no step has a clip_len')


def inputs_of(config: Config) -> torch.Tensor:
    """One view as a recognizer of MMAction2's takes it."""
    steps = {key: value for step in evaluation_pipeline(config)
             for key, value in step.items()}
    size = steps.get('crop_size') or steps.get('scale')
    if size is None:
        raise UserError(f'the pipelines of {config.filename} do not say how large a view '
                        'is: no step has a crop_size or a scale')
    height, width = (size, size) if isinstance(size, int) else size[::-1]
    frames = frames_of(config)
    if steps.get('input_format') == 'NCTHW':
        return torch.empty(1, 1, 3, frames, height, width, device='meta')
    if steps.get('input_format') == 'NCHW':  # of a video as many as it is cut into
        number = frames * steps.get('num_clips', 1)
        return torch.empty(1, number, 3, height, width, device='meta')
    raise UserError(f'costs count models of frames, but the format of {config.filename} '
                    f'is {steps.get("input_format")}')


def text_of_step(head: CLIPTextHead) -> Callable[[], torch.Tensor] | None:
    """What encodes the text of a training step, if training changes the text.

    ActionCLIP encodes the prompts of its batch: here one.
    """
    if not head.learns:
        return None
    if isinstance(head, ActionCLIPTextHead):
        prompt = PackedPrompts(head.sequences[0][:1]).to('meta')
        return lambda: head.tower.module(prompt)
    return head.encode


def forget_gradient(weight: nn.Parameter) -> None:
    weight.grad = None


def multiply_adds(call: Callable) -> int:
    """MACs of the matrix products of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


def skipped(model: Any, frames: int) -> int:
    """MACs of the last layer for all tokens, less those for the CLS tokens alone, where
    no more is computed."""
    backbone = model.backbone
    if type(backbone) not in (CLIPVisionTransformer, VitaCLIPVisionTransformer):
        return 0
    visual = backbone.tower.module
    tokens = backbone.embed(torch.empty(1, 3, frames, *visual.image_size, device='meta'))
    block = visual.transformer.resblocks[-1]
    made = (list(backbone.prompts[-1](tokens[:, :, 0]).values())
            if backbone.prompts else [])
    cls, every = (
        multiply_adds(partial(backbone.layer, block, tokens, made, outputs=wanted))
        for wanted in (1, None))
    return every - cls


class LiveMemory(TorchDispatchMode):
    """Follows the bytes of the tensors that are alive, but for ``known`` ones."""

    def __init__(self, known) -> None:
        super().__init__()
        self.seen = {tensor.untyped_storage()._cdata for tensor in known}
        self.now = self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.see(leaf.untyped_storage())
        return result

    def see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self.gone, key, size)

    def gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def peak(call: Callable, weights) -> int:
    """The most bytes of tensors alive at once in a call and back, without weights."""
    with LiveMemory(weights) as memory:
        result = call()
        if result.requires_grad:
            result.sum().backward()
    return memory.most


def without_attention(frames: int, prompts: int = 8) -> int:
    """MACs of ViT-B/16 as the paper seems to count them: FFN of all tokens and of the
    global prompts, patch embedding, and the FFN of one class of text."""
    tokens = frames * (197 + prompts)
    return (12 * tokens * 8 * 768**2 + frames * 196 * 768**2
            + 12 * 77 * 8 * 512**2)


def report(rows: list[tuple[Row, Costs]]) -> str:
    """The table, in Markdown."""
    published = read_published()
    lines = ['# Costs', '', '| system | parameters (M) | trained (M) | published '
             '| view (GMAC) | every token | published | text (GMAC) '
             '| memory, a clip (MiB) | memory, text (MiB) | checkpoint (MB) |',
             '|---' + '|---:' * 10 + '|']
    reasons = []
    for row, costs in rows:
        figures = {key[-1]: published[key].value for key in row.figures}
        lines.append('| ' + ' | '.join((
            row.label, f'{costs.total / MEGA:.2f}', f'{costs.trained / MEGA:.2f}',
            f'{figures["parameters"]:g}' if 'parameters' in figures else '',
            f'{costs.view / GIGA:.1f}', f'{costs.every_token / GIGA:.1f}',
            f'{figures["gflops"]:g}' if 'gflops' in figures else '',
            f'{costs.text / GIGA:.1f}', f'{costs.clip_memory / MIB:.0f}',
            f'{costs.text_memory / MIB:.0f}', f'{costs.checkpoint / MEGA:.1f}')) + ' |')
        if row.reason:
            reasons.append(f'- {row.label}: ' + row.reason.format(
                without_attention(row.frames or 0) / GIGA,
                third=figures.get('gflops', 0) / 3) + '.')
    if reasons:
        lines += ['', 'Published figures are the paper\'s (its GFLOPs are '
                  'multiply-adds); where they differ:', '', *reasons, '',
                  'Made by `python benchmarks/costs.py`.']
    return '\n'.join([*lines, NOTES])
