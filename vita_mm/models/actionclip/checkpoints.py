"""Checkpoints of ActionCLIP as its authors release them: CLIP, in half precision, and
what joins the frames in entries of their own."""
from vita_mm.models.common.conversion import NamedTensors

# Ours by theirs; a group is the number of a layer.
NAMES = (
    (r'backbone\.tower\.module', 'model.visual'),
    (r'cls_head\.tower\.module\.(.*)', r'model.\1'),
    (r'cls_head\.logit_scale', 'model.logit_scale'),
    (r'backbone\.temporal\.positions', 'fusion.frame_position_embeddings.weight'),
    (r'backbone\.temporal\.layers', 'fusion.transformer.resblocks'))

FORMAT = NamedTensors(
    'ActionCLIP', sign='fusion.frame_position_embeddings.weight', names=NAMES,
    entries={'model.': 'model_state_dict', 'fusion.': 'fusion_model_state_dict'},
    wrapped=('fusion.', ), frozen='model.')
