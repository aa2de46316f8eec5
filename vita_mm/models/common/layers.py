"""The layers of CLIP's transformers, with nothing computed or kept in vain.

Their weights may be trained; where they are frozen they take no gradient, and the
backward pass then needs nothing of a linear layer, and of an activation its input alone.
"""
from collections.abc import Sequence
from typing import Any, cast

import torch
from open_clip.transformer import QuickGELU as PlainQuickGELU
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

# Multiplications from which oneDNN is faster than MKL in spite of its larger overhead.
WORTH_ONEDNN = 10**6

# Documented, but missing from torch.jit.__all__.
is_tracing = torch.jit.is_tracing  # pyright: ignore[reportPrivateImportUsage]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, (..., N), of x (..., K), W (N, K) and b (N).

    Where W is frozen, in float32 on a CPU by oneDNN: MKL, which torch (2.13) takes
    there, has less than half its rate on AMD Zen 5.
    """
    if (not torch.compiler.is_compiling()  # Inductor cannot lower the operator
            and not weight.requires_grad and x.device.type == 'cpu'
            and x.dtype == weight.dtype == torch.float32
            and torch.backends.mkldnn.is_available()
            and not torch.is_autocast_enabled('cpu')
            and not is_tracing()  # which does not know the operator
            and x.numel() * len(weight) >= WORTH_ONEDNN):
        return OneDNNLinear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class OneDNNLinear(Function):
    """A linear layer of constant weights by oneDNN, which torch gives no gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        weight, = ctx.saved_tensors
        return torch.ops.mkldnn._linear_pointwise(
            gradient, weight.T, None, 'none', [], ''), None, None


class QuickGELU(Function):
    """x σ(1.702 x), from one tensor kept for the backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        scaled = 1.702 * x
        ctx.save_for_backward(scaled)
        return F.silu(scaled).div_(1.702)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        scaled, = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient, scaled)


def quick_gelu(x: Tensor) -> Tensor:
    """The same, by operators where the graph of them is wanted."""
    if is_tracing():
        return F.silu(1.702 * x) / 1.702
    return QuickGELU.apply(x)


def blocks(transformer: Transformer) -> Sequence[ResidualAttentionBlock]:
    """The layers of one of CLIP's transformers, from the first."""
    return cast(Sequence[ResidualAttentionBlock], transformer.resblocks)


def queries(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """Queries of normalised tokens: (..., D)."""
    size = block.attn.embed_dim
    return linear(x, block.attn.in_proj_weight[:size], block.attn.in_proj_bias[:size])


def keys_values(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """Keys and values of normalised tokens, one behind the other: (..., 2D)."""
    size = block.attn.embed_dim
    return linear(x, block.attn.in_proj_weight[size:], block.attn.in_proj_bias[size:])


def heads(block: ResidualAttentionBlock, queries_BQD: Tensor, keys_values_BKE: Tensor
          ) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of each head, (B, heads, tokens, D / heads)."""
    q, k, v = (x.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2)
               for x in (queries_BQD, *keys_values_BKE.chunk(2, dim=-1)))
    return q, k, v


def attention(block: ResidualAttentionBlock, queries_BQD: Tensor,
              keys_values_BKE: Tensor, mask_QK: Tensor | None = None) -> Tensor:
    """Multi-head attention, scaled by the layer's own factor, of queries (B, Q, D) over
    keys and values (B, K, 2D): (B, Q, D). ``mask_QK`` says what each query may see."""
    q, k, v = heads(block, queries_BQD, keys_values_BKE)
    with torch.autocast('cpu', enabled=False):
        if q.device.type == 'cpu':
            # In bfloat16 the backward pass is slower there (torch 2.13).
            q, k, v = (x.to(torch.promote_types(x.dtype, torch.float32))
                       for x in (q, k, v))
        if is_tracing():
            mixed = by_equation(q, k, v, mask_QK)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_QK)
    return mixed.transpose(1, 2).flatten(2)


def attention_weights(q: Tensor, k: Tensor, mask_QK: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d), (B, heads, Q, K)."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1]**0.5
    if mask_QK is not None:
        scores = scores.masked_fill(~mask_QK, -torch.inf)
    return scores.softmax(dim=-1)


def by_equation(q: Tensor, k: Tensor, v: Tensor, mask_QK: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √d) v, which MMEngine's counter of operations knows."""
    return attention_weights(q, k, mask_QK) @ v


class PlainAttention:
    """:func:`attention` by its equation.

    The fast one never forms the weights; this one keeps those of its last call as
    ``weights``, (B, heads, Q, K).
    """
    weights: Tensor

    def __call__(self, block: ResidualAttentionBlock, queries_BQD: Tensor,
                 keys_values_BKE: Tensor) -> Tensor:
        q, k, v = heads(block, queries_BQD, keys_values_BKE)
        self.weights = attention_weights(q, k)
        return (self.weights @ v).transpose(1, 2).flatten(2)


def add_attended(block: ResidualAttentionBlock, x: Tensor, mixed: Tensor) -> Tensor:
    """The second half of a layer: tokens x (..., D) after attention and feed-forward.

    ``mixed`` is what :func:`attention` gave for them.
    """
    out = block.attn.out_proj
    mlp: Any = block.mlp  # the parts of a Sequential have names, but no types
    x = x + block.ls_1(linear(mixed, out.weight, out.bias))
    hidden = linear(block.ln_2(x), mlp.c_fc.weight, mlp.c_fc.bias)
    quick = isinstance(mlp.gelu, PlainQuickGELU)
    hidden = quick_gelu(hidden) if quick else mlp.gelu(hidden)
    return x + block.ls_2(linear(hidden, mlp.c_proj.weight, mlp.c_proj.bias))
