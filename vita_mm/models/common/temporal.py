"""A transformer over the frames of a clip, as several systems put behind CLIP.

Letters: B clips, T frames, D' width of the joint space.
"""
from functools import partial

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from vita_mm.errors import UserError


class TemporalTransformer(nn.Module):
    """Mixes frame features by pre-norm layers, and takes their mean.

    Args:
        width: D'; a head has 64 of it.
        num_positions: the most frames that a clip can have.
        num_layers: its layers, with an MLP of 4 D'.
        residual: add what came in to what comes out.
        position_std: standard deviation of the initial position embedding.
        linear_std: the same of the weights of linear layers, whose biases then start at
            0; by default torch's own initialisation.
        eps: of the layer norms.
    """

    def __init__(self, width: int, num_positions: int, num_layers: int,
                 residual: bool = True, position_std: float = 0.02,
                 linear_std: float | None = 0.02, eps: float = 1e-5) -> None:
        super().__init__()
        self.residual = residual
        self.positions = nn.Parameter(
            torch.empty(num_positions, width).normal_(std=position_std))
        self.layers = nn.Sequential(*(
            ResidualAttentionBlock(width, max(width // 64, 1), act_layer=QuickGELU,
                                   norm_layer=partial(nn.LayerNorm, eps=eps))
            for _ in range(num_layers)))
        if linear_std is not None:
            init_linear(self.layers, linear_std)

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """The clips' features, (B, D')."""
        num_frames = frames_BTD.shape[1]
        if num_frames > len(self.positions):
            raise UserError(f'a clip of {num_frames} frames was given to a temporal '
                            f'transformer of at most {len(self.positions)} frames')
        mixed = self.layers(frames_BTD + self.positions[:num_frames])
        return (mixed + frames_BTD if self.residual else mixed).mean(dim=1)


def init_linear(module: nn.Module, std: float) -> None:
    """Start every linear layer at normal weights and zero biases."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
