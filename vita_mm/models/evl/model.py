"""EVL: Lin et al., "Frozen CLIP Models are Efficient Video Learners", ECCV 2022.

Followed as released (OpenGVLab/efficient-video-recognition, commit b282e8b): a decoder
whose one query attends to all tokens of all frames, layer by layer to the last layers of
frozen CLIP, with motion from three sources added to them; a linear classifier, so no
zero-shot. Its first layers' query starts at zero, as the released code leaves it. Left
out: the half precision of its backbone, which is the runner's choice here.

Letters: B clips, T frames, N tokens of a frame (CLS first), P = N - 1 patches, D width.
"""
from collections.abc import Callable

import torch
from mmaction.models.heads import BaseHead
from mmaction.registry import MODELS
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from vita_mm.errors import UserError
from vita_mm.labels.class_names import read_classes
from vita_mm.models.common import layers
from vita_mm.models.common.clip import LoadedCLIP, load_clip
from vita_mm.models.common.vision import CLIPVisionTransformer


@MODELS.register_module()
class EVLVisionTransformer(CLIPVisionTransformer):
    """Frozen CLIP, decoded.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        num_frames: T, of training and of testing.
        num_layers: of the decoder; it reads as many of the tower's last ones.
        dropout: in the decoder's MLPs.
    """

    def __init__(self, clip: LoadedCLIP | dict, num_frames: int = 8,
                 num_layers: int = 4, dropout: float = 0.5) -> None:
        super().__init__(clip)
        visual = self.tower.module
        blocks = layers.blocks(visual.transformer)
        if not 1 <= num_layers <= len(blocks):
            raise UserError(f'num_layers must be from 1 to {len(blocks)}, the layers of '
                            f'this CLIP, not {num_layers!r}')
        self.num_frames = num_frames
        width, heads = len(visual.class_embedding), blocks[0].attn.num_heads
        self.query = nn.Parameter(torch.zeros(width))
        self.motion = nn.ModuleList(Motion(width, heads, num_frames, visual.grid_size)
                                    for _ in range(num_layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, dropout)
                                     for _ in range(num_layers))

    def forward(self, video: Tensor) -> Tensor:
        """What the query has gathered, (B, D), of normalised frames (B, 3, T, H, W)."""
        if video.shape[2] != self.num_frames:
            raise UserError(f'a clip of {video.shape[2]} frames was given to an EVL of '
                            f'{self.num_frames} frames')
        blocks = layers.blocks(self.tower.module.transformer)
        last = len(blocks) - len(self.decoder)
        with torch.no_grad():
            x_BTND = self.embed(video)
            for block in blocks[:last]:
                x_BTND = self.layer(block, x_BTND, [])
        found = self.query.expand(len(video), 1, -1)
        for block, motion, decode, patches in zip(
                blocks[last:], self.motion, self.decoder, self.maps[last + 1:]):
            with torch.no_grad():
                x_BTND, queries, keys = layer_with_queries(block, x_BTND)
            x_BTND = patches.pass_on(x_BTND)
            found = decode(found, motion(x_BTND, queries, keys).flatten(1, 2))
        return found[:, 0]


def layer_with_queries(block: ResidualAttentionBlock, x_BTND: Tensor,
                       attention: Callable = layers.attention
                       ) -> tuple[Tensor, Tensor, Tensor]:
    """One layer of CLIP: its output, queries and keys, each (B, T, N, D)."""
    normed = block.ln_1(x_BTND)
    queries = layers.queries(block, normed)
    keys_values = layers.keys_values(block, normed)
    mixed = attention(block, queries.flatten(0, 1), keys_values.flatten(0, 1))
    x_BTND = layers.add_attended(block, x_BTND, mixed.unflatten(0, x_BTND.shape[:2]))
    return x_BTND, queries, keys_values.chunk(2, dim=-1)[0]


class Motion(nn.Module):
    """Adds to the tokens of every frame what changes between the frames.

    That is a convolution over time of each channel, an embedding of the frame's
    position, and for patches a sum of learned vectors of displacements, weighted by the
    attention that they pay to the patches of the frame before and of the one behind.

    Args:
        width: D.
        heads: of the attention.
        num_frames: T.
        grid: rows and columns of patches.
    """
    displacement_PP: Tensor

    def __init__(self, width: int, heads: int, num_frames: int, grid: tuple[int, int]
                 ) -> None:
        super().__init__()
        self.heads = heads
        self.conv = nn.Conv1d(width, width, kernel_size=3, padding=1, groups=width)
        self.positions = nn.Parameter(torch.zeros(num_frames, width))
        rows, columns = grid
        displacements = (2 * rows - 1) * (2 * columns - 1)
        self.from_before = nn.Parameter(torch.zeros(displacements, width))
        self.from_behind = nn.Parameter(torch.zeros(displacements, width))
        self.register_buffer('displacement_PP', displacement(rows, columns),
                             persistent=False)

    def forward(self, x_BTND: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        """The tokens with their motion; queries and keys of their layer, (B, T, N, D)."""
        sizes = x_BTND.shape
        over_time = self.conv(x_BTND.permute(0, 2, 3, 1).flatten(0, 1))
        over_time = over_time.unflatten(0, (sizes[0], sizes[2])).permute(0, 3, 1, 2)
        queries, keys = (x[:, :, 1:].unflatten(-1, (self.heads, -1))
                         for x in (queries, keys))
        before = self.displaced(queries[:, 1:], keys[:, :-1], self.from_before)
        behind = self.displaced(queries[:, :-1], keys[:, 1:], self.from_behind)
        moved = F.pad(before, (0, 0, 1, 0, 1, 0)) + F.pad(behind, (0, 0, 1, 0, 0, 1))
        return x_BTND + over_time + self.positions[:, None] + moved

    def displaced(self, queries: Tensor, keys: Tensor, vectors: Tensor) -> Tensor:
        """The mean displacement vector of each patch, (B, t, P, D)."""
        scores = torch.einsum('btqhd,btkhd->bthqk', queries, keys)
        weights = (scores / queries.shape[-1]**0.5).softmax(dim=-1).mean(dim=2)
        return torch.einsum('btqk,qkd->btqd', weights, vectors[self.displacement_PP])


def displacement(rows: int, columns: int) -> Tensor:
    """The number of the displacement from patch to patch, (P, P)."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')
    row, column = row.flatten(), column.flatten()
    return ((row[:, None] - row + rows - 1) * (2 * columns - 1)
            + column[:, None] - column + columns - 1)


class DecoderLayer(nn.Module):
    """One query attends to all tokens of a clip, and passes an MLP."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_query, self.norm_tokens, self.norm_mlp = (
            nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), QuickGELU(),
                                 nn.Dropout(dropout), nn.Linear(4 * width, width))
        for matrix in self.attention.in_proj_weight.data.chunk(3):
            nn.init.xavier_uniform_(matrix)
        nn.init.xavier_uniform_(self.attention.out_proj.weight)
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.normal_(part.bias, std=1e-6)

    def forward(self, query_B1D: Tensor, tokens_BSD: Tensor) -> Tensor:
        tokens = self.norm_tokens(tokens_BSD)
        x = query_B1D + self.attention(self.norm_query(query_B1D), tokens, tokens,
                                       need_weights=False)[0]
        return x + self.mlp(self.norm_mlp(x))


@MODELS.register_module()
class EVLHead(BaseHead):
    """A linear classifier of clips, (B, D) -> (B, C).

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        classes: names in the order of their ids, see :func:`read_classes`.
        dropout: before the classifier.
        **kwargs: of MMAction2's ``BaseHead``.
    """
    context = None
    class_specific = True

    def __init__(self, clip: LoadedCLIP | dict, classes: str | list[str],
                 dropout: float = 0.5, average_clips: str | None = 'prob', **kwargs
                 ) -> None:
        clip = clip if isinstance(clip, LoadedCLIP) else load_clip(**clip)
        names = read_classes(classes, repeated=True)
        width = len(clip.visual.class_embedding)
        super().__init__(num_classes=len(names), in_channels=width,
                         # Declared to be a dict, which it never is.
                         average_clips=average_clips,  # pyright: ignore[reportArgumentType]
                         **kwargs)
        self.classes = names
        self.clip = clip
        self.classifier = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, self.num_classes))

    def forward(self, x: Tensor, **kwargs) -> Tensor:
        # Half precision would round logits, and BaseHead takes none of bfloat16.
        device = 'cpu' if x.is_meta else x.device.type  # autocast knows no meta tensors
        with torch.autocast(device, enabled=False):
            return self.classifier(x.to(torch.promote_types(x.dtype, torch.float32)))
