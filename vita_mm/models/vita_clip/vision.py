"""Vita-CLIP's vision side: learned prompts in every layer of CLIP's frozen ViT.

Wasim et al., "Vita-CLIP", CVPR 2023, section 3.2.1; Eq. numbers are the paper's.
Letters: B clips, T frames, N tokens of a frame (CLS first), D width.
"""
import torch
from mmaction.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vita_mm.errors import UserError
from vita_mm.models.common import layers
from vita_mm.models.common.clip import LoadedCLIP
from vita_mm.models.common.vision import CLIPVisionTransformer, check_choice

from .prompts import LayerPrompts


@MODELS.register_module()
class VitaCLIPVisionTransformer(CLIPVisionTransformer):
    """Encodes clips with CLIP's frozen vision tower and learned video prompts.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        num_frames: T, the frames of a training clip.
        summary: add the summary token (S).
        local: add the local prompts (L).
        num_global: number of global prompts (G), M_v of the paper; 0 for none.
        time_embedding: learn an embedding of the frame's position in the clip.
            Without it and without prompts this is frozen CLIP, averaged over frames.
        local_condition: ``'projection'`` or ``'cls'``, see :class:`LayerPrompts`.
        freeze_summary_proj: as the released code trains, see :class:`LayerPrompts`.
        long_clips: how prompts are given to a clip of k·T frames: ``'frame_windows'``
            (k independent windows of T frames, as the released code acts) or
            ``'tile'`` (local prompts tiled k times, summary over all frames).
        **kwargs: of :class:`CLIPVisionTransformer`.
    """
    prompts: nn.ModuleList

    def __init__(self, clip: LoadedCLIP | dict, num_frames: int = 8,
                 summary: bool = True, local: bool = True, num_global: int = 8,
                 time_embedding: bool = True, local_condition: str = 'projection',
                 freeze_summary_proj: bool = False,
                 long_clips: str = 'frame_windows', **kwargs) -> None:
        check_choice('local_condition', local_condition, ('projection', 'cls'))
        check_choice('long_clips', long_clips, ('frame_windows', 'tile'))
        for name, count, least in (('num_frames', num_frames, 1),
                                   ('num_global', num_global, 0)):
            if not isinstance(count, int) or count < least:
                raise UserError(f'{name} must be an integer of at least {least}, '
                                f'not {count!r}')
        super().__init__(clip, **kwargs)
        self.num_frames = num_frames
        self.long_clips = long_clips
        self.mixes_frames = summary or local
        visual = self.tower.module
        width = visual.class_embedding.shape[0]
        self.time_embedding = (
            nn.Parameter(torch.empty(num_frames, width).normal_(std=0.02))
            if time_embedding else None)
        self.prompts = nn.ModuleList(
            LayerPrompts(width, block.attn.num_heads, visual.conv1.kernel_size[0],
                         num_frames, summary, local, num_global, local_condition,
                         freeze_summary_proj)
            for block in layers.blocks(visual.transformer))
        self.register_load_state_dict_pre_hook(
            VitaCLIPVisionTransformer.use_present_names)

    def forward(self, video: Tensor) -> Tensor:
        """As :class:`CLIPVisionTransformer`, with prompts (Eq. 1-4 and 7-8); T is a
        multiple of ``num_frames`` where prompts mix frames."""
        x_BTND = self.windows(self.embed(video))
        x_BTND = self.encode(x_BTND, outputs=1)
        return self.gather(x_BTND.reshape(len(video), -1, *x_BTND.shape[2:]))

    def windows(self, x_BTND: Tensor) -> Tensor:
        """The frames that prompts mix: of clips (B, k T, …) the windows (B k, T, …)."""
        num_frames = x_BTND.shape[1]
        if self.mixes_frames and num_frames % self.num_frames:
            raise UserError(
                f'a clip of {num_frames} frames was given to a model of '
                f'{self.num_frames} frames: the number must be a multiple of that')
        if self.mixes_frames and self.long_clips == 'frame_windows':
            return x_BTND.unflatten(1, (-1, self.num_frames)).flatten(0, 1)
        return x_BTND

    def embed(self, video: Tensor) -> Tensor:
        x_BTND = self.tokens(video)
        if self.time_embedding is not None:
            x_BTND = x_BTND + self.stretched_time(x_BTND.shape[1])[:, None]
        return self.tower.module.ln_pre(x_BTND)

    def stretched_time(self, num_frames: int) -> Tensor:
        """The time embedding at ``num_frames`` positions, by nearest: (T, D)."""
        assert self.time_embedding is not None
        return F.interpolate(self.time_embedding.T[None], size=num_frames)[0].T

    def use_present_names(self, state_dict: dict, prefix: str, *_) -> None:
        """Before a checkpoint is loaded: give the tensors of an old one, which called
        the global prompts ``shared``, the names that they have now."""
        for layer in range(len(self.prompts)):
            place = f'{prefix}prompts.{layer}'
            if f'{place}.shared.vectors' in state_dict:
                state_dict[f'{place}.global_prompts.vectors'] = state_dict.pop(
                    f'{place}.shared.vectors')
