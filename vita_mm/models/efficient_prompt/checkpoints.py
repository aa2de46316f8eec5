"""Checkpoints of A5 and A6 as their authors release them: frozen CLIP included."""
from vita_mm.models.common.conversion import NamedTensors

NAMES = (
    (r'cls_head\.context\.vectors', 'embedding.weight'),
    (r'backbone\.temporal\.positions', 'temporalEmbedding.weight'),
    (r'backbone\.temporal\.layers', 'temporalModelling.resblocks'))
FORMAT = NamedTensors(
    'A5/A6', sign='temporalEmbedding.weight', names=NAMES, entries={'': 'state_dict'},
    frozen='clipmodel.')
