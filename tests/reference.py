"""Vita-CLIP written out plainly, for the tests to compare the package with.

Nothing here is fast: loops over clips, frames and layers, attention as a
softmax, all 77 text tokens. ``clip`` is a CLIP's state dict in open_clip's
names, ``trained`` the recognizer's own tensors in the recognizer's names.
Everything is differentiable.

Letters in shapes: F frames fed, T frames the model was made for, N tokens of a
frame, D vision width, P text width, E joint width, M context length, C classes.
"""
import math
from dataclasses import dataclass

import torch
from open_clip.tokenizer import SimpleTokenizer

CONTEXT_LENGTH = 77
TOKENIZER = SimpleTokenizer()


@dataclass
class Options:
    """What the tensors alone do not say, in the words of the configs."""
    classes: list
    vision_heads: int
    text_heads: int
    quick_gelu: bool
    num_frames: int
    summary: bool
    local: bool
    num_global: int
    time_embedding: bool = True
    local_condition: str = 'projection'
    long_clips: str = 'frame_windows'
    context: str = 'csc'
    context_position: str = 'end'
    templates: tuple = ('{}', )


def logits(clip, trained, video, options):
    """Class scores of videos that are already normalised.

    Args:
        clip (dict): open_clip's state dict of the frozen CLIP.
        trained (dict): The recognizer's state dict.
        video (Tensor): B x 3 x F x H x W.

    Returns:
        Tensor: B x C.
    """
    text = text_features(clip, trained, options)
    rows = []
    for one in video:
        feature = video_feature(clip, trained, one.transpose(0, 1), options)
        rows.append(trained['cls_head.logit_scale'].exp() * text @ feature)
    return torch.stack(rows)


# Building blocks


def layer_norm(x, weights, name, eps=1e-5):
    """Normalise the last axis; eps 1e-5, as everywhere in CLIP."""
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred ** 2).mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(variance + eps)
    return scaled * weights[f'{name}.weight'] + weights[f'{name}.bias']


def linear(x, weights, name):
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def unit(x):
    return x / (x ** 2).sum(-1, keepdim=True).sqrt()


def activation(x, quick):
    if quick:
        return x * torch.sigmoid(1.702 * x)
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def attention(x, weights, name, heads, causal=False):
    """Self-attention over the rows of x (N x D), one head after another.

    in_proj holds the rows of the query, key and value projections in turn.
    """
    count, width = x.shape
    size = width // heads
    rows = x @ weights[f'{name}.in_proj_weight'].T + weights[f'{name}.in_proj_bias']
    query, key, value = rows[:, :width], rows[:, width:2 * width], rows[:, 2 * width:]
    outputs = []
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        scores = query[:, columns] @ key[:, columns].T / math.sqrt(size)
        if causal:
            later = torch.ones(count, count, dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        weight = scores.exp() / scores.exp().sum(-1, keepdim=True)
        outputs.append(weight @ value[:, columns])
    return linear(torch.cat(outputs, dim=1), weights, f'{name}.out_proj')


def feed_forward(x, weights, name, quick):
    hidden = activation(linear(x, weights, f'{name}.c_fc'), quick)
    return linear(hidden, weights, f'{name}.c_proj')


def count_layers(clip, prefix):
    names = {key[len(prefix):].split('.')[0] for key in clip if key.startswith(prefix)}
    return len(names)


# Video


def video_feature(clip, trained, frames, options):
    """The unit feature of one clip: F x 3 x H x W -> E."""
    fed = len(frames)
    times = time_embedding(trained, fed, options)
    tokens = [frame_tokens(clip, frame, time) for frame, time in zip(frames, times)]
    size = fed if options.long_clips == 'tile' else options.num_frames
    features = []
    for start in range(0, fed, size):
        features += encode_frames(clip, trained, tokens[start:start + size], options)
    return unit(torch.stack(features).mean(0))


def time_embedding(trained, fed, options):
    """One D-vector a frame: row t of T, each repeated for F / T frames."""
    if not options.time_embedding:
        return [0] * fed
    table = trained['backbone.time_embedding']
    return [table[t * options.num_frames // fed] for t in range(fed)]


def frame_tokens(clip, frame, time):
    """3 x H x W -> N x D: the class token and the patches, row by row."""
    kernel = clip['visual.conv1.weight']
    side = kernel.shape[-1]
    tokens = [clip['visual.class_embedding']]
    for top in range(0, frame.shape[1], side):
        for left in range(0, frame.shape[2], side):
            patch = frame[:, top:top + side, left:left + side]
            tokens.append((kernel * patch).sum((1, 2, 3)))
    tokens = torch.stack(tokens) + clip['visual.positional_embedding'] + time
    return layer_norm(tokens, clip, 'visual.ln_pre')


def encode_frames(clip, trained, frames, options):
    """Run frames that see each other (a list of N x D) -> a list of E-vectors."""
    frames = run_layers(clip, trained, frames, options)
    return [frame_feature(clip, frame) for frame in frames]


def frame_feature(clip, frame):
    """The E-vector of a frame, of its N x D tokens after all layers."""
    return layer_norm(frame[0], clip, 'visual.ln_post') @ clip['visual.proj']


def run_layers(clip, trained, frames, options):
    """All layers on frames that see each other, a list of N x D."""
    prefix = 'visual.transformer.resblocks.'
    for layer in range(count_layers(clip, prefix)):
        extra = prompt_tokens(trained, layer, [frame[0] for frame in frames], options)
        frames = [
            vision_layer(clip, f'{prefix}{layer}', frame, prompts, options)
            for frame, prompts in zip(frames, extra)
        ]
    return frames


def vision_layer(clip, name, tokens, prompts, options):
    """A frozen layer on N x D tokens and their prompts; the prompts end here."""
    count = len(tokens)
    both = torch.cat([tokens, prompts])
    normed = layer_norm(both, clip, f'{name}.ln_1')
    both = both + attention(normed, clip, f'{name}.attn', options.vision_heads)
    tokens = both[:count]
    normed = layer_norm(tokens, clip, f'{name}.ln_2')
    return tokens + feed_forward(normed, clip, f'{name}.mlp', options.quick_gelu)


def prompt_tokens(trained, layer, cls, options):
    """The prompts of every frame in one layer.

    Args:
        cls (list): The raw class tokens of the frames, D each.

    Returns:
        list: For each frame its summary (1), all local (F) and the global (Mv)
        tokens, those that are switched on, as one matrix.
    """
    name = f'backbone.prompts.{layer}'
    raw = torch.stack(cls)
    shared = raw.new_zeros(0, raw.shape[1])
    if options.local:
        shared = torch.cat([shared, local_tokens(trained, name, raw, options)])
    if options.num_global:
        shared = torch.cat([shared, trained[f'{name}.global_prompts.vectors']])
    if not options.summary:
        return [shared] * len(cls)
    summary = summary_tokens(trained, name, raw, options)
    return [torch.cat([own[None], shared]) for own in summary]


def local_tokens(trained, name, raw, options):
    """l_t + c_t of every frame, l starting again after T frames: F x D."""
    if options.local_condition == 'projection':
        raw = linear(raw, trained, f'{name}.projection')
    prompts = trained[f'{name}.local.vectors']
    return torch.stack(
        [prompts[t % options.num_frames] + own for t, own in enumerate(raw)])


def summary_tokens(trained, name, raw, options):
    """s = MHSA(LN(p)) + p over the frames, p = P_sum z: F x D."""
    projected = linear(raw, trained, f'{name}.projection')
    normed = layer_norm(projected, trained, f'{name}.summary.norm')
    mixed = attention(normed, trained, f'{name}.summary.attention',
                      options.vision_heads)
    return mixed + projected


# Text


def text_features(clip, trained, options):
    """Unit features of all classes: C x E."""
    names = [name.replace('_', ' ') for name in options.classes]
    if options.context == 'none':
        features = [manual_feature(clip, name, options) for name in names]
        return torch.stack(features)
    context = trained['cls_head.context.vectors']
    features = []
    for index, name in enumerate(names):
        own = context if options.context == 'uc' else context[index]
        tokens, end = learned_prompt(clip, own, name, options.context_position)
        features.append(unit(encode_text(clip, tokens, end, options)))
    return torch.stack(features)


def manual_feature(clip, name, options):
    """The mean of the unit features of all templates, renormalised: E."""
    features = []
    for template in options.templates:
        words = embed(clip, TOKENIZER.encode(template.replace('{}', name)))
        tokens, end = padded(clip, [words])
        features.append(unit(encode_text(clip, tokens, end, options)))
    return unit(torch.stack(features).mean(0))


def learned_prompt(clip, context, name, position):
    """Place the context (M x P) around the name, as CoOp does.

    "name." is tokenised as a whole, for a name that ends in punctuation may
    share a token with the full stop, and split where the bare name's count says.
    """
    phrase = embed(clip, TOKENIZER.encode(f'{name}.'))
    length = len(TOKENIZER.encode(name))
    label, stop = phrase[:length], phrase[length:]
    half = len(context) // 2
    pieces = {
        'end': [context, label, stop],
        'middle': [context[:half], label, context[half:], stop],
        'front': [label, context, stop],
    }
    return padded(clip, pieces[position])


def embed(clip, ids):
    return clip['token_embedding.weight'][torch.tensor(ids, dtype=torch.long)]


def padded(clip, pieces):
    """SOT, the pieces, EOT, zeros up to 77: (77 x P, place of EOT)."""
    start = embed(clip, [TOKENIZER.sot_token_id])
    stop = embed(clip, [TOKENIZER.eot_token_id])
    tokens = torch.cat([start, *pieces, stop])
    end = len(tokens) - 1
    padding = embed(clip, [0] * (CONTEXT_LENGTH - len(tokens)))
    return torch.cat([tokens, padding]), end


def encode_text(clip, tokens, end, options):
    """The frozen causal transformer: 77 x P -> E, read at the EOT token."""
    prefix = 'transformer.resblocks.'
    x = tokens + clip['positional_embedding']
    for layer in range(count_layers(clip, prefix)):
        name = f'{prefix}{layer}'
        normed = layer_norm(x, clip, f'{name}.ln_1')
        x = x + attention(normed, clip, f'{name}.attn', options.text_heads,
                          causal=True)
        normed = layer_norm(x, clip, f'{name}.ln_2')
        x = x + feed_forward(normed, clip, f'{name}.mlp', options.quick_gelu)
    return layer_norm(x, clip, 'ln_final')[end] @ clip['text_projection']
