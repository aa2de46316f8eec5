"""The layers of CLIP's transformers, with nothing computed or kept in vain.

Their weights may be trained; where they are frozen they take no gradient, and the
backward pass then needs nothing of a linear layer, and of an activation its input alone.
"""
import torch
from open_clip import transformer
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

# Multiplications from which oneDNN is faster than MKL in spite of its larger overhead.
WORTH_ONEDNN = 10**6


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, (..., N), of x (..., K), W (N, K) and b (N).

    Where W is frozen, in float32 on a CPU by oneDNN: MKL, which torch (2.13) takes
    there, has less than half its rate on AMD Zen 5.
    """
    if (not weight.requires_grad and x.device.type == 'cpu'
            and x.dtype == weight.dtype == torch.float32
            and torch.backends.mkldnn.is_available()
            and not torch.is_autocast_enabled('cpu')
            and not torch.jit.is_tracing()  # which does not know the operator
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
    if torch.jit.is_tracing():
        return F.silu(1.702 * x) / 1.702
    return QuickGELU.apply(x)


def queries(block: nn.Module, x: Tensor) -> Tensor:
    """Queries of normalised tokens: (..., D)."""
    size = block.attn.embed_dim
    return linear(x, block.attn.in_proj_weight[:size], block.attn.in_proj_bias[:size])


def keys_values(block: nn.Module, x: Tensor) -> Tensor:
    """Keys and values of normalised tokens, one behind the other: (..., 2D)."""
    size = block.attn.embed_dim
    return linear(x, block.attn.in_proj_weight[size:], block.attn.in_proj_bias[size:])


def attention(block: nn.Module, queries_BQD: Tensor, keys_values_BKE: Tensor,
              mask_QK: Tensor | None = None) -> Tensor:
    """Multi-head attention, scaled by the layer's own factor, of queries (B, Q, D) over
    keys and values (B, K, 2D): (B, Q, D). ``mask_QK`` says what each query may see."""
    heads = block.attn.num_heads
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2)
               for x in (queries_BQD, *keys_values_BKE.chunk(2, dim=-1)))
    with torch.autocast('cpu', enabled=False):
        if q.device.type == 'cpu':
            # In bfloat16 the backward pass is slower there (torch 2.13).
            q, k, v = (x.to(torch.promote_types(x.dtype, torch.float32))
                       for x in (q, k, v))
        if torch.jit.is_tracing():
            mixed = by_equation(q, k, v, mask_QK)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_QK)
    return mixed.transpose(1, 2).flatten(2)


def by_equation(q: Tensor, k: Tensor, v: Tensor, mask_QK: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √d) v, which MMEngine's counter of operations knows."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1]**0.5
    if mask_QK is not None:
        scores = scores.masked_fill(~mask_QK, -torch.inf)
    return scores.softmax(dim=-1) @ v


def add_attended(block: nn.Module, x: Tensor, mixed: Tensor) -> Tensor:
    """The second half of a layer: tokens x (..., D) after attention and feed-forward.

    ``mixed`` is what :func:`attention` gave for them.
    """
    out, mlp = block.attn.out_proj, block.mlp
    x = x + block.ls_1(linear(mixed, out.weight, out.bias))
    hidden = linear(block.ln_2(x), mlp.c_fc.weight, mlp.c_fc.bias)
    quick = isinstance(mlp.gelu, transformer.QuickGELU)
    hidden = quick_gelu(hidden) if quick else mlp.gelu(hidden)
    return x + block.ls_2(linear(hidden, mlp.c_proj.weight, mlp.c_proj.bias))
