"""ActionCLIP: Wang et al., "ActionCLIP: A New Paradigm for Video Action Recognition",
2021.

Followed as released (sallymmx/ActionCLIP, commit 31c34df, its "Transf" head): all of
CLIP is trained, frame features pass a :class:`TemporalTransformer` of six layers with as
many positions as CLIP's text has, and a batch is its own set of classes: each clip is
matched with a prompt of its class from one of sixteen templates. Its vision side is
:class:`CLIPVisionTransformer`. Unknown: the weights behind its published rows, whose
links are empty.
"""
import math

import torch
from mmaction.registry import MODELS
from mmengine.dist import all_gather, get_world_size
from torch import Tensor
from torch.nn import functional as F

from vita_mm.models.common.clip import LoadedCLIP
from vita_mm.models.common.packed_text import PackedPrompts
from vita_mm.models.common.shared_text import GatherShares
from vita_mm.models.common.text_head import CLIPTextHead

# How sharply equal labels are told from others in a batch, as released.
LABEL_SCALE = 10.
# Cosines of testing are scaled by CLIP's factor, not by what it was trained to.
TEST_SCALE = 100.


@MODELS.register_module()
class ActionCLIPTextHead(CLIPTextHead):
    """Matches clips with prompts in training; tests with all templates of all classes.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        classes: names in the order of their ids, see :func:`read_classes`.
        templates: see :func:`read_templates`.
        trained: train CLIP's text transformer.
        **kwargs: of :class:`CLIPTextHead`, for manual prompts.
    """

    def __init__(self, clip: LoadedCLIP | dict, classes: str | list[str],
                 templates: str | list[str] = 'actionclip', trained: bool = True,
                 **kwargs) -> None:
        super().__init__(clip, classes, context='none', templates=templates,
                         trained=trained, **kwargs)

    def loss(self, feats: Tensor, data_samples: list, templates: Tensor | None = None,
             **kwargs) -> dict:
        """The mean of the two divergences of clips and prompts, over the batches of all
        ranks together. Gradient accumulation does not widen it.

        Args:
            feats: unit features of the clips, (B, D').
            templates: which of the templates each clip is matched by, (B, ); by default
                drawn.
        """
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(feats.device)
        if templates is None:
            templates = torch.randint(len(self.sequences), (len(labels), ))
        text = self.tower.module(PackedPrompts(
            [self.sequences[template][label] for template, label in zip(
                templates.tolist(), labels.tolist())]).to(feats.device))
        if get_world_size() > 1:
            feats, text = GatherShares.apply(feats), GatherShares.apply(text)
            labels = torch.cat(all_gather(labels))
        logits = super().logits(feats, text)
        return dict(loss_cls=(divergence(logits, labels)
                              + divergence(logits.T, labels)) / 2)

    def encode(self) -> Tensor:
        """Unit features of the classes in every template, (templates, C, D')."""
        return torch.stack([self.tower.module(prompts) for prompts in self.prompts])

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """The logarithm of the mean of the templates' probabilities, (B, C), of unit
        features (B, D') and (templates, C, D')."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            cosines = x.to(dtype) @ text.to(dtype).transpose(1, 2)
            return torch.logsumexp(
                F.log_softmax(TEST_SCALE * cosines, dim=-1), dim=0) - math.log(len(text))


def divergence(logits: Tensor, labels: Tensor) -> Tensor:
    """KL divergence from those of the same label, (B, B), in the mean over the batch."""
    same = (labels[:, None] == labels).to(logits.dtype)
    return F.kl_div(F.log_softmax(logits, dim=1),
                    F.softmax(LABEL_SCALE * same, dim=1), reduction='batchmean')
