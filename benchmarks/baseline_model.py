"""What the authors' released code computes, written out: an opponent for speed.py.

https://github.com/TalalWasim/Vita-CLIP runs all prompts of 77 tokens through the text
transformer at every call, and puts the video prompts into each frame as full tokens.
The parameters have the names of its checkpoints. Letters: B clips, T frames, N tokens
of a frame (CLS first), D width, D' width of the joint space, C classes.
"""
from collections.abc import Iterable
from typing import cast

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from vita_mm.models import VitaCLIP
from vita_mm.models.common import layers
from vita_mm.models.common.packed_text import TextTower
from vita_mm.models.vita_clip.checkpoints import released_checkpoint


class LayerNorm(nn.LayerNorm):
    """Normalises in float32 at least."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return super().forward(wide).to(x.dtype)


class QuickGELU(nn.Module):

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Self-attention with a projection each for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (project(x).unflatten(-1, (self.heads, -1))
                   for project in (self.q_proj, self.k_proj, self.v_proj))
        scores = torch.einsum('bqhd,bkhd->bqkh', q / q.shape[-1]**0.5, k)
        mixed = torch.einsum('bqkh,bkhd->bqhd', scores.softmax(dim=2), v)
        return self.out_proj(mixed.flatten(-2))


def feed_forward(width: int, first: str, second: str) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module(first, nn.Linear(width, 4 * width))
    layers.add_module('gelu', QuickGELU())
    layers.add_module(second, nn.Linear(4 * width, width))
    return layers


class VisionLayer(nn.Module):
    """A layer with summary token and local prompts: (B T, N, D) -> the same."""

    def __init__(self, width: int, heads: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.attn = Attention(width, heads)
        self.mlp = feed_forward(width, 'fc1', 'fc2')
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.cls_proj = nn.Linear(width, width)
        self.summary_ln = LayerNorm(width)
        self.summary_attn_layer = Attention(width, heads)
        self.local_prompts = nn.Parameter(torch.empty(1, num_frames, width))

    def forward(self, x: Tensor) -> Tensor:
        projected = self.cls_proj(x[:, 0].unflatten(0, (-1, self.num_frames)))
        summary = projected + self.summary_attn_layer(self.summary_ln(projected))
        local = self.local_prompts + projected
        local = local.repeat_interleave(self.num_frames, dim=0)
        summary = summary.flatten(0, 1)[:, None]
        x = torch.cat([x[:, :1], local, x[:, 1:], summary], dim=1)
        x = x + self.attn(self.norm1(x))
        x = torch.cat([x[:, :1], x[:, 1 + self.num_frames:-1]], dim=1)
        return x + self.mlp(self.norm2(x))


class Vision(nn.Module):
    """Clips (B, 3, T, H, W) -> features (B, D'), not normalised."""

    def __init__(self, visual: VisionTransformer, num_frames: int, num_global: int
                 ) -> None:
        super().__init__()
        width, embed_dim = len(visual.class_embedding), visual.output_dim
        rows, columns = visual.conv1.kernel_size
        blocks = layers.blocks(visual.transformer)
        self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(
            3, width, kernel_size=(rows, columns), stride=(rows, columns))))
        self.cls_token = nn.Parameter(torch.empty(width))
        self.pos_embed = nn.Parameter(torch.empty(visual.positional_embedding.shape))
        self.time_embed = nn.Parameter(torch.empty(num_frames, width))
        self.blocks = nn.ModuleList(
            VisionLayer(width, block.attn.num_heads, num_frames) for block in blocks)
        self.ln_pre = LayerNorm(width)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, embed_dim))
        self.global_prompts = nn.Parameter(torch.empty(len(blocks), num_global, width))

    def forward(self, video: Tensor) -> Tensor:
        clips, _, frames, _, _ = video.shape
        x = self.patch_embed['proj'](video.transpose(1, 2).flatten(0, 1))
        x = x.flatten(2).transpose(1, 2)
        cls = self.cls_token.expand(len(x), 1, -1)
        x = torch.cat([cls, x], dim=1) + self.pos_embed
        x = x.unflatten(0, (clips, frames)) + self.time_embed[:, None]
        x = self.ln_pre(x.flatten(0, 1))
        for block, prompts in zip(self.blocks, self.global_prompts):
            added = prompts.expand(len(x), -1, -1)
            x = block(torch.cat([x[:, :1], added, x[:, 1:]], dim=1))
            x = torch.cat([x[:, :1], x[:, 1 + len(prompts):]], dim=1)
        features = self.ln_post(x[:, 0]) @ self.proj
        return features.unflatten(0, (clips, frames)).mean(dim=1)


class TextLayer(nn.Module):
    """A causal layer on prompts, the tokens first: (77, C, D) -> the same."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = LayerNorm(width)
        self.mlp = feed_forward(width, 'c_fc', 'c_proj')
        self.ln_2 = LayerNorm(width)
        later = torch.full((length, length), -torch.inf).triu(1)
        self.register_buffer('mask', later, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False,
                          attn_mask=self.mask.to(x.dtype))[0]
        return x + self.mlp(self.ln_2(x))


class Text(nn.Module):
    """Embedded prompts (C, 77, D) -> features at their EOT (C, D'), not normalised."""

    def __init__(self, clip: TextTower) -> None:
        super().__init__()
        length, width = clip.positional_embedding.shape
        embedding = clip.token_embedding
        assert isinstance(embedding, nn.Embedding)
        self.token_embedding = nn.Embedding(embedding.num_embeddings, width)
        self.positional_embedding = nn.Parameter(torch.empty(length, width))
        self.transformer = nn.ModuleDict(dict(resblocks=nn.ModuleList(
            TextLayer(width, block.attn.num_heads, length)
            for block in layers.blocks(clip.transformer))))
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(clip.text_projection.shape))

    def forward(self, prompts: Tensor, eot_C: Tensor) -> Tensor:
        x = (prompts + self.positional_embedding).transpose(0, 1)
        for block in cast(Iterable[TextLayer], self.transformer['resblocks']):
            x = block(x)
        x = self.ln_final(x.transpose(0, 1))
        return x[torch.arange(len(x)), eot_C] @ self.text_projection


class LearnedPrompts(nn.Module):
    """SOT, context, and what follows up to 77 tokens: embedded, (C, 77, D)."""
    token_prefix: Tensor
    token_suffix: Tensor

    def __init__(self, context: Tensor, num_classes: int, length: int) -> None:
        super().__init__()
        num_context, width = context.shape[-2:]
        self.ctx = nn.Parameter(torch.empty(context.shape))
        self.register_buffer('token_prefix', torch.empty(num_classes, 1, width))
        self.register_buffer('token_suffix', torch.empty(
            num_classes, length - 1 - num_context, width))

    def forward(self) -> Tensor:
        context = self.ctx.expand(len(self.token_prefix), -1, -1)
        return torch.cat([self.token_prefix, context, self.token_suffix], dim=1)


class Baseline(nn.Module):
    """The released model, with the weights of one of ours.

    Args:
        model: ours with all kinds of prompts, and contexts before the class names.
    """

    def __init__(self, model: VitaCLIP) -> None:
        super().__init__()
        head, backbone = model.cls_head, model.backbone
        clip, context = head.clip, head.context.vectors
        self.visual = Vision(clip.visual, backbone.num_frames,
                             len(backbone.prompts[0].global_prompts.vectors))
        self.textual = Text(TextTower(clip.model))
        self.prompt_learner = LearnedPrompts(context, head.num_classes,
                                             clip.model.context_length)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.register_buffer('eot_C', torch.tensor(
            [len(sequence) - 1 for sequence in head.sequences[0]]), persistent=False)
        self.to(context.dtype).to(context.device)
        self.load_state_dict(released_weights(model))
        self.requires_grad_(False)
        for name, weight in self.named_parameters():
            projection = 'cls_proj' in name and \
                backbone.prompts[0].projection.weight.requires_grad
            weight.requires_grad_(projection or any(part in name for part in (
                'summary', 'local', 'global', 'time_embed', 'ctx', 'logit_scale')))

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, C) of normalised clips (B, 3, T, H, W)."""
        text, video = self.encode_text(), self.visual(video)
        text = text / text.norm(dim=-1, keepdim=True)
        video = video / video.norm(dim=-1, keepdim=True)
        return self.logit_scale.exp() * video @ text.T

    def encode_text(self) -> Tensor:
        """Features of the classes, (C, D'), not normalised."""
        return self.textual(self.prompt_learner(), self.eot_C)


def released_weights(model: VitaCLIP) -> dict[str, Tensor]:
    """The tensors of a model of ours under the released names."""
    return {name.removeprefix('module.'): value
            for name, value in released_checkpoint(model)['model'].items()}


def baseline_step(model: nn.Module, optimizer: torch.optim.Optimizer, clips: Tensor,
                  labels: Tensor, micro_batches: int = 1) -> None:
    """An optimizer step on normalised clips (B, 3, T, H, W), divided into equal parts
    whose gradients are accumulated."""
    optimizer.zero_grad()
    for part, classes in zip(clips.chunk(micro_batches), labels.chunk(micro_batches)):
        loss = F.cross_entropy(model(part), classes)
        (loss / micro_batches).backward()
    optimizer.step()
