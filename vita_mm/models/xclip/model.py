"""X-CLIP: Ni et al., "Expanding Language-Image Pretrained Models for General Video
Recognition", ECCV 2022.

Followed as released (microsoft/VideoX, folder X-CLIP, commit 1744b21): a message token
in every layer, which is Vita-CLIP's summary token (the paper's Eq. 5 takes it from
here); no time embedding in the ViT; one temporal layer over the frames; text features
of the bare class names, computed once, to which the clip's patches add; the text
transformer and the temperature stay CLIP's. Stochastic depth is left out: it is 0 in all
its configs. Unknown: how its zero-shot checkpoint was trained, beyond 10 epochs of 32
frames.

Letters: B clips, T frames, N patches of a frame, C classes, D' width of the joint space.
"""
import torch
from mmaction.registry import MODELS
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn import functional as F

from vita_mm.errors import UserError
from vita_mm.models.common.clip import LoadedCLIP
from vita_mm.models.common.temporal import init_linear
from vita_mm.models.common.text_head import CLIPTextHead
from vita_mm.models.vita_clip.prompts import LayerPrompts
from vita_mm.models.vita_clip.vision import VitaCLIPVisionTransformer


@MODELS.register_module()
class XCLIPVisionTransformer(VitaCLIPVisionTransformer):
    """CLIP's vision tower, trained, with message tokens and multi-frame integration.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        num_frames: T, of training and of testing.
        trained: train the tower.
        **kwargs: of :class:`CLIPVisionTransformer`.
    """

    def __init__(self, clip: LoadedCLIP | dict, num_frames: int = 8,
                 trained: bool = True, **kwargs) -> None:
        super().__init__(
            clip, num_frames, summary=True, local=False, num_global=0,
            time_embedding=False, trained=trained,
            temporal=dict(num_positions=num_frames, num_layers=1), **kwargs)
        for layer in self.prompts:  # at torch's defaults, as released
            assert isinstance(layer, LayerPrompts)
            assert layer.summary is not None and layer.projection is not None
            nn.init.xavier_uniform_(layer.summary.attention.in_proj_weight)
            nn.Linear.reset_parameters(layer.projection)
            nn.Linear.reset_parameters(layer.summary.attention.out_proj)
            nn.init.zeros_(layer.summary.attention.out_proj.bias)
        visual = self.tower.module
        width, joint = len(visual.class_embedding), visual.output_dim
        self.patch_norm = nn.LayerNorm(width)
        self.patch_proj = nn.Parameter(torch.randn(width, joint))

    def forward(self, video: Tensor) -> Tensor:
        """Features of clips, (B, 1 + N, D'), of normalised frames (B, 3, T, H, W): the
        clip's unit vector, then its patches, each the mean over the frames."""
        if video.shape[2] != self.num_frames:
            raise UserError(f'a clip of {video.shape[2]} frames was given to an X-CLIP '
                            f'of {self.num_frames} frames')
        return self.gather(self.encode(self.embed(video)))

    def gather(self, x_BTND: Tensor) -> Tensor:
        clips_BD = self.join(self.project(x_BTND))
        patches_BND = (self.patch_norm(x_BTND[:, :, 1:]) @ self.patch_proj).mean(dim=1)
        return torch.cat([clips_BD[:, None], patches_BND], dim=1)


class VideoSpecificPrompts(nn.Module):
    """What the patches of a clip add to the features of the classes.

    Args:
        width: D'; a head has 64 of it.
        num_layers: layers of cross-attention and MLP.
        alpha: the initial factor of what is added, one for each of D'.
    """

    def __init__(self, width: int, num_layers: int, alpha: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(CrossAttentionLayer(width)
                                    for _ in range(num_layers))
        self.alpha = nn.Parameter(torch.full((width, ), float(alpha)))
        init_linear(self, std=0.02)

    def forward(self, text_BCD: Tensor, patches_BND: Tensor) -> Tensor:
        patches_BND = self.norm(patches_BND)
        for layer in self.layers:
            text_BCD = layer(text_BCD, patches_BND)
        return self.alpha * text_BCD


class CrossAttentionLayer(nn.Module):
    """Tokens attend to others, and pass an MLP of four times their width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // 64, 1)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (
            nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), QuickGELU(),
                                 nn.Linear(4 * width, width))

    def forward(self, x_BQD: Tensor, seen_BKD: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (
                self.query(self.norm_1(x_BQD)), self.key(seen_BKD), self.value(seen_BKD)))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x_BQD = x_BQD + self.out(mixed)
        return x_BQD + self.mlp(self.norm_2(x_BQD))


@MODELS.register_module()
class XCLIPTextHead(CLIPTextHead):
    """Classifies clips by their cosine with classes that have seen the clip.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        classes: names in the order of their ids, see :func:`read_classes`.
        num_layers, alpha: see :class:`VideoSpecificPrompts`.
        **kwargs: of :class:`CLIPTextHead`, for manual prompts.
    """

    def __init__(self, clip: LoadedCLIP | dict, classes: str | list[str],
                 num_layers: int = 2, alpha: float = 0.1, **kwargs) -> None:
        super().__init__(clip, classes, context='none', **kwargs)
        self.logit_scale.requires_grad_(False)
        self.video_prompts = VideoSpecificPrompts(self.in_channels, num_layers, alpha)

    def encode(self) -> Tensor:
        """Features of the classes as CLIP projects them, the mean over the templates:
        (C, D'). Their lengths weigh what the clip adds to them."""
        tower = self.tower.module
        return torch.stack([tower.project(prompts) for prompts in self.prompts]).mean(0)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """exp(logit_scale) · cosine, (B, C), of the features (B, 1 + N, D') that
        :class:`XCLIPVisionTransformer` gives and of classes (C, D')."""
        text_BCD = text.to(x.dtype).expand(len(x), -1, -1)
        text_BCD = text_BCD + self.video_prompts(text_BCD, x[:, 1:])
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            cosines = F.normalize(text_BCD.to(dtype), dim=-1) @ x[:, 0, :, None].to(dtype)
            return self.logit_scale.exp() * cosines.squeeze(-1)
