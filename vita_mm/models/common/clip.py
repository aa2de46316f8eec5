"""The frozen CLIP underneath: loaded from open_clip, and kept out of training.

``arch`` names an open_clip architecture (or holds its configuration), ``pretrained`` a
tag of open_clip or a local file of weights, in open_clip's formats or OpenAI's own. Local
files are looked up in the current folder, then in the project's.
"""
import copy
import hashlib
import json
import logging
import os
import socket
import threading
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import open_clip
from huggingface_hub import constants, try_to_load_from_cache
from mmengine.logging import print_log
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from open_clip.transformer import VisionTransformer
from torch import nn

from vita_mm.errors import UserError
from vita_mm.io.checkpoints import check_size
from vita_mm.io.files import locate

from .torchscript import is_torchscript, read_torchscript

# What a tower must leave at open_clip's default to be CLIP's own transformer: prompts
# are put between its blocks, and contexts are put into its text sequence.
PLAIN_VISION = dict(
    timm_model_name=None, attentional_pool=False, no_ln_pre=False, pool_type='tok',
    patch_dropout=0., block_type=None, qk_norm=False, scaled_cosine_attn=False,
    scale_heads=False, scale_attn_inner=False, scale_attn=False, scale_fc=False)
PLAIN_TEXT = dict(
    vocab_size=49408, hf_model_name=None, hf_tokenizer_name=None, tokenizer_mode=None,
    tokenizer_kwargs=None, embed_cls=False, no_causal_mask=False,
    final_ln_after_pool=False, proj_bias=False, proj_type='linear', block_type=None,
    qk_norm=False, scaled_cosine_attn=False, scale_heads=False, scale_attn_inner=False,
    scale_attn=False, scale_fc=False)

# In OpenAI's archives beside the weights: integers about the model, and masks.
OPENAI_SIZES = ('input_resolution', 'context_length', 'vocab_size')
PATIENCE = 5  # seconds for a connection to where the weights are

Held = TypeVar('Held', bound=nn.Module)


class Frozen(nn.Module, Generic[Held]):
    """Holds a module out of its parent's reach, so that frozen means frozen.

    The held module moves with ``.to()`` but is no submodule: its parameters are in no
    optimizer, no DDP bucket and no checkpoint, it takes no gradient and stays in
    evaluation mode.
    """

    def __init__(self, module: Held) -> None:
        super().__init__()
        self._held = (module.requires_grad_(False).eval(), )

    @property
    def module(self) -> Held:
        return self._held[0]

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def _apply(self, fn, recurse=True):
        self.module._apply(fn)
        return super()._apply(fn, recurse)


class Trained(nn.Module, Generic[Held]):
    """Holds a copy of a part of CLIP that is trained: unlike what :class:`Frozen` holds
    it is in optimizers and checkpoints."""

    module: Held

    def __init__(self, module: Held) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(True)


@dataclass(frozen=True)
class LoadedCLIP:
    """A CLIP model with its tokenizer and what identifies it.

    Attributes:
        model: open_clip's ``CLIP``, frozen, in float32 on the CPU.
        tokenizer: maps strings to token ids of shape (n, context_length).
        identity: ``arch``, ``pretrained``, the ``sha256`` of the frozen weights, and
            ``settings``, what else decides the outputs, see :func:`find_settings`.
    """
    model: open_clip.CLIP
    tokenizer: open_clip.SimpleTokenizer
    identity: dict

    @property
    def visual(self) -> VisionTransformer:
        """The vision tower."""
        assert isinstance(self.model.visual, VisionTransformer)  # else a misfit
        return self.model.visual

    @property
    def token_embedding(self) -> nn.Embedding:
        assert isinstance(self.model.token_embedding, nn.Embedding)
        return self.model.token_embedding


def misfit(config: dict) -> str | None:
    """Why an open_clip model configuration cannot be prompted; None if it can."""
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
    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    return [name for name, config in configs.items()
            if config is not None and misfit(config) is None]


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
            config = json.loads(Path(locate(arch)).read_text(encoding='utf-8-sig'))
        except (OSError, ValueError) as error:
            raise UserError(f'cannot read the CLIP architecture {arch}: {error}'
                            ) from error
    else:
        config = open_clip.get_model_config(arch)
    if config is not None and not {'embed_dim', 'vision_cfg', 'text_cfg'} <= set(config):
        raise UserError(f'the CLIP architecture {arch!r} must have embed_dim, vision_cfg '
                        'and text_cfg')
    if config is not None and not all(isinstance(config[part], dict)
                                      for part in ('vision_cfg', 'text_cfg')):
        raise UserError(f'the CLIP architecture {arch!r} does not build: vision_cfg and '
                        'text_cfg are settings by name')
    if config is None:
        raise UserError(f'open_clip knows no architecture {arch!r}; those that fit are '
                        + ', '.join(supported_architectures()))
    reason = misfit(config)
    if reason is not None:
        raise UserError(
            f'the CLIP architecture {arch!r} does not fit: {reason}; those '
            'that fit are ' + ', '.join(supported_architectures()))
    return config


def find_weights(arch: str | dict, pretrained: str) -> tuple[str, bool | None]:
    """Path of the weights, and whether they demand QuickGELU (None: not known)."""
    path = locate(pretrained)
    if os.path.isfile(path):
        return path, None
    tags = pretrained_tags(arch)
    if pretrained not in tags:
        raise UserError(
            f'pretrained={pretrained!r} is neither a file nor a tag of {arch!r}; '
            f'its tags are {", ".join(tags) or "none"}')
    assert isinstance(arch, str)  # else there are no tags
    tag = open_clip.get_pretrained_cfg(arch, pretrained)
    try:
        return fetch(tag, f'{arch}/{pretrained}'), bool(tag.get('quick_gelu'))
    except Exception as error:  # each hub client raises its own kinds
        raise UserError(
            f'the CLIP weights {arch}/{pretrained} cannot be fetched ({error}): '
            'give a local file of them') from error


def pretrained_tags(arch: str | dict) -> list[str]:
    return open_clip.list_pretrained_tags_by_model(arch) if isinstance(arch, str) else []


def demands_quick_gelu(arch: str, pretrained: str) -> bool | None:
    """What the names of an architecture and of its weights say; None: nothing."""
    if arch.endswith('-quickgelu'):
        return True
    if pretrained not in pretrained_tags(arch):
        return None
    return bool(open_clip.get_pretrained_cfg(arch, pretrained).get('quick_gelu'))


def fetch(tag: dict, name: str) -> str:
    """The file of a tag of open_clip: from the cache, else from the network.

    Raises:
        Exception: if it cannot be had; within seconds if there is no network, where the
            clients try again for a minute.
    """
    cached = find_cached(tag)
    if cached is not None:
        return cached
    print_log(f'CLIP weights {name} are fetched from the network, as no cache has them; '
              'without one give a local file as `pretrained`', 'current', logging.INFO)
    if tag.get('hf_hub') and constants.HF_HUB_OFFLINE:
        raise OSError('HF_HUB_OFFLINE is set, and they are not in the cache')
    check_network(constants.ENDPOINT if tag.get('hf_hub') else tag['url'])
    return open_clip.download_pretrained(tag)


def find_cached(tag: dict) -> str | None:
    """The file where open_clip's own downloads put it, without asking the network."""
    if not tag.get('hf_hub'):
        path = os.path.expanduser(f'~/.cache/clip/{os.path.basename(tag["url"])}')
        # open_clip compares its digest.
        return open_clip.download_pretrained(tag) if os.path.isfile(path) else None
    repository, name = os.path.split(tag['hf_hub'])
    name = name or HF_WEIGHTS_NAME
    safe = HF_SAFE_WEIGHTS_NAME if name == HF_WEIGHTS_NAME else \
        f'{os.path.splitext(name)[0]}.safetensors'
    for file in (safe, name):
        path = try_to_load_from_cache(repository, file)
        if isinstance(path, str):
            return path
    return None


def check_network(url: str) -> None:
    """Raises OSError unless the host of an address, or the proxy before it, takes a
    connection within ``PATIENCE``."""
    place = urllib.parse.urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(place.scheme) or proxies.get('all')
    if proxy and not urllib.request.proxy_bypass(place.hostname or ''):
        place = urllib.parse.urlsplit(proxy if '://' in proxy else f'http://{proxy}')
    port = place.port or (80 if place.scheme == 'http' else 443)
    outcome: list[OSError | None] = [OSError(f'no answer within {PATIENCE} s')]

    def connect() -> None:
        try:
            socket.create_connection((place.hostname, port), PATIENCE).close()
            outcome[0] = None
        except OSError as error:
            outcome[0] = error

    # A name server that is away can take longer than any timeout of a socket.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if outcome[0] is not None:
        raise OSError(f'{place.hostname}:{port} is not reached: {outcome[0]}')


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


def find_settings(model: open_clip.CLIP) -> str:
    """What decides the outputs of a CLIP beside its weights, in words.

    The same tensors are another model with another activation or number of heads.
    """
    found = []
    visual: Any = model.visual  # open_clip declares no types of its parts
    text: Any = model
    for name, transformer, norm in (
            ('vision', visual.transformer, visual.ln_post),
            ('text', text.transformer, text.ln_final)):
        heads, activation = 0, None
        for block in transformer.resblocks:
            heads, activation = block.attn.num_heads, describe_activation(block.mlp.gelu)
        found.append(f'{name}: {heads} heads, {activation}, eps {norm.eps:g}')
    pool = model.text_pool_type
    return '; '.join(found) + (f', pooled at token {model.text_eos_id}'
                               if pool == 'eos' else f', pooled by {pool}')


def describe_activation(module: nn.Module) -> str:
    kind = getattr(module, 'approximate', 'none')
    return type(module).__name__ + ('' if kind == 'none' else f' ({kind})')


def identify(model: open_clip.CLIP, arch: str | dict, pretrained: str | None) -> dict:
    """The ``identity`` of a :class:`LoadedCLIP`."""
    return dict(arch=arch if isinstance(arch, str) else 'custom',
                pretrained=str(pretrained), sha256=fingerprint(model),
                settings=find_settings(model))


def load_clip(arch: str | dict, pretrained: str | None = None,
              quick_gelu: bool | None = None) -> LoadedCLIP:
    """Load a CLIP with a standard ViT tower from open_clip, frozen.

    Args:
        arch: see :func:`read_architecture`.
        pretrained: a tag of open_clip such as ``openai``, a local file of weights, or
            None for random weights.
        quick_gelu: whether the activation is QuickGELU. By default what the tag
            demands, or an archive of OpenAI's, else what the architecture says.

    Raises:
        UserError: if the architecture does not fit or the weights cannot be had.
    """
    config = read_architecture(arch)
    state = None
    if pretrained is not None:
        path, demanded = find_weights(arch, pretrained)
        state, of_openai = read_weights(path, arch)
        if of_openai and quick_gelu is None and demanded is None:
            print_log(f"{path} is an archive of OpenAI's CLIP: its activation is "
                      'QuickGELU', 'current', logging.INFO)
            demanded = True
        quick_gelu = demanded if quick_gelu is None else quick_gelu
    if quick_gelu is not None:
        config['quick_gelu'] = quick_gelu
    config.pop('custom_text', None)
    try:
        model = open_clip.CLIP(**config)
    except TypeError as error:
        raise UserError(f'the CLIP architecture {arch!r} does not build: {error}'
                        ) from error
    if state is None:
        print_log(f'CLIP {arch} has random weights: pretrained is None',
                  logger='current', level=logging.WARNING)
    else:
        load_weights(model, state, path, arch)
    model.requires_grad_(False).eval()
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    return LoadedCLIP(model, tokenizer, identify(model, arch, pretrained))


def read_weights(path: str, arch: str | dict) -> tuple[dict, bool]:
    """The tensors of a file, and whether it is an archive of OpenAI's; no code runs.

    Raises:
        UserError: if it is no file of tensors.
    """
    try:
        if str(path).endswith('.safetensors'):
            return cast(dict, load_state_dict(path)), False
        check_size(Path(path))
        if not is_torchscript(path):
            return cast(dict, load_state_dict(path, weights_only=True)), False
        state = {name: tensor for name, tensor in read_torchscript(path).items()
                 if not name.endswith('attn_mask')}
    except UserError:
        raise
    except Exception as error:  # not a checkpoint, damaged, code inside
        raise refusal(path, arch, error) from error
    return ({name: tensor for name, tensor in state.items() if name not in OPENAI_SIZES},
            state.keys() >= set(OPENAI_SIZES))


def load_weights(model: open_clip.CLIP, state: dict, path: str, arch: str | dict) -> None:
    """Fill ``model`` with tensors in any of open_clip's formats.

    Unlike ``open_clip.load_checkpoint`` it never resizes a position embedding: weights
    of another image size or context length are refused.
    """
    try:
        state = convert_state_dict(model, state)
        if 'logit_scale' in state:
            state['logit_scale'] = state['logit_scale'].reshape(model.logit_scale.shape)
        model.load_state_dict(state)
    except Exception as error:  # wrong keys, wrong shapes
        raise refusal(path, arch, error) from error
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise refusal(path, arch, f'{name} has values that are not finite')


def refusal(path: str, arch: str | dict, reason: Exception | str) -> UserError:
    name = arch if isinstance(arch, str) else 'the given architecture'
    return UserError(f'{path} is not loaded as CLIP weights for {name}: '
                     + ' '.join(str(reason).split())[:300])
