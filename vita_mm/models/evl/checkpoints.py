"""Checkpoints of EVL as its authors release them: without the frozen CLIP."""
from vita_mm.models.common.conversion import NamedTensors

# Ours by theirs; a group is the number of a layer.
NAMES = (
    (r'backbone\.query', 'decoder.cls_token'),
    (r'backbone\.motion\.(\d+)\.conv', r'decoder.temporal_conv.\1'),
    (r'backbone\.motion\.(\d+)\.positions', r'decoder.temporal_pos_embed.\1'),
    (r'backbone\.motion\.(\d+)\.from_before', r'decoder.cross_attention.\1.w1'),
    (r'backbone\.motion\.(\d+)\.from_behind', r'decoder.cross_attention.\1.w2'),
    (r'backbone\.decoder\.(\d+)\.attention\.out_proj',
     r'decoder.decoder_layers.\1.attn.out_proj'),
    (r'backbone\.decoder\.(\d+)\.attention\.in_proj_(weight|bias)',
     r'decoder.decoder_layers.\1.attn.{}_proj.\2'),
    (r'backbone\.decoder\.(\d+)\.norm_query', r'decoder.decoder_layers.\1.norm1'),
    (r'backbone\.decoder\.(\d+)\.norm_mlp', r'decoder.decoder_layers.\1.norm2'),
    (r'backbone\.decoder\.(\d+)\.norm_tokens', r'decoder.decoder_layers.\1.norm3'),
    (r'backbone\.decoder\.(\d+)\.mlp\.0', r'decoder.decoder_layers.\1.mlp.fc1'),
    (r'backbone\.decoder\.(\d+)\.mlp\.3', r'decoder.decoder_layers.\1.mlp.fc2'),
    (r'cls_head\.classifier\.(0|2)', r'proj.\1'))

FORMAT = NamedTensors(
    'EVL', sign='decoder.cls_token', names=NAMES, wrapped=('', ))
