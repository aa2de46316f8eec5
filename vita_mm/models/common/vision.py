"""The vision side: CLIP's ViT on the frames of clips, and prompts in its layers.

Letters: B clips, T frames, N tokens of a frame (CLS first), P prompts, D width.
"""
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vita_mm.errors import UserError

from . import layers
from .clip import Frozen, LoadedCLIP, Trained, load_clip
from .temporal import TemporalTransformer


@MODELS.register_module()
class CLIPVisionTransformer(BaseModule):
    """Encodes every frame of a clip with CLIP's vision tower, and joins the frames.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        trained: train the tower; else it is frozen.
        temporal: arguments of the :class:`TemporalTransformer` that joins the frames'
            features; by default their mean does.
        checkpointing: keep only the input of each layer for the backward pass and
            compute the layer again there: less memory, more time.
        compile: compile the layer with ``torch.compile``.

    Attributes:
        prompts: of a subclass that has any: a module for each layer, which makes its
            prompts by kind, each (B, T, P, D) or with 1 in place of B or T, of the CLS
            tokens of its input, (B, T, D).

    What there is in the frames behind n layers can be looked at by the name ``maps.n``,
    see :class:`PatchMap`.
    """
    tower: Trained[VisionTransformer] | Frozen[VisionTransformer]
    prompts: nn.ModuleList | None
    maps: Sequence['PatchMap']

    def __init__(self, clip: LoadedCLIP | dict, trained: bool = False,
                 temporal: dict | None = None, checkpointing: bool = False,
                 compile: bool = False) -> None:
        super().__init__()
        clip = clip if isinstance(clip, LoadedCLIP) else load_clip(**clip)
        visual = clip.visual
        self.tower = Trained(visual) if trained else Frozen(visual)
        self.temporal = (TemporalTransformer(visual.output_dim, **temporal)
                         if temporal else None)
        self.prompts = None
        self.maps = cast(Sequence[PatchMap], nn.ModuleList(
            PatchMap(visual.grid_size)
            for _ in range(len(layers.blocks(visual.transformer)) + 1)))
        self.layer = torch.compile(prompted_layer) if compile else prompted_layer
        if checkpointing:
            self.layer = partial(checkpoint, self.layer, use_reentrant=False)

    def forward(self, video: Tensor) -> Tensor:
        """Features of whole clips.

        Args:
            video: normalised frames, (B, 3, T, H, W).

        Returns:
            Unit vectors of the joint space, (B, D').
        """
        return self.gather(self.encode(self.embed(video), outputs=1))

    def embed(self, video: Tensor) -> Tensor:
        """The tokens that go into the first layer, (B, T, N, D), of normalised frames."""
        return self.tower.module.ln_pre(self.tokens(video))

    def tokens(self, video: Tensor) -> Tensor:
        """CLS and patches with their position embedding, (B, T, N, D)."""
        visual = self.tower.module
        num_clips, _, num_frames, height, width = video.shape
        if (height, width) != tuple(visual.image_size):
            raise UserError(
                f'frames are {height}x{width} pixels but this CLIP takes '
                '{}x{}: change the crop'.format(*visual.image_size))
        frames = video.transpose(1, 2).flatten(0, 1)
        patches = visual.conv1(frames).flatten(2).transpose(1, 2)
        cls = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        x = torch.cat([cls, patches], dim=1) + visual.positional_embedding
        return x.unflatten(0, (num_clips, num_frames))

    def encode(self, x_BTND: Tensor, outputs: int | None = None) -> Tensor:
        """The tokens after all layers; of a frame's the first ``outputs``, or all."""
        blocks = layers.blocks(self.tower.module.transformer)
        for number, block in enumerate(blocks):
            prompts = self.prompts[number](x_BTND[:, :, 0]) if self.prompts else {}
            wanted = outputs if number == len(blocks) - 1 else None
            x_BTND = self.maps[number].pass_on(x_BTND)
            x_BTND = self.layer(block, x_BTND, list(prompts.values()), outputs=wanted)
        return self.maps[len(blocks)].pass_on(x_BTND)

    def gather(self, x_BTND: Tensor) -> Tensor:
        """What :meth:`forward` gives, of the tokens after all layers."""
        return self.join(self.project(x_BTND))

    def project(self, x_BTND: Tensor) -> Tensor:
        """The frames' features, (B, T, D'), of their CLS tokens."""
        visual = self.tower.module
        return visual.ln_post(x_BTND[:, :, 0]) @ visual.proj

    def join(self, frames_BTD: Tensor) -> Tensor:
        """The clips' unit features, (B, D')."""
        joined = self.temporal(frames_BTD) if self.temporal else frames_BTD.mean(dim=1)
        return F.normalize(joined, dim=-1)


class PatchMap(nn.Module):
    """Where hooks find the patches of all frames as a map, and their gradients.

    CLIP's layers run as functions on the weights of a tower that may be no submodule:
    hooks on its modules would never be called. Without a hook nothing is computed here.
    MMAction2's ``GradCAM`` takes the name with slashes, ``backbone/maps/11``.

    Args:
        grid: rows and columns of patches.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = tuple(grid)

    def forward(self, x_BTND: Tensor) -> Tensor:
        """The map of tokens, (B, D, T, rows, columns)."""
        return x_BTND[:, :, 1:].unflatten(2, self.grid).permute(0, 4, 1, 2, 3)

    def pass_on(self, x_BTND: Tensor) -> Tensor:
        """The tokens as they are, through the map if somebody looks at it.

        Raises:
            UserError: if the patches are not computed and their gradients are wanted.
        """
        # Tracing puts hooks on all modules.
        if not (self._forward_hooks or self._backward_hooks) or layers.is_tracing():
            return x_BTND
        if x_BTND.shape[2] == 1:
            if not self._backward_hooks:  # some look at each module that is called
                return x_BTND
            raise UserError('behind its last layer this model has CLS tokens alone: take '
                            'the map before')
        if torch.is_grad_enabled() and not x_BTND.requires_grad:
            x_BTND = x_BTND.detach().requires_grad_()
        patches = self(x_BTND).permute(0, 2, 3, 4, 1).flatten(2, 3)
        return torch.cat([x_BTND[:, :, :1], patches], dim=2)


def prompted_layer(block: ResidualAttentionBlock, x_BTND: Tensor,
                   prompts: list[Tensor], outputs: int | None = None,
                   attention: Callable = layers.attention) -> Tensor:
    """One layer of CLIP, in which prompts are attended to.

    Of the prompts only keys and values are ever used: their outputs are dropped after
    the attention, so their queries and their FFN are not computed.

    Args:
        prompts: of each kind, (B, T, P, D), see :class:`CLIPVisionTransformer`.
        outputs: how many of the tokens of a frame are wanted, by default all.
        attention: the fast one, or a :class:`layers.PlainAttention`.
    """
    clips, frames = x_BTND.shape[:2]
    normed = block.ln_1(x_BTND)
    keys_values = torch.cat([layers.keys_values(block, normed)] + [
        layers.keys_values(block, block.ln_1(one)).expand(clips, frames, -1, -1)
        for one in prompts], dim=2)
    queries = layers.queries(block, normed[:, :, :outputs])
    mixed = attention(block, queries.flatten(0, 1), keys_values.flatten(0, 1))
    return layers.add_attended(block, x_BTND[:, :, :outputs],
                               mixed.unflatten(0, (clips, frames)))


def check_choice(name: str, value, choices: tuple) -> None:
    if value not in choices:
        raise UserError(f'{name} must be one of {", ".join(map(repr, choices))}, '
                        f'not {value!r}')
