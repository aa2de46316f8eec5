"""Checkpoints of the code that the authors of X-CLIP, ActionCLIP and EVL released.

Reading one is total: every key is used, or is of the frozen CLIP and equal to it;
anything else is refused. The commits that were read are named in the systems' modules.
"""
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from vita_mm.errors import UserError
from vita_mm.io.checkpoints import read_tensors
from vita_mm.models import ActionCLIPTextHead, CLIPRecognizer, EVLHead, XCLIPTextHead

# Ours by theirs; a group is the number of a layer.
XCLIP = (
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
     lambda found: 'prompts_generator.decoder.{}.cross_attn.{}_proj.weight'.format(
         found[1], found[2][0])),
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
ACTIONCLIP = (
    (r'backbone\.tower\.module', 'model.visual'),
    (r'cls_head\.tower\.module\.(.*)', r'model.\1'),
    (r'cls_head\.logit_scale', 'model.logit_scale'),
    (r'backbone\.temporal\.positions', 'fusion.frame_position_embeddings.weight'),
    (r'backbone\.temporal\.layers', 'fusion.transformer.resblocks'))
EVL = (
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


@dataclass(frozen=True)
class Format:
    """How the checkpoints of a system look.

    Attributes:
        system: its name.
        head: of our models of it.
        config: where a model of it is.
        names: of ours, and theirs.
    """
    system: str
    head: type
    config: str
    names: tuple


FORMATS = (Format('X-CLIP', XCLIPTextHead, 'configs/xclip/k400.py', XCLIP),
           Format('ActionCLIP', ActionCLIPTextHead, 'configs/actionclip/k400.py',
                  ACTIONCLIP),
           Format('EVL', EVLHead, 'configs/evl/k400.py', EVL))
# A key that the checkpoints of each have.
SIGNS = ('prompts_generator.alpha', 'fusion.frame_position_embeddings.weight',
         'decoder.cls_token')


def read_comparator(path: str) -> tuple[Format, dict[str, Tensor]] | None:
    """Whose checkpoint a file is, and its tensors in float32; None if of neither."""
    content = read_tensors(path)
    if 'fusion_model_state_dict' in content:
        parts = {'model.': content.get('model_state_dict'),
                 'fusion.': content['fusion_model_state_dict']}
    else:
        parts = {'': content.get('model')}
    if not all(isinstance(part, dict) for part in parts.values()):
        return None
    # Of data-parallel wrappers.
    tensors = {prefix + key.removeprefix('module.'): value
               for prefix, part in parts.items() for key, value in part.items()}
    for layout, sign in zip(FORMATS, SIGNS):
        if sign in tensors and all(isinstance(value, Tensor)
                                   for value in tensors.values()):
            return layout, {key: value.float() for key, value in tensors.items()}
    return None


def convert(model: CLIPRecognizer, layout: Format, tensors: dict[str, Tensor], path: str
            ) -> dict[str, Tensor]:
    """The state dict of a model of ours with released tensors.

    Raises:
        UserError: if the model is of another system or shape, a tensor is missing or
            not understood, or the frozen CLIP differs.
    """
    if not isinstance(model.cls_head, layout.head):
        raise UserError(f'{path} is of {layout.system}: give the config of such a '
                        f'model (--config), as {layout.config}')
    left = dict(tensors)
    state = {}
    for key, wanted in model.state_dict().items():
        if key == '_extra_state':
            state[key] = wanted
            continue
        theirs = released_name(key, layout)
        names = [theirs.format(part) for part in 'qkv'] if '{}' in theirs else [theirs]
        missing = [name for name in names if name not in left]
        if missing:
            raise UserError(f'{path} lacks {missing[0]}, which {layout.system} has '
                            'with this config: does the config fit it?')
        parts = [left.pop(name) for name in names]
        value = torch.cat(parts) if len(parts) > 1 else parts[0]
        if value.shape != wanted.shape and value.shape == (1, *wanted.shape):
            value = value[0]
        if value.shape != wanted.shape:
            raise UserError(f'{names[0]} in {path} has shape {tuple(value.shape)}, not '
                            f'{tuple(wanted.shape)} as with this config: does it fit?')
        state[key] = value
    check_frozen(model, left, path)
    return state


def released_name(key: str, layout: Format) -> str:
    for ours, theirs in layout.names:
        found = re.match(ours, key)
        if found:
            return re.sub(ours, theirs, key, count=1)
    raise UserError(f'{layout.system} as released has nothing like {key}')


def check_frozen(model: CLIPRecognizer, left: dict[str, Tensor], path: str) -> None:
    """Refuse what is not of the frozen CLIP, or is not equal to it in half precision,
    which is that of CLIP's own weights."""
    clip = model.cls_head.clip.model.state_dict()
    unknown = sorted(left.keys() - clip.keys())
    if unknown:
        raise UserError(f'{path} has keys that are not understood: '
                        + ', '.join(unknown[:8]))
    for key, value in left.items():
        if value.shape != clip[key].shape or not torch.equal(
                value.half(), clip[key].half()):
            raise UserError(f'{path} was trained on another CLIP than the one given: '
                            f'{key} differs')
