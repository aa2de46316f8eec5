"""Checkpoints of ViFi-CLIP as its authors release them.

The token embedding is not trained and not in them: the prompts of the classes are, with
their tokens embedded.
"""
import torch
from torch import Tensor

from vita_mm.models.common.conversion import NamedTensors
from vita_mm.models.common.recognizer import CLIPRecognizer

NAMES = (
    (r'backbone\.tower\.module', 'image_encoder'),
    (r'cls_head\.tower\.module', 'text_encoder'),
    (r'cls_head\.logit_scale', 'logit_scale'))


def embedded_prompts(model: CLIPRecognizer) -> dict[str, Tensor]:
    """The tokens of the classes' prompts, embedded and filled up: (C, L, W)."""
    clip, sequences = model.cls_head.clip.model, model.cls_head.sequences[0]
    ids = torch.zeros(len(sequences), clip.context_length, dtype=torch.long)
    for row, sequence in zip(ids, sequences):
        row[:len(sequence)] = torch.tensor(sequence)
    return {'prompt_learner.complete_text_embeddings': clip.token_embedding(ids)}


FORMAT = NamedTensors(
    'ViFi-CLIP', sign='prompt_learner.complete_text_embeddings', names=NAMES,
    wrapped=('', ), untrained=('cls_head.tower.module.token_embedding.weight', ),
    computed=embedded_prompts)
