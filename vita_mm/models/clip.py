"""The frozen CLIP underneath: loaded from open_clip, and kept out of training.

``arch`` names an open_clip architecture (or holds its configuration), ``pretrained`` a
tag of open_clip or a local file of weights.
"""
import copy
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from mmengine.logging import print_log
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from torch import nn

from vita_mm.errors import UserError

# What a tower must leave at open_clip's default to be CLIP's own transformer: prompts
# are put between its blocks, and contexts are put into its text sequence.
PLAIN_VISION = dict(
    timm_model_name=None, attentional_pool=False, no_ln_pre=False, pool_type='tok',
    patch_dropout=0., block_type=None, qk_norm=False, scaled_cosine_attn=False,
    scale_heads=False, scale_attn_inner=False, scale_attn=False, scale_fc=False)
PLAIN_TEXT = dict(
    vocab_size=49408, hf_model_name=None, hf_tokenizer_name=None, tokenizer_mode=None,
    embed_cls=False, no_causal_mask=False, final_ln_after_pool=False, proj_bias=False,
    proj_type='linear', block_type=None, qk_norm=False, scaled_cosine_attn=False,
    scale_heads=False, scale_attn_inner=False, scale_attn=False, scale_fc=False)


class Frozen(nn.Module):
    """Holds a module out of its parent's reach, so that frozen means frozen.

    The held module moves with ``.to()`` but is no submodule: its parameters are in no
    optimizer, no DDP bucket and no checkpoint, it takes no gradient and stays in
    evaluation mode.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._held = (module.requires_grad_(False).eval(), )

    @property
    def module(self) -> nn.Module:
        return self._held[0]

    def _apply(self, fn, recurse=True):
        self.module._apply(fn)
        return super()._apply(fn, recurse)


class Trained(nn.Module):
    """Holds a copy of a part of CLIP that is trained: unlike what :class:`Frozen` holds
    it is in optimizers and checkpoints."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(True)


@dataclass(frozen=True)
class LoadedCLIP:
    """A CLIP model with its tokenizer and what identifies it.

    Attributes:
        model: open_clip's ``CLIP``, frozen, in float32 on the CPU.
        tokenizer: maps strings to token ids of shape (n, context_length).
        identity: ``arch``, ``pretrained`` and the ``sha256`` of the frozen weights.
    """
    model: open_clip.CLIP
    tokenizer: open_clip.SimpleTokenizer
    identity: dict


def misfit(config: dict) -> str | None:
    """Why an open_clip model configuration cannot carry Vita-CLIP; None if it can."""
    vision, text = config['vision_cfg'], config['text_cfg']
    if config.get('custom_text') or 'multimodal_cfg' in config:
        return 'it has a custom text tower'
    if config.get('init_logit_bias') is not None:
        return 'it is trained with a sigmoid loss'
    if not isinstance(vision.get('layers', 12), int):
        return 'its vision tower is a ResNet'
    for part, given, plain in (('vision', vision, PLAIN_VISION),
                               ('text', text, PLAIN_TEXT)):
        for key, value in plain.items():
            if given.get(key, value) != value:
                return f'its {part} tower sets {key}={given[key]!r}'
    if text.get('pool_type', 'argmax') not in ('argmax', 'eos'):
        return f"its text tower pools by {text['pool_type']!r}"
    return None


def supported_architectures() -> list[str]:
    """The names of all open_clip architectures that fit."""
    return [name for name in open_clip.list_models()
            if misfit(open_clip.get_model_config(name)) is None]


def read_architecture(arch: str | dict) -> dict:
    """The open_clip model configuration of an architecture.

    Args:
        arch: a name known to open_clip, the path of a json file with a model
            configuration, or such a configuration.
    """
    if not isinstance(arch, str):
        config = json.loads(json.dumps(arch))
    elif arch.endswith('.json'):
        try:
            config = json.loads(Path(arch).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f'cannot read the CLIP architecture {arch}: {error}')
    else:
        config = open_clip.get_model_config(arch)
    if config is not None and not {'embed_dim', 'vision_cfg', 'text_cfg'} <= set(config):
        raise UserError(f'the CLIP architecture {arch!r} must have embed_dim, vision_cfg '
                        'and text_cfg')
    if config is None:
        raise UserError(f'open_clip knows no architecture {arch!r}; those that fit are '
                        + ', '.join(supported_architectures()))
    reason = misfit(config)
    if reason is not None:
        raise UserError(
            f'the CLIP architecture {arch!r} does not fit Vita-CLIP: {reason}; those '
            'that fit are ' + ', '.join(supported_architectures()))
    return config


def find_weights(arch: str | dict, pretrained: str) -> tuple[str, bool | None]:
    """Path of the weights, and whether they demand QuickGELU (None: not known)."""
    if Path(pretrained).is_file():
        return pretrained, None
    tags = open_clip.list_pretrained_tags_by_model(arch) if isinstance(arch, str) else []
    if pretrained not in tags:
        raise UserError(
            f'pretrained={pretrained!r} is neither a file nor a tag of {arch!r}; '
            f'its tags are {", ".join(tags) or "none"}')
    tag = open_clip.get_pretrained_cfg(arch, pretrained)
    print_log(
        f'CLIP weights {arch}/{pretrained} come from the Hugging Face hub unless they '
        'are in its cache; without a network give a local file as `pretrained`',
        logger='current', level=logging.INFO)
    try:
        return open_clip.download_pretrained(tag), bool(tag.get('quick_gelu'))
    except Exception as error:  # each hub client raises its own kinds
        raise UserError(
            f'the CLIP weights {arch}/{pretrained} cannot be fetched ({error}); '
            'give a local file as `pretrained` instead') from error


def fingerprint(model: open_clip.CLIP) -> str:
    """sha256 over the names and float32 values of all weights that stay frozen.

    The same weights have the same fingerprint whatever file they came from.
    ``logit_scale`` is left out: it is trained.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name == 'logit_scale':
            continue
        digest.update(f'{name} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.detach().float().contiguous().cpu().numpy().data)
    return digest.hexdigest()


def load_clip(arch: str | dict, pretrained: str | None = None,
              quick_gelu: bool | None = None) -> LoadedCLIP:
    """Load a CLIP with a standard ViT tower from open_clip, frozen.

    Args:
        arch: see :func:`read_architecture`.
        pretrained: a tag of open_clip such as ``openai``, a local file of weights, or
            None for random weights.
        quick_gelu: whether the activation is QuickGELU. By default what the tag
            demands, else what the architecture says.

    Raises:
        UserError: if the architecture does not fit or the weights cannot be had.
    """
    config = read_architecture(arch)
    path = None
    if pretrained is not None:
        path, demanded = find_weights(arch, pretrained)
        quick_gelu = demanded if quick_gelu is None else quick_gelu
    if quick_gelu is not None:
        config['quick_gelu'] = quick_gelu
    config.pop('custom_text', None)
    try:
        model = open_clip.CLIP(**config)
    except TypeError as error:
        raise UserError(f'the CLIP architecture {arch!r} does not build: {error}'
                        ) from error
    if path is None:
        print_log(f'CLIP {arch} has random weights: pretrained is None',
                  logger='current', level=logging.WARNING)
    else:
        load_weights(model, path, arch)
    model.requires_grad_(False).eval()
    identity = dict(
        arch=arch if isinstance(arch, str) else 'custom',
        pretrained=str(pretrained), sha256=fingerprint(model))
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    return LoadedCLIP(model, tokenizer, identity)


def load_weights(model: open_clip.CLIP, path: str, arch: str | dict) -> None:
    """Fill ``model`` from a file in any of open_clip's formats; tensors only.

    Unlike ``open_clip.load_checkpoint`` it never resizes a position embedding: weights
    of another image size or context length are refused.
    """
    try:
        state = load_state_dict(path, weights_only=True)
        state = convert_state_dict(model, state)
        if 'logit_scale' in state:
            state['logit_scale'] = state['logit_scale'].reshape(model.logit_scale.shape)
        model.load_state_dict(state)
    except Exception as error:  # wrong keys, wrong shapes, not a checkpoint, code inside
        reason = ' '.join(str(error).split())[:300]
        if 'TorchScript' in reason:
            reason = ('it is a TorchScript archive, which holds code; save its weights '
                      'with torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)')
        name = arch if isinstance(arch, str) else 'the given architecture'
        raise UserError(f'{path} is not loaded as CLIP weights for {name}: {reason}'
                        ) from error
