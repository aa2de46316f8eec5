"""What a model attends to: its forward pass once more, by the plain attention.

The pass is the model's own, layer by layer, but for its attention, which is computed by
:class:`layers.PlainAttention` and keeps its weights. What can be made of them is said in
:mod:`vita_mm.analysis.rollout`.

Letters: B clips, T frames, N tokens of a frame (CLS first), P prompts, D width.
"""
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from .layers import PlainAttention, blocks
from .temporal import TemporalTransformer
from .vision import CLIPVisionTransformer, prompted_layer


@dataclass
class LayerAttention:
    """What the tokens of a layer attend to, the mean over its heads.

    Attributes:
        tokens: the tokens of the own frame, (B, T, N, N).
        prompts: the prompts of each kind, (B, T, N, P).
        made_of: the shares of the frames' CLS tokens in the prompts of each kind, (B, T,
            P, T), but for those that are made of nothing in the video.
    """
    tokens: Tensor
    prompts: dict[str, Tensor]
    made_of: dict[str, Tensor]

    def folded(self) -> Tensor:
        """The share of each token of the clip in each other, (B, T, N, T, N), where
        prompts are led back to what they are made of."""
        clips, frames, count, _ = self.tokens.shape
        own = torch.eye(frames, dtype=self.tokens.dtype, device=self.tokens.device)
        folded = torch.einsum('btnm,ts->btnsm', self.tokens, own)
        for kind, made_of in self.made_of.items():
            folded[..., 0] += self.prompts[kind] @ made_of
        return folded / folded.sum(dim=(-2, -1), keepdim=True)

    def cls_shares(self) -> dict[str, Tensor]:
        """The parts of a CLS token's attention, (B,), in the mean over the frames."""
        parts = {'patches': self.tokens[:, :, 0, 1:], 'CLS': self.tokens[:, :, 0, :1],
                 **{kind: given[:, :, 0] for kind, given in self.prompts.items()}}
        return {name: part.sum(-1).mean(1) for name, part in parts.items()}


@dataclass
class Trace:
    """A forward pass.

    Attributes:
        features: as the backbone gives them.
        layers: of CLIP's vision tower, from the first.
        read: what the features take of the tokens behind each of these layers, (B, T,
            N), in shares of all that they take; None behind a layer that is not read.
            Where a model looks at a clip in windows, B counts windows and T their
            frames, here and in ``layers``.
    """
    features: Tensor
    layers: list[LayerAttention]
    read: list[Tensor | None]


@torch.no_grad()
def trace_frames(backbone: CLIPVisionTransformer, video: Tensor) -> Trace:
    """Of a backbone that reads the CLS token of each frame behind the last layer: their
    mean, or what its temporal transformer makes of them.

    Args:
        video: normalised frames, (B, 3, T, H, W).
    """
    x_BTND = backbone.embed(video)
    clips, frames, *sizes = x_BTND.shape
    windows: Any = getattr(backbone, 'windows', None)
    if windows is not None:
        x_BTND = windows(x_BTND)
    layers = []
    for number, block in enumerate(blocks(backbone.tower.module.transformer)):
        x_BTND, layer = trace_layer(
            block, x_BTND, backbone.prompts[number] if backbone.prompts else None)
        layers.append(layer)
    whole_BTND = x_BTND.reshape(clips, frames, *sizes)
    shares_BT = x_BTND.new_full((clips, frames), 1 / frames)
    if backbone.temporal is not None:
        shares_BT = temporal_shares(backbone.temporal, backbone.project(whole_BTND))
    read = torch.zeros_like(x_BTND[..., 0])
    read[:, :, 0] = shares_BT.reshape(x_BTND.shape[:2])
    return Trace(backbone.gather(whole_BTND), layers, [None] * (len(layers) - 1) + [read])


def trace_layer(block: ResidualAttentionBlock, x_BTND: Tensor, maker: Any
                ) -> tuple[Tensor, LayerAttention]:
    """One layer with the prompts of a maker, and its attention.

    A maker that does not say what its prompts are made of (``made_of``, as in
    :class:`LayerPrompts`) is taken to make them of nothing in the video.
    """
    cls_BTD = x_BTND[:, :, 0]
    prompts = maker(cls_BTD) if maker else {}
    made_of = maker.made_of(cls_BTD) if hasattr(maker, 'made_of') else {}
    attention = PlainAttention()
    out_BTND = prompted_layer(block, x_BTND, list(prompts.values()), attention=attention)
    counts = {kind: given.shape[2] for kind, given in prompts.items()}
    return out_BTND, layer_attention(attention, x_BTND, counts, made_of)


def layer_attention(attention: PlainAttention, x_BTND: Tensor,
                    prompts: dict[str, int], made_of: dict[str, Tensor]
                    ) -> LayerAttention:
    """Of the weights of a layer whose keys are a frame's tokens, then its prompts.

    Args:
        x_BTND: the tokens of the layer.
        prompts: how many there are of each kind.
        made_of: see :class:`LayerAttention`.
    """
    clips, frames, count, _ = x_BTND.shape
    weights = attention.weights.mean(dim=1).unflatten(0, (clips, frames))
    tokens, *given = weights.split([count, *prompts.values()], dim=-1)
    return LayerAttention(tokens, dict(zip(prompts, given)), made_of)


def temporal_shares(temporal: TemporalTransformer, frames_BTD: Tensor) -> Tensor:
    """The shares of the frames in what a temporal transformer gives, (B, T).

    By rollout: half of what a layer puts out is its input, half what it attends to; half
    of the whole is what came in, where it adds that. Its positions are of no video.
    """
    x_BTD = frames_BTD + temporal.positions[:frames_BTD.shape[1]]
    weights = []
    layer: Any
    for layer in temporal.layers:
        normed = layer.ln_1(x_BTD)
        weights.append(layer.attn(normed, normed, normed)[1])
        x_BTD = layer(x_BTD)
    mean_BT = torch.full_like(frames_BTD[..., 0], 1 / frames_BTD.shape[1])
    shares_BT = mean_BT
    for weights_BTT in reversed(weights):
        attended = torch.einsum('bt,bts->bs', shares_BT, weights_BTT)
        shares_BT = (shares_BT + attended) / 2
    return (shares_BT + mean_BT) / 2 if temporal.residual else shares_BT
