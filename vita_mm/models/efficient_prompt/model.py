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

from vita_mm.errors import UserError
from vita_mm.models.common.clip import LoadedCLIP
from vita_mm.models.common.text_head import CLIPTextHead, split_context


@MODELS.register_module()
class EfficientPromptTextHead(CLIPTextHead):
    """Classifies by class names between learned vectors.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        classes: names in the order of their ids, see :func:`read_classes`.
        num_context: how many vectors stand before and behind the name together, half of
            them on each side.
        prefix, postfix: how many stand before it and how many behind it, where that is
            not half; 0 for none.
        temperature: what cosines are divided by.
        **kwargs: of :class:`CLIPTextHead`.
    """

    def __init__(self, clip: LoadedCLIP | dict, classes: str | list[str],
                 num_context: int = 32, prefix: int | None = None,
                 postfix: int | None = None, temperature: float = 0.07, **kwargs) -> None:
        before, behind = split_context(num_context, 'middle')
        super().__init__(
            clip, classes, context='uc', by_position=True, context_places=(
                check_count('prefix', before if prefix is None else prefix),
                check_count('postfix', behind if postfix is None else postfix)),
            context_std=0.01, name_ending='', temperature=temperature, **kwargs)


def check_count(name: str, value: int) -> int:
    """Raises UserError unless it is a number of vectors."""
    if type(value) is not int or value < 0:
        raise UserError(f'{name} must be an integer of at least 0, not {value!r}')
    return value
