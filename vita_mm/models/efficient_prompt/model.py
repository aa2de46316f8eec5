"""A5 and A6 (B2 and B6 on SSv2): Ju et al., "Prompting Visual-Language Models for
Efficient Video Understanding", ECCV 2022.

Followed as released (ju-chen/Efficient-Prompt, commit 1f69a18): CLIP is frozen; its
frame features pass a :class:`TemporalTransformer` without residual, started at torch's
defaults; the class names stand between learned vectors, one for each place of a prompt,
the same for all classes; the temperature is fixed. Its vision side is
:class:`CLIPVisionTransformer`. The released code trains on features computed ahead, with
up to 400 classes in a batch: all, on the datasets here. Unknown: which of its settings
are A5 and A6; the published parameter counts fit one and two layers.
"""
from mmaction.registry import MODELS

from vita_mm.models.common.clip import LoadedCLIP
from vita_mm.models.common.text_head import CLIPTextHead


@MODELS.register_module()
class EfficientPromptTextHead(CLIPTextHead):
    """Classifies by class names between learned vectors.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        classes: names in the order of their ids, see :func:`read_classes`.
        num_context: how many vectors stand before and behind the name together.
        temperature: what cosines are divided by.
        **kwargs: of :class:`CLIPTextHead`.
    """

    def __init__(self, clip: LoadedCLIP | dict, classes: str | list[str],
                 num_context: int = 32, temperature: float = 0.07, **kwargs) -> None:
        super().__init__(
            clip, classes, context='uc', num_context=num_context,
            context_position='middle', context_std=0.01, by_position=True,
            name_ending='', temperature=temperature, **kwargs)
