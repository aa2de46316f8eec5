"""The text side: CLIP's text transformer on the names of the classes, with manual
prompts or learned contexts (CoOp: Zhou et al., IJCV 2022).

Letters: C classes, L tokens of a prompt, M context vectors, W text width.
"""
import copy
import math
from collections.abc import Sequence
from typing import cast

import torch
from mmaction.models.heads import BaseHead
from mmaction.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from vita_mm.errors import UserError
from vita_mm.labels.class_names import read_classes, read_templates

from .clip import Frozen, LoadedCLIP, Trained, load_clip
from .packed_text import PackedPrompts, Sequences, TextTower
from .shared_text import CachedText, Share, StepText
from .vision import check_choice


class LearnedContext(nn.Module):
    """Context vectors: one set for all classes (UC), (M, W), or one for each (CSC),
    (C, M, W)."""

    def __init__(self, initial_MW: Tensor | None, shape: tuple, num_classes: int,
                 class_specific: bool, std: float) -> None:
        super().__init__()
        if initial_MW is None:
            size = (num_classes, *shape) if class_specific else shape
            initial = torch.empty(size).normal_(std=std)
        else:
            initial = initial_MW.detach().clone()
            if class_specific:
                initial = initial.repeat(num_classes, 1, 1)
        self.vectors = nn.Parameter(initial)


@MODELS.register_module()
class CLIPTextHead(BaseHead):
    """Classifies clip features by their cosine with the prompts of the classes.

    Args:
        clip: a loaded CLIP, or the arguments of :func:`load_clip`.
        classes: names in the order of their ids, see :func:`read_classes`.
        context: ``'none'`` (manual prompts: zero-shot), ``'csc'`` (learned,
            class-specific) or ``'uc'`` (learned, unified).
        num_context: number of context vectors.
        context_position: where they stand: ``'end'`` (the class name at the end),
            ``'middle'`` (half of them before it, half behind) or ``'front'``.
        context_places: how many stand before the name and how many behind it, in place
            of ``num_context`` and ``context_position``.
        context_init: words whose embeddings the vectors start from; by default they are
            normal with standard deviation ``context_std``.
        by_position: learn a vector for every place of a prompt, as many as CLIP reads,
            instead of ``num_context``.
        name_ending: what stands behind the name where there is a learned context.
        templates: manual prompts for ``context='none'``, see :func:`read_templates`;
            the features of several are averaged.
        trained: train CLIP's text transformer; else it is frozen.
        train_embedding: with ``trained``, train its token embedding too.
        temperature: what cosines are divided by; by default CLIP's, which is trained.
        loss_cls, label_smooth_eps, topk, average_clips: as in MMAction2's heads.

    Attributes:
        of_evaluation: the arguments that an evaluation on other classes has of its own;
            all others are of the training.
    """
    of_evaluation: tuple[str, ...] = ('classes', 'templates')
    tower: Trained[TextTower] | Frozen[TextTower]
    logit_scale: Tensor
    prompts: Sequence[PackedPrompts]

    def __init__(self, clip: LoadedCLIP | dict, classes: str | list[str],
                 context: str = 'none', num_context: int = 8,
                 context_position: str = 'end',
                 context_places: tuple[int, int] | None = None,
                 context_init: str | None = None, context_std: float = 0.02,
                 by_position: bool = False,
                 name_ending: str = '.', templates: str | list[str] = '{}',
                 trained: bool = False, train_embedding: bool = True,
                 temperature: float | None = None,
                 loss_cls: dict | None = None,
                 label_smooth_eps: float = 0., topk: int | tuple = (1, 5),
                 average_clips: str | None = 'prob') -> None:
        check_choice('context', context, ('csc', 'uc', 'none'))
        check_choice('context_position', context_position, ('end', 'middle', 'front'))
        clip = clip if isinstance(clip, LoadedCLIP) else load_clip(**clip)
        names = read_classes(classes, repeated=True)
        tower = TextTower(clip.model)
        super().__init__(
            num_classes=len(names), in_channels=tower.text_projection.shape[1],
            loss_cls=dict(type='CrossEntropyLoss') if loss_cls is None else loss_cls,
            label_smooth_eps=label_smooth_eps,
            topk=tuple(topk) if isinstance(topk, list) else topk,
            # Declared to be a dict, which it never is.
            average_clips=average_clips)  # pyright: ignore[reportArgumentType]
        self.classes = names
        self.clip = clip
        self.trained = trained
        self.tower = Trained(tower) if trained else Frozen(tower)
        if trained and not train_embedding:
            self.tower.module.token_embedding = Frozen(clip.token_embedding)
        if temperature is None:
            self.logit_scale = nn.Parameter(
                clip.model.logit_scale.detach().clone().reshape(()))
        else:
            self.register_buffer('logit_scale', torch.tensor(-math.log(temperature)),
                                 persistent=False)
        self.by_position = by_position
        self.step_text = StepText()
        self.last_micro_batch = True
        self.context: LearnedContext | None = None
        self.context_places = context_places
        self.share: Share | None = None
        if context == 'none':
            self.use_templates(templates)
        else:
            if context_places is None:
                context_places = split_context(num_context, context_position)
            self.context_places, num_context = context_places, sum(context_places)
            initial = None
            if context_init is not None:
                initial = embed_words(clip, context_init, num_context)
            width = clip.token_embedding.embedding_dim
            count = clip.model.context_length if by_position else num_context
            self.context = LearnedContext(initial, (count, width), len(names),
                                          class_specific=context == 'csc',
                                          std=context_std)
            self.use_prompts([context_prompts(
                clip, names, *context_places, name_ending)])

    def use_present_names(self, state_dict: dict, prefix: str, *_) -> None:
        """Before a checkpoint is loaded: take over the token embedding of an old one
        that trained it where it is frozen now."""
        key = f'{prefix}tower.module.token_embedding.weight'
        given, embedding = state_dict.get(key), self.tower.module.token_embedding
        if given is None or not isinstance(embedding, Frozen):
            return
        own = embedding.module
        if isinstance(given, Tensor) and torch.equal(given.to(own.weight), own.weight):
            del state_dict[key]
        else:
            self.tower.module.token_embedding = copy.deepcopy(own)

    def use_templates(self, templates: str | list[str]) -> None:
        """Change the manual prompts of a head without learned contexts."""
        self.use_prompts([manual_prompts(self.clip, self.classes, template)
                          for template in read_templates(templates)])

    def use_prompts(self, sequences: Sequence[Sequences]) -> None:
        """Take the token ids of all classes in each of the templates, None where a
        context vector goes."""
        self.sequences = sequences
        self.prompts = cast(Sequence[PackedPrompts], nn.ModuleList(
            PackedPrompts(prompts, self.class_specific, self.by_position)
            for prompts in sequences
        ).to(self.logit_scale.device))
        self.cached_text = CachedText()

    @property
    def context_vectors(self) -> Tensor | None:
        return None if self.context is None else self.context.vectors

    @property
    def class_specific(self) -> bool:
        return self.context is not None and self.context.vectors.dim() == 3

    @property
    def learns(self) -> bool:
        """Whether training changes the text features."""
        return self.trained or self.context is not None

    def share_classes(self, share: bool) -> None:
        """Have each data-parallel rank encode its share of the classes in training.

        The ranks' gradients must then be averaged, as ``DistributedDataParallel`` does.
        """
        share = share and self.learns and len(self.sequences) == 1
        self.share = Share(self.sequences[0], self.class_specific, self.by_position).to(
            self.logit_scale.device) if share else None

    def text_features(self) -> Tensor:
        """Unit features of the classes, (C, D').

        In training they are computed once in an optimizer step, a share on each rank,
        where :class:`TextOncePerStepHook` says so. Without gradients they are kept until
        a weight changes.
        """
        if self.learns and torch.is_grad_enabled():
            self.cached_text = CachedText()
            return self.step_text(self.encode_shared, self.last_micro_batch)
        device = self.logit_scale.device.type
        autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        weights = tuple((weight.data_ptr(), weight._version)
                        for weight in self.tower.module.parameters())
        with torch.no_grad():
            return self.cached_text(self.encode, self.context_vectors,
                                    (autocast, weights))

    def encode(self) -> Tensor:
        """Unit features of the classes, computed here and now: the mean over the
        templates, (C, D')."""
        tower = self.tower.module
        if len(self.prompts) == 1:
            return tower(self.prompts[0], self.context_vectors)
        features = [tower(prompts) for prompts in self.prompts]
        return F.normalize(torch.stack(features).mean(dim=0), dim=-1)

    def encode_shared(self) -> Tensor:
        """The same by all ranks together, where they share the classes."""
        if self.share is None:
            return self.encode()
        return self.share(self.tower.module, self.context_vectors)

    def forward(self, x: Tensor, **kwargs) -> Tensor:
        """Logits (B, C) of unit features x (B, D')."""
        return self.logits(x, self.text_features())

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """exp(logit_scale) · cosine, (B, C), of unit features (B, D') and (C, D')."""
        # Half precision would round logits near 100 to the nearest half.
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return self.logit_scale.exp() * x.to(dtype) @ text.to(dtype).T


def manual_prompts(clip: LoadedCLIP, names: list[str], template: str
                   ) -> list[list[int]]:
    """Token ids of the template filled with every name."""
    return [framed(clip, name, clip.tokenizer.encode(template.replace('{}', name)))
            for name in names]


def split_context(num_context: int, position: str) -> tuple[int, int]:
    """How many context vectors stand before the name, and how many behind it."""
    if not isinstance(num_context, int) or num_context < 1:
        raise UserError(f'num_context must be an integer of at least 1, not '
                        f'{num_context!r}; for no context say context="none"')
    half = num_context // 2
    return dict(end=(num_context, 0), middle=(half, num_context - half),
                front=(0, num_context))[position]


def context_prompts(clip: LoadedCLIP, names: list[str], before: int, behind: int,
                    ending: str = '.') -> list[list[int | None]]:
    """Token ids of the names and their ending, None where a context vector goes:
    ``before`` and ``behind`` the name."""
    sequences = []
    for name in names:
        # As in CoOp, a name that ends in punctuation keeps the token it forms with
        # the full stop.
        tokens = clip.tokenizer.encode(name + ending)
        name_end = len(clip.tokenizer.encode(name)) if behind else 0
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
    return clip.token_embedding(torch.tensor(tokens))
