"""Checkpoints of the code that the paper's authors released: reading and writing.

They hold ``{'model': {...}}`` with keys prefixed ``module.``: CLIP's own weights under
the released names, and what was trained. Reading one is total: every key is used, or
checked and set aside; anything else is refused.
"""
from collections.abc import Mapping, Set
from dataclasses import dataclass

import open_clip
import torch
from scipy.stats import kstest
from torch import Tensor

from vita_mm.errors import UserError
from vita_mm.io.checkpoints import read_tensors
from vita_mm.labels.class_names import packaged_classes, read_classes
from vita_mm.models.common.clip import LoadedCLIP, identify
from vita_mm.models.common.conversion import has_quick_gelu
from vita_mm.models.common.recognizer import CLIPRecognizer, pack_identity

from .text_head import VitaCLIPTextHead

HEAD_WIDTH = 64  # of every CLIP that was released; the file does not say


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A released checkpoint in our terms.

    Attributes:
        clip: the CLIP inside the file.
        clip_config: its open_clip model configuration.
        trained: the trained tensors, in the names of our recognizer's state dict.
        backbone: options of ``VitaCLIPVisionTransformer`` read off the tensors.
        cls_head: options of ``VitaCLIPTextHead`` read off the tensors.
    """
    clip: LoadedCLIP
    clip_config: dict
    trained: dict[str, Tensor]
    backbone: dict
    cls_head: dict

    def state_dict(self) -> dict:
        """A state dict that our recognizer loads."""
        class_specific = self.cls_head['context'] == 'csc'
        return dict(self.trained, _extra_state=pack_identity(
            self.clip.identity, self.cls_head['classes'] if class_specific else None))


@dataclass(frozen=True)
class Match:
    """One tensor of ours and the released ones, three where q, k and v are packed."""
    ours: str
    released: tuple[str, ...]


def one(ours: str, released: str) -> Match:
    return Match(ours, (released, ))


def linear(ours: str, released: str) -> list[Match]:
    return [one(f'{ours}.{kind}', f'{released}.{kind}') for kind in ('weight', 'bias')]


def attention(ours: str, released: str) -> list[Match]:
    packed = [Match(f'{ours}.in_proj_{kind}',
                    tuple(f'{released}.{name}_proj.{kind}' for name in 'qkv'))
              for kind in ('weight', 'bias')]
    return packed + linear(f'{ours}.out_proj', f'{released}.out_proj')


def trained_matches(num_layers: int) -> list[Match]:
    """What is trained."""
    matches = [one('backbone.time_embedding', 'visual.time_embed'),
               one('cls_head.context.vectors', 'prompt_learner.ctx'),
               one('cls_head.logit_scale', 'logit_scale')]
    for layer in range(num_layers):
        ours, released = f'backbone.prompts.{layer}', f'visual.blocks.{layer}'
        matches += [one(f'{ours}.global_prompts.vectors', f'{released}.global_prompts'),
                    one(f'{ours}.local.vectors', f'{released}.local_prompts'),
                    *linear(f'{ours}.projection', f'{released}.cls_proj'),
                    *linear(f'{ours}.summary.norm', f'{released}.summary_ln'),
                    *attention(f'{ours}.summary.attention',
                               f'{released}.summary_attn_layer')]
    return matches


def vision_matches(num_layers: int) -> list[Match]:
    """CLIP's vision tower, in open_clip's names."""
    matches = [one('visual.class_embedding', 'visual.cls_token'),
               one('visual.positional_embedding', 'visual.pos_embed'),
               one('visual.conv1.weight', 'visual.patch_embed.proj.weight'),
               one('visual.proj', 'visual.proj'),
               *linear('visual.ln_pre', 'visual.ln_pre'),
               *linear('visual.ln_post', 'visual.ln_post')]
    for layer in range(num_layers):
        ours = f'visual.transformer.resblocks.{layer}'
        released = f'visual.blocks.{layer}'
        matches += [*attention(f'{ours}.attn', f'{released}.attn'),
                    *linear(f'{ours}.mlp.c_fc', f'{released}.mlp.fc1'),
                    *linear(f'{ours}.mlp.c_proj', f'{released}.mlp.fc2'),
                    *linear(f'{ours}.ln_1', f'{released}.norm1'),
                    *linear(f'{ours}.ln_2', f'{released}.norm2')]
    return matches


def from_released(released: dict[str, Tensor], matches: list[Match]
                  ) -> dict[str, Tensor]:
    """Our tensors; those that the checkpoint lacks are left out. Takes what it uses out
    of ``released``."""
    ours = {}
    for match in matches:
        parts = [released.pop(key) for key in match.released if key in released]
        if 0 < len(parts) < len(match.released):
            raise UserError('the checkpoint has some but not all of '
                            + ', '.join(match.released))
        if parts:
            ours[match.ours] = torch.cat(parts) if len(parts) > 1 else parts[0]
    return ours


def to_released(ours: dict[str, Tensor], matches: list[Match]) -> dict[str, Tensor]:
    """The inverse of :func:`from_released`, for the tensors that are there."""
    released = {}
    for match in matches:
        if match.ours in ours:
            whole = ours[match.ours]
            packed = len(match.released) > 1
            released.update(zip(match.released, whole.chunk(3) if packed else [whole]))
    return released


def released_checkpoint(model: CLIPRecognizer) -> dict:
    """A checkpoint as the released code saves them, of a model of ours.

    What :func:`read_released` read comes back bit for bit, but for a bias of the patch
    embedding: it was made part of the position embedding, and stays there, so that the
    function is the same.

    Raises:
        UserError: if the released code has no such model.
    """
    clip = model.cls_head.clip.model.state_dict()
    trained = {key: value for key, value in model.state_dict().items()
               if key != '_extra_state'}
    num_layers = len(model.backbone.prompts)
    reason = misfit(model, clip.keys(), trained.keys())
    if reason is not None:
        raise UserError(f'the released code has no such model: {reason}')
    released = to_released(clip, vision_matches(num_layers))
    released |= {f'textual.{key}': value for key, value in clip.items()
                 if not key.startswith('visual.') and key != 'logit_scale'}
    width = len(clip['visual.conv1.weight'])
    released['visual.patch_embed.proj.bias'] = torch.zeros(width)
    prompts = to_released(trained, trained_matches(num_layers))
    released |= join_layers(prompts, num_layers)
    released |= prompt_tokens(model.cls_head)
    return dict(model={f'module.{key}': value.clone().contiguous()
                       for key, value in released.items()})


def misfit(model: CLIPRecognizer, clip: Set[str], trained: Set[str]) -> str | None:
    """Why the released code would compute something else, or not load the tensors;
    None if it would not.

    Args:
        model: ours.
        clip, trained: the names of all tensors of its CLIP, and of its own.
    """
    num_layers = len(model.backbone.prompts)
    if not has_quick_gelu(model):
        return 'its CLIP has GELU, the released code QuickGELU'
    if model.backbone.time_embedding is None:
        return 'it has no time embedding'
    if any(prompts.local is not None and prompts.local_condition != 'projection'
           for prompts in model.backbone.prompts):
        return "its local prompts have local_condition='cls'"
    if model.cls_head.context is None:
        return 'it has manual prompts'
    homeless = {name for name in clip if name.startswith('visual.') or '.ls_' in name}
    homeless -= {match.ours for match in vision_matches(num_layers)}
    homeless |= trained - {match.ours for match in trained_matches(num_layers)}
    return 'it has no place for ' + ', '.join(sorted(homeless)) if homeless else None


def prompt_tokens(head: VitaCLIPTextHead) -> dict[str, Tensor]:
    """Embeddings of SOT and of what follows the context up to the full length."""
    sequences, embedding = head.sequences[0], head.clip.token_embedding.weight
    num_context = sequences[0].count(None)
    ids = torch.zeros(len(sequences), head.clip.model.context_length, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        # In the released file the context always stands before the name.
        start, *tokens = [token for token in sequence if token is not None]
        ids[row, 0] = start
        ids[row, 1 + num_context:1 + num_context + len(tokens)] = torch.tensor(tokens)
    embedded = embedding[ids]
    return {'prompt_learner.token_prefix': embedded[:, :1],
            'prompt_learner.token_suffix': embedded[:, 1 + num_context:]}


def join_layers(released: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """The inverse of :func:`split_layers`."""
    whole = {key: value[None] if key.endswith('local_prompts') else value
             for key, value in released.items()}
    prompts = [f'visual.blocks.{layer}.global_prompts' for layer in range(num_layers)]
    if prompts[0] in whole:
        whole['visual.global_prompts'] = torch.stack([whole.pop(key) for key in prompts])
    return whole


def projection_report(trained: dict[str, Tensor]) -> str:
    """Whether P_sum looks as if it was trained, and why.

    The released code leaves it where it is drawn: biases of zero, weights uniform within
    Xavier's bound. A trained one differs in all layers.
    """
    zero = bounded = uniform = number = 0
    for key, weight in trained.items():
        if not key.endswith('.projection.weight'):
            continue
        bound = (6 / sum(weight.shape))**0.5
        values = weight.double().flatten().numpy()
        distance = kstest(values, 'uniform', args=(-bound, 2 * bound)).statistic
        number += 1
        zero += not trained[key.replace('weight', 'bias')].any()
        bounded += abs(values).max() <= bound * (1 + 1e-6)
        uniform += distance < 1.63 / len(values)**0.5  # the 1 % level
    if not number:
        return 'P_sum: there is none'
    facts = (f'P_sum: bias zero in {zero} of {number} layers, weights within Xavier\'s '
             f'bound in {bounded}, uniform (Kolmogorov-Smirnov, 1 %) in {uniform}: ')
    # One layer in a hundred of untrained ones fails the last test by chance.
    if zero == bounded == number and uniform >= 0.8 * number:
        return facts + 'looks untrained'
    return facts + ('looks trained' if zero == 0 else 'mixed')


def split_layers(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each layer its own global prompts, (M, D), and local prompts without the
    leading 1, (T, D)."""
    flat = dict(released)
    for layer, prompts in enumerate(flat.pop('visual.global_prompts', ())):
        flat[f'visual.blocks.{layer}.global_prompts'] = prompts
    return {key: value.squeeze(0) if key.endswith('local_prompts') else value
            for key, value in flat.items()}


def read_released(path: str, classes: str | list[str] | None = None,
                  vision_heads: int | None = None, text_heads: int | None = None,
                  image_size: tuple[int, int] | None = None,
                  context_position: str = 'end') -> ReleasedCheckpoint:
    """Read a checkpoint of the released code.

    Args:
        path: the file.
        classes: the class names it was trained with; by default the list of this
            package that fits its tokens, else its decoded tokens.
        vision_heads, text_heads: attention heads, where not width / 64.
        image_size: height and width of frames in pixels, where not square.
        context_position: where its contexts stand; the file does not say.

    Raises:
        UserError: if it is not wholly understood.
    """
    return understand(read_tensors(path), path, classes, vision_heads, text_heads,
                      image_size, context_position)


def understand(content: Mapping, path: str, classes: str | list[str] | None = None,
               vision_heads: int | None = None, text_heads: int | None = None,
               image_size: tuple[int, int] | None = None,
               context_position: str = 'end') -> ReleasedCheckpoint:
    """As :func:`read_released`, of what is in the file."""
    tensors = content.get('model')
    if not isinstance(tensors, dict) or not all(
            isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{path} is not in the released format: no tensors in 'model'")
    tensors = split_layers({key.removeprefix('module.'): value
                            for key, value in tensors.items()})
    for needed in ('visual.proj', 'visual.patch_embed.proj.weight', 'visual.time_embed',
                   'textual.token_embedding.weight', 'logit_scale'):
        if needed not in tensors:
            raise UserError(f'{path} is not in the released format: {needed} is missing')

    config = clip_config(tensors, vision_heads, text_heads, image_size)
    num_layers = config['vision_cfg']['layers']
    num_frames = len(tensors['visual.time_embed'])
    prompts = take_prompt_tokens(tensors)
    patch_bias = tensors.pop('visual.patch_embed.proj.bias', None)
    logit_scale = tensors['logit_scale']
    clip_state = from_released(tensors, vision_matches(num_layers))
    clip_state.update({key.removeprefix('textual.'): tensors.pop(key)
                       for key in list(tensors) if key.startswith('textual.')})
    clip_state['logit_scale'] = logit_scale
    if patch_bias is not None:
        # CLIP's patch embedding has no bias: added to every patch, it is a part of
        # their position embedding.
        position = clip_state['visual.positional_embedding'].clone()
        position[1:] += patch_bias
        clip_state['visual.positional_embedding'] = position
    trained = from_released(tensors, trained_matches(num_layers))
    if tensors:
        raise UserError(f'{path} has keys that are not understood: '
                        + ', '.join(sorted(tensors)))

    clip = build_clip(config, clip_state, path)
    context = trained.get('cls_head.context.vectors')
    layer = 'backbone.prompts.0'
    return ReleasedCheckpoint(
        clip=clip, clip_config=config, trained=trained,
        backbone=dict(
            num_frames=num_frames,
            summary=f'{layer}.summary.norm.weight' in trained,
            local=f'{layer}.local.vectors' in trained,
            num_global=len(trained.get(f'{layer}.global_prompts.vectors', ()))),
        cls_head=dict(context='none') if context is None or prompts is None else dict(
            context='csc' if context.dim() == 3 else 'uc',
            num_context=context.shape[-2], context_position=context_position,
            classes=name_classes(path, clip, prompts, context.shape[-2], classes)))


def clip_config(tensors: dict[str, Tensor], vision_heads: int | None,
                text_heads: int | None, image_size: tuple[int, int] | None) -> dict:
    """The open_clip model configuration of the CLIP inside, read off its shapes."""
    def layers(prefix: str) -> int:
        return 1 + max(int(key.removeprefix(prefix).split('.')[0])
                       for key in tensors if key.startswith(prefix))

    width, embed_dim = tensors['visual.proj'].shape
    patch_size = tensors['visual.patch_embed.proj.weight'].shape[-1]
    grid = round((len(tensors['visual.pos_embed']) - 1)**0.5)
    vocab_size, text_width = tensors['textual.token_embedding.weight'].shape
    for tower, size, heads in (('vision', width, vision_heads),
                               ('text', text_width, text_heads)):
        if heads is None and size % HEAD_WIDTH:
            raise UserError(f'the {tower} tower has a width of {size}, of which heads of '
                            f'{HEAD_WIDTH} are no part: give --{tower}-heads')
    return dict(
        embed_dim=embed_dim, quick_gelu=True,
        vision_cfg=dict(
            image_size=image_size or grid * patch_size, patch_size=patch_size,
            width=width, layers=layers('visual.blocks.'),
            head_width=width // vision_heads if vision_heads else HEAD_WIDTH,
            mlp_ratio=len(tensors['visual.blocks.0.mlp.fc1.weight']) / width),
        text_cfg=dict(
            context_length=len(tensors['textual.positional_embedding']),
            vocab_size=vocab_size, width=text_width,
            heads=text_heads or text_width // HEAD_WIDTH,
            layers=layers('textual.transformer.resblocks.')))


def same_architecture(config: dict, other: dict) -> bool:
    """Whether two open_clip configurations agree, but for the activation; what they do
    not say is open_clip's default."""
    return (config['embed_dim'] == other['embed_dim']
            and open_clip.CLIPVisionCfg(**config['vision_cfg'])
            == open_clip.CLIPVisionCfg(**other['vision_cfg'])
            and open_clip.CLIPTextCfg(**config['text_cfg'])
            == open_clip.CLIPTextCfg(**other['text_cfg']))


def build_clip(config: dict, state: dict[str, Tensor], path: str) -> LoadedCLIP:
    model = open_clip.CLIP(**config).to(state['visual.proj'].dtype)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f'the CLIP inside {path} is not whole: '
                        + ' '.join(str(error).split())) from error
    model.requires_grad_(False).eval()
    return LoadedCLIP(model, open_clip.SimpleTokenizer(
        context_length=model.context_length), identify(model, 'custom', path))


def take_prompt_tokens(tensors: dict[str, Tensor]) -> Tensor | None:
    """Embeddings of SOT and of what follows the context, (C, L - M, W)."""
    prefix, suffix = (tensors.pop(f'prompt_learner.token_{part}', None)
                      for part in ('prefix', 'suffix'))
    if 'prompt_learner.ctx' not in tensors:
        return None
    if prefix is None or suffix is None:
        raise UserError('prompt_learner.token_prefix or token_suffix is missing')
    return torch.cat([prefix, suffix], dim=1)


def name_classes(path: str, clip: LoadedCLIP, embedded: Tensor, num_context: int,
                 classes: str | list[str] | None) -> list[str]:
    """The class names whose tokens, embedded, are in the file.

    The file holds embeddings; each is a row of CLIP's table, so they are looked up.
    """
    rows = {row.numpy().tobytes(): token
            for token, row in enumerate(clip.token_embedding.weight)}
    found = []
    for prompt in embedded:
        tokens = [rows.get(row.numpy().tobytes()) for row in prompt]
        if tokens[0] != clip.tokenizer.sot_token_id or (
                clip.tokenizer.eot_token_id not in tokens):
            raise UserError(f'the class tokens in {path} are not those of its CLIP')
        found.append(tokens[1:tokens.index(clip.tokenizer.eot_token_id)])

    def fits(names: list[str]) -> bool:
        return found == [clip.tokenizer.encode(name + '.') for name in names]

    if classes is not None:
        names = read_classes(classes, repeated=True)
        if not fits(names):
            raise UserError(f'{path} was trained with other class names than {classes!r}')
        return names
    for known in packaged_classes():
        names = read_classes(known)
        if fits(names):
            return names
    names = [clip.tokenizer.decode(tokens).strip().removesuffix('.').strip()
             for tokens in found]
    if not fits(names):
        raise UserError(f'the class names of {path} cannot be told from its tokens: '
                        'give them as a list')
    return names
