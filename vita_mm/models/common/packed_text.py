"""CLIP's text transformer on prompts of different lengths, without waste.

It is causal, so that a prompt ends at its EOT, and prompts that start alike share what
is computed for their common start. Letters: C prompts, P tokens of the common start, S
tokens in all (the common start once, then what each prompt has of its own), M context
vectors, W text width.
"""
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import Tensor, nn
from torch.nn import functional as F

from . import layers
from .clip import Frozen

# The token ids of each prompt, None where a context vector goes.
Sequences = Sequence[Sequence[int | None]]


class Group(NamedTuple):
    """Prompts of one length, one behind the other among the packed tokens."""
    count: int
    length: int


class PackedPrompts(nn.Module):
    """Token ids of prompts, packed.

    Args:
        sequences: see :data:`Sequences`.
        class_specific: whether the context vectors of the prompts differ.
        by_position: whether a context vector is that of its place in the prompt; else
            they are taken one after the other.

    Attributes:
        groups: the common start, then the prompts' own tokens by length.
        ids_S, positions_S: token ids, 0 for a context vector, and places in the prompt.
        context_places, context_prompts, context_numbers: for each context vector its
            place among the packed tokens, its prompt, and which of the M it is.
        eot_C: places of the EOTs, in the packed order.
        place_C: where each prompt stands in the packed order.
    """
    ids_S: Tensor
    positions_S: Tensor
    context_places: Tensor
    context_prompts: Tensor
    context_numbers: Tensor
    eot_C: Tensor
    place_C: Tensor

    def __init__(self, sequences: Sequences, class_specific: bool = False,
                 by_position: bool = False) -> None:
        super().__init__()
        start = common_start(sequences, class_specific)
        order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
        lengths = Counter(len(sequences[number]) - start for number in order)
        self.groups = [Group(1, start)] + [
            Group(count, length) for length, count in lengths.items()]
        tokens = [(0, place) for place in range(start)] + [
            (number, place) for number in order
            for place in range(start, len(sequences[number]))]
        contexts = [(packed, number,
                     place if by_position else sequences[number][:place].count(None))
                    for packed, (number, place) in enumerate(tokens)
                    if sequences[number][place] is None]
        ends = [packed for packed, (number, place) in enumerate(tokens)
                if packed >= start and place == len(sequences[number]) - 1]
        places = sorted(range(len(order)), key=order.__getitem__)
        for name, values in (
                ('eot_C', ends), ('place_C', places),
                ('ids_S', [sequences[number][place] or 0 for number, place in tokens]),
                ('positions_S', [place for _, place in tokens]),
                *zip(('context_places', 'context_prompts', 'context_numbers'),
                     zip(*contexts) if contexts else ((), (), ()))):
            self.register_buffer(name, torch.tensor(values, dtype=torch.long),
                                 persistent=False)

    def embed(self, embedding: nn.Module, context: Tensor | None) -> Tensor:
        """Embedded tokens (S, W), with the context vectors (M, W), or (C, M, W) where
        they are class-specific, in their places."""
        x_SW = embedding(self.ids_S)
        if context is None:
            return x_SW
        vectors = (context[self.context_numbers] if context.dim() == 2 else
                   context[self.context_prompts, self.context_numbers])
        return x_SW.index_put((self.context_places, ), vectors.to(x_SW.dtype))


def common_start(sequences: Sequences, class_specific: bool) -> int:
    """How many tokens all prompts start with; each keeps one of its own."""
    shortest = min(map(len, sequences))
    for place in range(shortest - 1):
        tokens = {sequence[place] for sequence in sequences}
        if len(tokens) > 1 or (class_specific and None in tokens):
            return place
    return shortest - 1


class TextTower(nn.Module):
    """CLIP's causal text transformer, from packed prompts to joint space.

    Args:
        clip: open_clip's ``CLIP``, which declares no types of these parts of it.
    """
    token_embedding: nn.Embedding | Frozen[nn.Embedding]
    positional_embedding: Tensor
    transformer: Transformer
    ln_final: nn.LayerNorm
    text_projection: Tensor

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.token_embedding = clip.token_embedding
        self.positional_embedding = clip.positional_embedding
        self.transformer = clip.transformer
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection

    def forward(self, prompts: PackedPrompts, context: Tensor | None = None) -> Tensor:
        """Unit features of the prompts, (C, D')."""
        return F.normalize(self.project(prompts, context), dim=-1)

    def project(self, prompts: PackedPrompts, context: Tensor | None = None) -> Tensor:
        """Features of the prompts as CLIP projects them, of any length: (C, D')."""
        x_SW = prompts.embed(self.token_embedding, context)
        x_SW = x_SW + self.positional_embedding[prompts.positions_S]
        *blocks, last = layers.blocks(self.transformer)
        for block in blocks:
            normed = block.ln_1(x_SW)
            mixed = causal_attention(block, normed, prompts.groups)
            x_SW = layers.add_attended(block, x_SW, mixed)
        at_eot = last_layer(last, x_SW, prompts)[prompts.place_C]
        return self.ln_final(at_eot) @ self.text_projection


def causal_attention(block: ResidualAttentionBlock, normed_SW: Tensor,
                     groups: list[Group]) -> Tensor:
    """Every token attends to the common start and to its own prompt up to itself."""
    queries = by_group(layers.queries(block, normed_SW), groups)
    start, *own = by_group(layers.keys_values(block, normed_SW), groups)
    mixed = []
    for asking, seen in zip(queries, [start, *(with_start(start, part) for part in own)]):
        before = seen.shape[1] - asking.shape[1]
        mask = torch.ones(asking.shape[1], seen.shape[1], dtype=torch.bool,
                          device=seen.device).tril(before)
        mixed.append(layers.attention(block, asking, seen, mask).flatten(0, 1))
    return torch.cat(mixed)


def last_layer(block: ResidualAttentionBlock, x_SW: Tensor, prompts: PackedPrompts
               ) -> Tensor:
    """The last layer for the EOTs alone: (C, W). They see their whole prompts."""
    normed = block.ln_1(x_SW)
    start, *own = by_group(layers.keys_values(block, normed), prompts.groups)
    queries = layers.queries(block, normed[prompts.eot_C])
    mixed = [layers.attention(block, asking[:, None], with_start(start, part))
             for asking, part in zip(queries.split([len(part) for part in own]), own)]
    return layers.add_attended(block, x_SW[prompts.eot_C], torch.cat(mixed).squeeze(1))


def by_group(x_SW: Tensor, groups: list[Group]) -> list[Tensor]:
    """The tokens of each group, prompt by prompt: (count, length, W)."""
    parts = x_SW.split([group.count * group.length for group in groups])
    return [part.unflatten(0, group) for part, group in zip(parts, groups)]


def with_start(start_1PW: Tensor, own_CLW: Tensor) -> Tensor:
    """What prompts have of their own behind their common start: (C, P + L, W)."""
    return torch.cat([start_1PW.expand(len(own_CLW), -1, -1), own_CLW], dim=1)
