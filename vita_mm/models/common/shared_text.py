"""Text features computed once for all that need them: the micro-batches of an optimizer
step, data-parallel ranks, and all batches between two changes of a weight."""
from collections.abc import Callable

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor, nn
from torch.autograd import Function

from .packed_text import PackedPrompts, Sequences


class StepText:
    """Text features of one optimizer step, shared by its micro-batches.

    The gradients that earlier micro-batches gave the features wait until the last one,
    whose backward pass takes their sum through the text encoder, once.
    """

    def __init__(self) -> None:
        self.features: Tensor | None = None
        self.waiting: Tensor | None = None

    def __call__(self, encode: Callable[[], Tensor], last: bool) -> Tensor:
        """The features for a micro-batch; ``last`` says that its step ends with it."""
        if self.features is None or self.waiting is None:
            self.features = encode()
            self.waiting = self.features.detach().requires_grad_()
        if not last:
            return self.waiting
        features, waiting = self.features, self.waiting
        self.features = self.waiting = None
        return AddGradient.apply(features, waiting)


class AddGradient(Function):
    """The identity, which adds to its gradient what has gathered on another tensor."""

    @staticmethod
    def forward(ctx, features: Tensor, waiting: Tensor) -> Tensor:
        ctx.waiting = waiting
        return features.view_as(features)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        gathered = ctx.waiting.grad
        return gradient if gathered is None else gradient + gathered, None


class CachedText:
    """Text features kept until something that they depend on changes."""

    def __init__(self) -> None:
        self.features: Tensor | None = None
        self.state: tuple | None = None
        self.context: Tensor | None = None

    def __call__(self, encode: Callable[[], Tensor], context: Tensor | None,
                 fixed: tuple) -> Tensor:
        """The features.

        Args:
            encode: computes them.
            context: trained vectors that they depend on. They are compared by value:
                some ways of changing a weight leave no trace.
            fixed: what else they depend on, to be compared by identity.
        """
        if self.features is None or self.state != fixed or (
                context is not None and not same_tensor(self.context, context)):
            self.features, self.state = encode(), fixed
            self.context = None if context is None else context.detach().clone()
        return self.features


def same_tensor(one: Tensor | None, other: Tensor) -> bool:
    return (one is not None and one.dtype == other.dtype and one.device == other.device
            and torch.equal(one, other))


class Share(nn.Module):
    """This rank's share of the classes.

    Args:
        sequences: of all classes, see :class:`PackedPrompts`.
        class_specific, by_position: see :class:`PackedPrompts`.
    """
    classes: Tensor
    place_C: Tensor

    def __init__(self, sequences: Sequences, class_specific: bool,
                 by_position: bool) -> None:
        super().__init__()
        dealt = deal([len(sequence) for sequence in sequences], get_world_size())
        own, everyone = dealt[get_rank()], [number for share in dealt for number in share]
        self.class_specific = class_specific
        self.prompts = PackedPrompts([sequences[number] for number in own],
                                     class_specific, by_position)
        self.register_buffer('classes', torch.tensor(own), persistent=False)
        self.register_buffer('place_C', torch.tensor(
            [everyone.index(number) for number in range(len(sequences))]),
            persistent=False)

    def forward(self, tower: nn.Module, context: Tensor | None) -> Tensor:
        """Features of all classes, (C, D'), of which each rank computes its share."""
        if self.class_specific:
            assert context is not None
            context = context[self.classes]
        return GatherShares.apply(tower(self.prompts, context))[self.place_C]


def deal(lengths: list[int], hands: int) -> list[list[int]]:
    """Numbers of classes dealt out: equally many for each, of equal lengths on average.

    Where the number of classes does not divide, some are dealt twice.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    most = -(-len(order) // hands)
    return [[order[place % len(order)] for place in range(hand, hands * most, hands)]
            for hand in range(hands)]


class GatherShares(Function):
    """Features (c, D') of each rank's share -> those of all ranks, (n c, D').

    Every rank has a loss of its own and the wrapper takes the mean of the ranks'
    gradients of a parameter: the gradient of a share is the sum over all ranks.
    """

    @staticmethod
    def forward(ctx, own: Tensor) -> Tensor:
        return torch.cat(all_gather(own.contiguous()))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        all_reduce(gradient)
        return gradient.chunk(get_world_size())[get_rank()]
