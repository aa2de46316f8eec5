"""Checkpoints of X-CLIP as its authors release them: frozen CLIP included."""
from vita_mm.models.common.conversion import NamedTensors

# Ours by theirs; a group is the number of a layer.
NAMES = (
    (r'backbone\.tower\.module\.(.*)', r'visual.\1'),
    (r'backbone\.prompts\.(\d+)\.projection',
     r'visual.transformer.resblocks.\1.message_fc'),
    (r'backbone\.prompts\.(\d+)\.summary\.norm',
     r'visual.transformer.resblocks.\1.message_ln'),
    (r'backbone\.prompts\.(\d+)\.summary\.attention',
     r'visual.transformer.resblocks.\1.message_attn'),
    (r'backbone\.temporal\.positions', 'mit.positional_embedding'),
    (r'backbone\.temporal\.layers', 'mit.resblocks'),
    (r'backbone\.patch_norm', 'prompts_visual_ln'),
    (r'backbone\.patch_proj', 'prompts_visual_proj'),
    (r'cls_head\.video_prompts\.layers\.(\d+)\.(query|key|value)\.weight',
     lambda found: f'prompts_generator.decoder.{found[1]}.cross_attn.{found[2][0]}_proj'
                   '.weight'),
    (r'cls_head\.video_prompts\.layers\.(\d+)\.out',
     r'prompts_generator.decoder.\1.cross_attn.proj'),
    (r'cls_head\.video_prompts\.layers\.(\d+)\.norm_1',
     r'prompts_generator.decoder.\1.norm1'),
    (r'cls_head\.video_prompts\.layers\.(\d+)\.norm_2',
     r'prompts_generator.decoder.\1.norm3'),
    (r'cls_head\.video_prompts\.layers\.(\d+)\.mlp\.0',
     r'prompts_generator.decoder.\1.mlp.0'),
    (r'cls_head\.video_prompts\.layers\.(\d+)\.mlp\.2',
     r'prompts_generator.decoder.\1.mlp.3'),
    (r'cls_head\.video_prompts', 'prompts_generator'),
    (r'cls_head\.logit_scale', 'logit_scale'))

FORMAT = NamedTensors(
    'X-CLIP', sign='prompts_generator.alpha', names=NAMES, frozen='',
    leading=('mit.positional_embedding', ))
