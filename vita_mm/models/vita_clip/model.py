"""Vita-CLIP: Wasim et al., "Vita-CLIP: Video and text adaptive CLIP via Multimodal
Prompting", CVPR 2023."""
from mmaction.registry import MODELS

from vita_mm.models.common.recognizer import CLIPRecognizer


@MODELS.register_module()
class VitaCLIP(CLIPRecognizer):
    """:class:`VitaCLIPVisionTransformer` and :class:`VitaCLIPTextHead` on one CLIP."""
