"""The counts of costs.py.

Models are those of the configs, with random weights, on torch's meta device: nothing is
computed, so that it takes a minute or two anywhere. Counted are

- parameters: all, frozen CLIP included, and those that are trained;
- multiply-adds (MAC) of the matrix products, by torch's FLOP counter: for a view
  (vision, with what its classes see of it, without the cosines) and for the text of the
  400 classes of Kinetics-400, once for each set of weights. `every token` is the view
  with all tokens of the last layer, as other code computes it where CLS alone is used;
- memory: the most bytes of tensors alive at once in a forward and backward pass in
  float32, of one clip and of the text, without weights and their gradients;
- checkpoint: bytes of what is saved.
"""
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import vita_mm  # noqa: F401  registers the models
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from vita_mm.harness.spec.published import read_published
from vita_mm.models import (
    ActionCLIPTextHead,
    CLIPRecognizer,
    CLIPVisionTransformer,
    EVLHead,
    VitaCLIPVisionTransformer,
    XCLIPTextHead,
)
from vita_mm.models.common.packed_text import PackedPrompts

ROOT = Path(__file__).resolve().parent.parent
GIGA, MEGA, MIB = 10**9, 10**6, 2**20


@dataclass(frozen=True)
class System:
    """A row.

    Attributes:
        label: its name.
        config: under ``configs/``.
        frames: of a view.
        options: changes of the model, dotted.
        figures: published, as (table, row, metric).
        reason: why they are not what is counted here.
    """
    label: str
    config: str
    frames: int = 8
    options: tuple = ()
    figures: tuple = ()
    reason: str = ''


UNEXPLAINED = 'less than 1 % apart, unexplained'
NO_ATTENTION = ('the paper leaves out attention and adds one class of text: FFN, '
                'patches and that are {:.1f}')
SIXTEEN = (('backbone.num_frames', 16), )
SYSTEMS = (
    System('frozen CLIP', 'frozen_clip/k400.py'),
    System('Vita-CLIP, 8 frames', 'vita_k400.py', figures=(
        ('table1', 'vita_8f_1x1', 'gflops'), ('table5', 'vita', 'parameters')),
        reason=NO_ATTENTION + '; its 38.88 M go with Mc = 16'),
    System('Vita-CLIP, 8 frames, Mc = 16', 'vita_k400.py',
           options=(('cls_head.num_context', 16), ),
           figures=(('table5', 'vita', 'parameters'), )),
    System('Vita-CLIP, 16 frames', 'vita_k400.py', 16, SIXTEEN, figures=(
        ('table1', 'vita_16f_4x3', 'gflops'), ), reason=NO_ATTENTION),
    System('X-CLIP, 8 frames', 'xclip/k400.py', figures=(
        ('table1', 'xclip_b16_8f_1x1', 'gflops'),
        ('table5', 'xclip_supervised', 'parameters')), reason=UNEXPLAINED),
    System('X-CLIP, 16 frames', 'xclip/k400.py', 16, SIXTEEN, figures=(
        ('table1', 'xclip_b16_16f_4x3', 'gflops'), ), reason=UNEXPLAINED),
    System('X-CLIP, 32 frames', 'xclip/k400_32f.py', 32, figures=(
        ('table5', 'xclip_zero_shot', 'parameters'), )),
    System('ActionCLIP, 32 frames', 'actionclip/k400.py', 32, figures=(
        ('table1', 'actionclip_b16', 'gflops'), ),
        reason='with every token of the last layer it is the same'),
    System('A6 (Ju et al.), 16 frames', 'efficient_prompt/a5.py', 16,
           (('backbone.temporal.num_layers', 2), )),
    System('EVL, 8 frames', 'evl/k400.py', figures=(
        ('table1', 'evl_b16', 'gflops'), ),
        reason='published for 3 views: {third:.0f} each; what is left is unexplained'),
    System('ViFi-CLIP, 16 frames', 'vifi_clip/k400.py', 16))


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


def build(system: System) -> CLIPRecognizer:
    """The system with random weights, on the meta device."""
    init_default_scope('mmaction')
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # random weights are meant
    config = Config.fromfile(ROOT / 'configs' / system.config)
    config.merge_from_dict({f'model.{key}': value for key, value in system.options})
    config.model.clip.pretrained = None
    config.model.backbone.pop('checkpointing', None)
    return MODELS.build(config.model).to('meta')


def count(system: System) -> Costs:
    model = build(system)
    backbone, head = model.backbone, model.cls_head
    size = head.clip.model.visual.image_size
    video = torch.empty(1, 3, system.frames, *size, device='meta')
    text = head.encode().detach() if has_text(head) else None

    def view() -> torch.Tensor:
        features = backbone(video)
        if isinstance(head, XCLIPTextHead):
            return head.video_prompts(text[None], features[:, 1:])
        return features if has_text(head) else head(features)

    towers = [part.tower for part in (backbone, head) if hasattr(part, 'tower')]
    weights = {id(weight): weight for part in (
        model, *(tower.module for tower in towers)) for weight in part.parameters()}
    trained = [weight for weight in weights.values() if weight.requires_grad]
    for weight in trained:
        weight.register_post_accumulate_grad_hook(forget_gradient)
    encode = text_of_step(head)
    return Costs(
        total=sum(weight.numel() for weight in weights.values()),
        trained=sum(weight.numel() for weight in trained),
        view=multiply_adds(view),
        every_token=multiply_adds(view) + skipped(model, video),
        text=multiply_adds(head.encode) if has_text(head) else 0,
        clip_memory=peak(view, weights.values()),
        text_memory=peak(encode, weights.values()) if encode else 0,
        checkpoint=sum(tensor.nbytes for tensor in model.state_dict().values()))


def has_text(head: nn.Module) -> bool:
    return not isinstance(head, EVLHead)


def text_of_step(head: nn.Module) -> Callable[[], torch.Tensor] | None:
    """What encodes the text of a training step, if training changes the text.

    ActionCLIP encodes the prompts of its batch: here one.
    """
    if not has_text(head) or not head.learns:
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


def skipped(model: CLIPRecognizer, video: torch.Tensor) -> int:
    """MACs of the last layer for all tokens, less those for the CLS tokens alone, where
    no more is computed."""
    backbone = model.backbone
    if type(backbone) not in (CLIPVisionTransformer, VitaCLIPVisionTransformer):
        return 0
    tokens = backbone.embed(video)
    block = backbone.tower.module.transformer.resblocks[-1]
    made = list(backbone.prompts[-1](tokens[:, :, 0])) if backbone.prompts else []
    cls, every = (
        multiply_adds(lambda: backbone.layer(block, tokens, made, outputs=wanted))
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


def report(rows: list[tuple[System, Costs]]) -> str:
    """The table, in Markdown."""
    published = read_published()
    lines = ['# Costs', '', '| system | parameters (M) | trained (M) | published '
             '| view (GMAC) | every token | published | text (GMAC) '
             '| memory, a clip (MiB) | memory, text (MiB) | checkpoint (MB) |',
             '|---' + '|---:' * 10 + '|']
    reasons = []
    for system, costs in rows:
        figures = {key[-1]: published[key].value for key in system.figures}
        lines.append('| ' + ' | '.join((
            system.label, f'{costs.total / MEGA:.2f}', f'{costs.trained / MEGA:.2f}',
            f'{figures["parameters"]:g}' if 'parameters' in figures else '',
            f'{costs.view / GIGA:.1f}', f'{costs.every_token / GIGA:.1f}',
            f'{figures["gflops"]:g}' if 'gflops' in figures else '',
            f'{costs.text / GIGA:.1f}', f'{costs.clip_memory / MIB:.0f}',
            f'{costs.text_memory / MIB:.0f}', f'{costs.checkpoint / MEGA:.1f}')) + ' |')
        if system.reason:
            reasons.append(f'- {system.label}: ' + system.reason.format(
                without_attention(system.frames) / GIGA,
                third=figures.get('gflops', 0) / 3) + '.')
    notes = __doc__.split('\n')[2:]
    return '\n'.join([*lines, '', 'Published figures are the paper\'s (its GFLOPs are '
                      'multiply-adds); where they differ:', '', *reasons, '',
                      'Made by `python benchmarks/costs.py`.', '', *notes])
