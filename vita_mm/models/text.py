"""The text side of Vita-CLIP: CLIP's frozen text transformer with learned contexts.

Wasim et al., "Vita-CLIP", CVPR 2023, section 3.2.2, after CoOp (Zhou et al., 2022).
Letters: C classes, L tokens of a prompt, M context vectors, W text width.
"""
import torch
from mmaction.models.heads import BaseHead
from mmaction.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vita_mm.classes import read_classes, read_templates
from vita_mm.errors import UserError

from .clip import Frozen, LoadedCLIP, load_clip
from .vision import check_choice

CHUNK = 512  # manual prompts that go through the tower at once


class TextTower(nn.Module):
    """CLIP's causal text transformer, from token embeddings to joint space."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.token_embedding = clip.token_embedding
        self.positional_embedding = clip.positional_embedding
        self.transformer = clip.transformer
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection
        self.register_buffer('attn_mask', clip.attn_mask, persistent=False)

    def forward(self, x_CLW: Tensor, eot_C: Tensor) -> Tensor:
        """Unit features (C, D') of embedded prompts whose EOT is at ``eot_C``."""
        length = x_CLW.shape[1]
        x = x_CLW + self.positional_embedding[:length]
        x = self.transformer(x, attn_mask=self.attn_mask[:length, :length])
        at_eot = x[torch.arange(len(x), device=x.device), eot_C]
        return F.normalize(self.ln_final(at_eot) @ self.text_projection, dim=-1)


class TokenSequences(nn.Module):
    """Token ids of prompts, as short as the longest of them: the tower is causal, so
    what follows the EOT changes nothing.

    Attributes:
        ids_CL: token ids; 0 where a learned context vector goes.
        eot_C: position of the EOT.
        context_CM: positions of the context vectors.
    """

    def __init__(self, sequences: list[list[int | None]]) -> None:
        super().__init__()
        length = max(map(len, sequences))
        ids = [[token or 0 for token in sequence] + [0] * (length - len(sequence))
               for sequence in sequences]
        context = [[place for place, token in enumerate(sequence) if token is None]
                   for sequence in sequences]
        for name, values in (('ids_CL', ids), ('context_CM', context),
                             ('eot_C', [len(sequence) - 1 for sequence in sequences])):
            self.register_buffer(name, torch.tensor(values, dtype=torch.long),
                                 persistent=False)

    def embed(self, embedding: nn.Embedding, context_CMW: Tensor | None = None
              ) -> Tensor:
        """Embedded prompts (C, L, W) with the context vectors in their places."""
        x_CLW = embedding(self.ids_CL)
        if context_CMW is None:
            return x_CLW
        rows = torch.arange(len(x_CLW), device=x_CLW.device)[:, None]
        return x_CLW.index_put((rows, self.context_CM), context_CMW.to(x_CLW.dtype))


class LearnedContext(nn.Module):
    """Context vectors: one set for all classes (UC) or one for each (CSC)."""

    def __init__(self, initial_MW: Tensor | None, shape: tuple, num_classes: int,
                 class_specific: bool) -> None:
        super().__init__()
        self.num_classes = num_classes
        if initial_MW is None:
            size = (num_classes, *shape) if class_specific else shape
            initial = torch.empty(size).normal_(std=0.02)
        else:
            initial = initial_MW.detach().clone()
            if class_specific:
                initial = initial.repeat(num_classes, 1, 1)
        self.vectors = nn.Parameter(initial)

    def forward(self) -> Tensor:
        """(C, M, W)."""
        return self.vectors.expand(self.num_classes, -1, -1)


@MODELS.register_module()
class VitaCLIPTextHead(BaseHead):
    """Classifies clip features by their cosine with the prompts of the classes.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        classes: names in the order of their ids, see :func:`read_classes`.
        context: ``'csc'`` (learned, class-specific), ``'uc'`` (learned, unified) or
            ``'none'`` (manual prompts: zero-shot).
        num_context: number of context vectors, M_c of the paper.
        context_position: where they stand: ``'end'`` (the class name at the end),
            ``'middle'`` (half of them before it, half behind) or ``'front'``.
        context_init: words whose embeddings the vectors start from.
        templates: manual prompts for ``context='none'``, see :func:`read_templates`;
            the features of several are averaged.
        loss_cls, topk, average_clips: as in MMAction2's heads.
    """

    def __init__(self, clip: LoadedCLIP | dict, classes: str | list[str],
                 context: str = 'csc', num_context: int = 8,
                 context_position: str = 'end', context_init: str | None = None,
                 templates: str | list[str] = '{}',
                 loss_cls: dict = dict(type='CrossEntropyLoss'),
                 topk: int | tuple = (1, 5), average_clips: str | None = 'prob'
                 ) -> None:
        check_choice('context', context, ('csc', 'uc', 'none'))
        check_choice('context_position', context_position, ('end', 'middle', 'front'))
        clip = clip if isinstance(clip, LoadedCLIP) else load_clip(**clip)
        names = read_classes(classes)
        super().__init__(
            num_classes=len(names), in_channels=clip.model.text_projection.shape[1],
            loss_cls=loss_cls, topk=tuple(topk) if isinstance(topk, list) else topk,
            average_clips=average_clips)
        self.classes = names
        self.clip = clip
        self.tower = Frozen(TextTower(clip.model))
        self.logit_scale = nn.Parameter(
            clip.model.logit_scale.detach().clone().reshape(()))
        self.context = None
        if context == 'none':
            self.use_templates(templates)
        else:
            initial = None
            if context_init is not None:
                initial = embed_words(clip, context_init, num_context)
            width = clip.model.token_embedding.embedding_dim
            self.context = LearnedContext(initial, (num_context, width), len(names),
                                          class_specific=context == 'csc')
            self.sequences = TokenSequences(context_prompts(
                clip, names, num_context, context_position))

    def use_templates(self, templates: str | list[str]) -> None:
        """Change the manual prompts of a head without learned contexts."""
        sequences = TokenSequences(manual_prompts(self.clip, self.classes, templates))
        self.sequences = sequences.to(self.logit_scale.device)

    def text_features(self) -> Tensor:
        """Unit features of the classes, (C, D')."""
        if self.context is None:
            return self.manual_features()
        tower = self.tower.module
        x_CLW = self.sequences.embed(tower.token_embedding, self.context())
        return tower(x_CLW, self.sequences.eot_C)

    @torch.no_grad()
    def manual_features(self) -> Tensor:
        """The means over the templates, (C, D'); a chunk of prompts at a time, for the
        templates of a large list make thousands."""
        tower = self.tower.module
        x_CLW = self.sequences.embed(tower.token_embedding)
        chunks = zip(x_CLW.split(CHUNK), self.sequences.eot_C.split(CHUNK))
        features = torch.cat([tower(*chunk) for chunk in chunks])
        return F.normalize(features.unflatten(0, (-1, self.num_classes)).mean(dim=0),
                           dim=-1)

    def forward(self, x: Tensor, **kwargs) -> Tensor:
        """Logits (B, C) of unit features x (B, D')."""
        return self.logits(x, self.text_features())

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """exp(logit_scale) · cosine, (B, C), of unit features (B, D') and (C, D')."""
        # Half precision would round logits near 100 to the nearest half.
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return self.logit_scale.exp() * x.to(dtype) @ text.to(dtype).T


def manual_prompts(clip: LoadedCLIP, names: list[str], templates: str | list[str]
                   ) -> list[list[int]]:
    """Token ids of every template filled with every name, template by template."""
    return [
        framed(clip, name, clip.tokenizer.encode(template.replace('{}', name)))
        for template in read_templates(templates) for name in names]


def context_prompts(clip: LoadedCLIP, names: list[str], num_context: int, position: str
                    ) -> list[list[int | None]]:
    """Token ids of the names and a full stop, None where a context vector goes."""
    if not isinstance(num_context, int) or num_context < 1:
        raise UserError(f'num_context must be an integer of at least 1, not '
                        f'{num_context!r}; for no context say context="none"')
    sequences = []
    for name in names:
        # As in CoOp, a name that ends in punctuation keeps the token it forms with
        # the full stop.
        tokens = clip.tokenizer.encode(name + '.')
        name_end = len(clip.tokenizer.encode(name))
        before, behind = dict(
            end=(num_context, 0), middle=(num_context // 2, num_context - num_context // 2),
            front=(0, num_context))[position]
        name_end = 0 if position == 'end' else name_end
        sequences.append(framed(clip, name, [
            *[None] * before, *tokens[:name_end], *[None] * behind, *tokens[name_end:]]))
    return sequences


def framed(clip: LoadedCLIP, name: str, tokens: list) -> list:
    """SOT, the tokens, EOT; refuses what CLIP's text transformer cannot hold."""
    limit = clip.model.context_length
    if len(tokens) + 2 > limit:
        raise UserError(
            f'the prompt of class {name!r} has {len(tokens) + 2} tokens but this CLIP '
            f'reads {limit}: shorten the name, the template or the context')
    return [clip.tokenizer.sot_token_id, *tokens, clip.tokenizer.eot_token_id]


def embed_words(clip: LoadedCLIP, words: str, num_context: int) -> Tensor:
    """Embeddings of the words' tokens, (M, W)."""
    tokens = clip.tokenizer.encode(words)
    if len(tokens) != num_context:
        raise UserError(f'context_init={words!r} is {len(tokens)} tokens: set '
                        f'num_context={len(tokens)}, not {num_context}')
    return clip.model.token_embedding(torch.tensor(tokens))
