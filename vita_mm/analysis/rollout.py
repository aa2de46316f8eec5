"""Attention rollout through CLIP's vision tower and its prompts (the paper's Figure 3).

Abnar & Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020: half of what a
layer puts out is its input, half what it attends to, so that in a layer the relevance R
of tokens becomes (I + A) / 2 · R, with A the mean over the heads. Prompts are keys and
values of one layer and end there. They are folded back onto the tokens they were made
of, so that A stays a matrix over the tokens of the frames:

- a summary token is made of the CLS tokens of all frames of the clip, by its own
  attention W and a residual: its share goes to them as (I + W) / 2;
- a local prompt is made of the CLS token of its frame: its share goes there;
- global prompts are made of nothing in the video: their share is dropped, and what is
  left of each row is scaled to one again.

Without prompts this is the textbook's rollout. The paper prints no equations for its
figure; this is what its method implies.

Letters: B clips, T frames, N tokens of a frame (CLS first), P prompts, D width.
"""
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vita_mm.errors import UserError
from vita_mm.models import CLIPVisionTransformer, VitaCLIPVisionTransformer
from vita_mm.models.common import layers
from vita_mm.models.vita_clip.prompts import LayerPrompts


@dataclass
class LayerAttention:
    """What the tokens of a layer attend to, the mean over its heads.

    Attributes:
        tokens: the tokens of the own frame, (B, T, N, N).
        prompts: of each kind there is, (B, T, N, P).
        summary: what the summary tokens attend to among the frames, (B, T, T), if any.
    """
    tokens: Tensor
    prompts: dict[str, Tensor]
    summary: Tensor | None

    def folded(self) -> Tensor:
        """A: the share of each token of the clip in each other, (B, T, N, T, N)."""
        clips, frames, count, _ = self.tokens.shape
        own = torch.eye(frames, dtype=self.tokens.dtype, device=self.tokens.device)
        cls_BTNT = self.tokens.new_zeros(clips, frames, count, frames)
        if 'local' in self.prompts:
            cls_BTNT = cls_BTNT + self.prompts['local']
        if self.summary is not None:
            made_of_BTT = (own + self.summary) / 2
            cls_BTNT = cls_BTNT + self.prompts['summary'] * made_of_BTT[:, :, None]
        folded = torch.einsum('btnm,ts->btnsm', self.tokens, own)
        folded[..., 0] += cls_BTNT
        return folded / folded.sum(dim=(-2, -1), keepdim=True)

    def cls_shares(self) -> dict[str, Tensor]:
        """The parts of a CLS token's attention, (B,), in the mean over the frames."""
        parts = {'patches': self.tokens[:, :, 0, 1:], 'CLS': self.tokens[:, :, 0, :1],
                 **{kind: given[:, :, 0] for kind, given in self.prompts.items()}}
        return {name: part.sum(-1).mean(1) for name, part in parts.items()}


@torch.no_grad()
def trace(backbone: CLIPVisionTransformer, video: Tensor
          ) -> tuple[Tensor, list[LayerAttention]]:
    """Features of clips as ``backbone`` gives them, and the attention of every layer.

    The backbone's own way never forms attention weights; this one does.

    Args:
        video: normalised frames, (B, 3, T, H, W), as many as the model was made for.

    Returns:
        Unit features, (B, D'), and the layers.

    Raises:
        UserError: if frames are joined by more than their mean, or are too many.
    """
    if type(backbone) not in (CLIPVisionTransformer, VitaCLIPVisionTransformer) or (
            backbone.temporal is not None):
        raise UserError(f'the frames of a {type(backbone).__name__} are joined by '
                        'attention of another kind than its layers have, so that '
                        'rollout does not say what it looks at')
    frames, made_for = video.shape[2], getattr(backbone, 'num_frames', video.shape[2])
    if frames != made_for:
        raise UserError(f'rollout takes clips of the {made_for} frames that the model '
                        f'was trained on, not of {frames}')
    x_BTND = backbone.embed(video)
    layers = []
    for number, block in enumerate(backbone.tower.module.transformer.resblocks):
        prompts = backbone.prompts[number] if backbone.prompts else None
        x_BTND, attention = layer_with_weights(block, x_BTND, prompts)
        layers.append(attention)
    return backbone.join(backbone.project(x_BTND)), layers


def layer_with_weights(block: nn.Module, x_BTND: Tensor, maker: LayerPrompts | None
                       ) -> tuple[Tensor, LayerAttention]:
    """One layer, as ``prompted_layer``, with its attention."""
    cls_BTD = x_BTND[:, :, 0]
    prompts = maker(cls_BTD) if maker else {}
    clips, frames, count, _ = x_BTND.shape
    normed = [block.ln_1(x_BTND)] + [
        block.ln_1(one).expand(clips, frames, -1, -1) for one in prompts.values()]
    queries = layers.queries(block, normed[0])
    keys_values = layers.keys_values(block, torch.cat(normed, dim=2))
    heads = block.attn.num_heads
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(2, 3)
               for x in (queries, *keys_values.chunk(2, dim=-1)))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1]**0.5).softmax(dim=-1)
    mixed = (weights @ v).transpose(2, 3).flatten(3)
    sizes = [part.shape[2] for part in normed]
    tokens, *given = weights.mean(dim=2).split(sizes, dim=-1)
    attention = LayerAttention(tokens, dict(zip(prompts, given)),
                               summary_attention(maker, cls_BTD))
    return layers.add_attended(block, x_BTND, mixed), attention


def summary_attention(maker: LayerPrompts | None, cls_BTD: Tensor) -> Tensor | None:
    """What the summary tokens attend to among the frames, (B, T, T)."""
    if maker is None or maker.summary is None:
        return None
    x = maker.summary.norm(maker.projection(cls_BTD))
    return maker.summary.attention(x, x, x)[1]


def rollout(layers: list[LayerAttention]) -> Tensor:
    """The relevance of every patch to a clip's feature, (B, T, N - 1); it sums to one.

    The feature is the mean of the frames' last CLS tokens. What leads back to the class
    embedding, which is the same for all videos, is left out.
    """
    clips, frames, count, _ = layers[0].tokens.shape
    relevance = layers[0].tokens.new_zeros(clips, frames, count)
    relevance[:, :, 0] = 1 / frames
    for layer in reversed(layers):
        attended = torch.einsum('btn,btnsm->bsm', relevance, layer.folded())
        relevance = (relevance + attended) / 2
    patches = relevance[:, :, 1:]
    return patches / patches.sum(dim=(1, 2), keepdim=True)
