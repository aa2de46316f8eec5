"""The three kinds of video prompts of Vita-CLIP (paper section 3.2.1).

Letters: B clips, T frames, N tokens of a frame (CLS first), D width, M global prompts.
Every layer of the frozen vision transformer makes its own prompts afresh from the raw
CLS tokens of its input, ``cls_BTD``.
"""
import math

import torch
from torch import Tensor, nn


def uniform_prompts(count: int, width: int, patch_size: int) -> nn.Parameter:
    """Learned vectors (count, D), uniform in ±sqrt(6 / (3 P² + D))."""
    bound = math.sqrt(6 / (3 * patch_size**2 + width))
    return nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))


class FrameProjection(nn.Linear):
    """P_sum: projects the CLS token of every frame (Eq. 5, first line)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


class SummaryPrompt(nn.Module):
    """One token per frame that has seen all frames of the clip (Eq. 5)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        for matrix in self.attention.in_proj_weight.data.chunk(3):
            nn.init.xavier_uniform_(matrix)
        nn.init.xavier_uniform_(self.attention.out_proj.weight)

    def forward(self, projected_BTD: Tensor) -> Tensor:
        """S = MHSA(LN(P_sum z)) + P_sum z over the frames: (B, T, D)."""
        x = self.norm(projected_BTD)
        return self.attention(x, x, x, need_weights=False)[0] + projected_BTD


class LocalPrompts(nn.Module):
    """One learned token per frame, conditioned on that frame; all frames get all."""

    def __init__(self, num_frames: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.vectors = uniform_prompts(num_frames, width, patch_size)

    def forward(self, condition_BTD: Tensor) -> Tensor:
        """l_t + c_t (Eq. 6): (B, T, D); tiled where a clip has more frames."""
        times = condition_BTD.shape[1] // self.vectors.shape[0]
        return self.vectors.repeat(times, 1) + condition_BTD


class GlobalPrompts(nn.Module):
    """Learned tokens that are the same for every frame of every video: (M, D)."""

    def __init__(self, count: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.vectors = uniform_prompts(count, width, patch_size)


class LayerPrompts(nn.Module):
    """The prompts of one layer: any of summary, local and global.

    Args:
        width: D.
        num_heads: heads of the summary attention.
        patch_size: P, for the initialisation.
        num_frames: T of training.
        summary: whether there is a summary token.
        local: whether there are local prompts.
        num_global: number of global prompts, 0 for none.
        local_condition: what c_t of Eq. 6 is: ``'projection'`` (P_sum z, shared with
            the summary token, as released) or ``'cls'`` (z itself, as printed).
        freeze_summary_proj: keep P_sum at its random initialisation, as released.
    """

    def __init__(self, width: int, num_heads: int, patch_size: int, num_frames: int,
                 summary: bool, local: bool, num_global: int, local_condition: str,
                 freeze_summary_proj: bool) -> None:
        super().__init__()
        self.local_condition = local_condition
        projects = summary or (local and local_condition == 'projection')
        self.projection = FrameProjection(width) if projects else None
        self.summary = SummaryPrompt(width, num_heads) if summary else None
        self.local = LocalPrompts(num_frames, width, patch_size) if local else None
        self.global_prompts = (
            GlobalPrompts(num_global, width, patch_size) if num_global else None)
        if self.projection is not None and freeze_summary_proj:
            self.projection.requires_grad_(False)

    def forward(self, cls_BTD: Tensor) -> dict[str, Tensor]:
        """The prompts of each kind that there is, ``global``, ``local`` and ``summary``:
        (B, T, P, D), with 1 in place of B or T where they are the same for all clips or
        for all frames of a clip."""
        projected_BTD = self.projection(cls_BTD) if self.projection else None
        prompts = {}
        if self.global_prompts is not None:
            prompts['global'] = self.global_prompts.vectors[None, None]
        if self.local is not None:
            raw = self.local_condition == 'cls'
            prompts['local'] = self.local(cls_BTD if raw else projected_BTD).unsqueeze(1)
        if self.summary is not None:
            prompts['summary'] = self.summary(projected_BTD).unsqueeze(2)
        return prompts

    @torch.no_grad()
    def made_of(self, cls_BTD: Tensor) -> dict[str, Tensor]:
        """What the prompts of each kind are made of: shares of the frames' CLS tokens,
        (B, T, P, T), which sum to one. Global prompts are made of nothing in the video.

        A local prompt is made of its frame. A summary token is made of all frames: half
        of it is its frame, half what its own attention takes.
        """
        frames = torch.eye(cls_BTD.shape[1], dtype=cls_BTD.dtype, device=cls_BTD.device)
        found = {}
        if self.local is not None:
            found['local'] = frames.expand(*cls_BTD.shape[:2], -1, -1)
        if self.summary is not None:
            assert self.projection is not None
            x = self.summary.norm(self.projection(cls_BTD))
            weights_BTT = self.summary.attention(x, x, x)[1]
            found['summary'] = ((frames + weights_BTT) / 2)[:, :, None]
        return found
