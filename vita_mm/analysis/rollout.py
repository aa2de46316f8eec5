"""Attention rollout through CLIP's vision tower and its prompts (the paper's Figure 3).

Abnar & Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020: half of what a
layer puts out is its input, half what it attends to, so that in a layer the relevance R
of tokens becomes (I + A) / 2 · R, with A the mean over the heads. Prompts are keys and
values of one layer and end there. They are folded back onto the tokens they were made
of, so that A stays a matrix over the tokens of the frames:

- a summary token (Vita-CLIP; X-CLIP's message token) is made of the CLS tokens of all
  frames of the clip, by its own attention W and a residual: its share goes to them as
  (I + W) / 2;
- a local prompt is made of the CLS token of its frame: its share goes there;
- global prompts are made of nothing in the video: their share is dropped, and what is
  left of each row is scaled to one again.

Where R starts is what the features are made of:

- frozen CLIP, Vita-CLIP, ViFi-CLIP: the mean of the frames' last CLS tokens;
- X-CLIP, ActionCLIP, A5/A6: the same tokens behind a temporal transformer, through which
  the same rule leads, over frames in place of tokens. Of X-CLIP this is the clip's
  vector: what its patches add to the texts of the classes is left out;
- EVL: all tokens behind each of the last layers, as the decoder's query reads them.

Without prompts and for the mean of the frames this is the textbook's rollout. No paper of
these systems prints equations for it; this is what the method implies.

Letters: B clips, T frames, N tokens of a frame (CLS first).
"""
import torch
from torch import Tensor, nn

from vita_mm.errors import UserError
from vita_mm.models import CLIPVisionTransformer
from vita_mm.models.common.attention import Trace, trace_frames
from vita_mm.models.common.system import System

CLOSE = 1e-3  # of the features' length


def trace(backbone: nn.Module, video: Tensor, system: System | None = None) -> Trace:
    """A forward pass with its attention.

    Args:
        video: normalised frames, (B, 3, T, H, W).
        system: that the backbone is of; by default it reads the frames' CLS tokens, see
            :func:`trace_frames`.

    Raises:
        UserError: if the backbone computes in another way than is followed here, so
            that the rollout would not say what it looks at.
    """
    with torch.no_grad():
        features = backbone(video)
    found = None
    if isinstance(backbone, CLIPVisionTransformer):
        found = (system.trace if system else trace_frames)(backbone, video)
    if found is None or found.features.shape != features.shape \
            or (found.features - features).norm() > CLOSE * features.norm():
        raise UserError(f'rollout: the attention of a {type(backbone).__name__} is not '
                        'that of CLIP and its prompts, or its frames are joined in '
                        'another way, so that rollout does not say what it looks at')
    return found


def rollout(trace: Trace) -> Tensor:
    """The relevance of every patch to a clip's features, (B, T, N - 1); it sums to one.

    What leads back to the class embedding, which is the same for all videos, is left out.
    """
    relevance = torch.zeros_like(trace.layers[0].tokens[..., 0])
    for layer, read in zip(reversed(trace.layers), reversed(trace.read)):
        if read is not None:
            relevance = relevance + read
        attended = torch.einsum('btn,btnsm->bsm', relevance, layer.folded())
        relevance = (relevance + attended) / 2
    patches = relevance[:, :, 1:].reshape(len(trace.features), -1,
                                          relevance.shape[-1] - 1)
    return patches / patches.sum(dim=(1, 2), keepdim=True)
