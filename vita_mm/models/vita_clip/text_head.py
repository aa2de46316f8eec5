"""Vita-CLIP's text side: learned contexts before the names of the classes.

Wasim et al., "Vita-CLIP", CVPR 2023, section 3.2.2.
"""
from mmaction.registry import MODELS

from vita_mm.models.common.clip import LoadedCLIP
from vita_mm.models.common.text_head import CLIPTextHead


@MODELS.register_module()
class VitaCLIPTextHead(CLIPTextHead):
    """Classifies clip features by their cosine with the prompts of the classes.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        classes: names in the order of their ids, see :func:`read_classes`.
        context: ``'csc'``, ``'uc'`` or ``'none'``, see :class:`CLIPTextHead`.
        num_context: number of context vectors, M_c of the paper.
        **kwargs: of :class:`CLIPTextHead`.
    """
    # Its zero-shot protocol has manual prompts in the place of what was learned.
    of_evaluation = (*CLIPTextHead.of_evaluation, 'context')

    def __init__(self, clip: LoadedCLIP | dict, classes: str | list[str],
                 context: str = 'csc', num_context: int = 8, **kwargs) -> None:
        super().__init__(clip, classes, context=context, num_context=num_context,
                         **kwargs)
