"""What EVL's query attends to."""
from typing import Any

import torch
from torch import Tensor

from vita_mm.models.common.attention import Trace, layer_attention, trace_layer
from vita_mm.models.common.layers import PlainAttention, blocks

from .model import EVLVisionTransformer, layer_with_queries


@torch.no_grad()
def trace_decoded(backbone: EVLVisionTransformer, video: Tensor) -> Trace:
    """The query reads all tokens of all frames behind each of the tower's last layers.

    Half of what a decoder layer puts out is the query as it came, half what that attends
    to: the last layer's reading is half of the features, the one's before a quarter and
    so on. What is left at the first is the learned query, of no video. The motion that is
    added to a token counts as that token's own.

    Args:
        video: normalised frames, (B, 3, T, H, W).
    """
    x_BTND = backbone.embed(video)
    tower = blocks(backbone.tower.module.transformer)
    last = len(tower) - len(backbone.decoder)
    layers = []
    for block in tower[:last]:
        x_BTND, layer = trace_layer(block, x_BTND, None)
        layers.append(layer)
    found = backbone.query.expand(len(video), 1, -1)
    weights: list[Tensor] = []
    decode: Any
    for block, motion, decode in zip(tower[last:], backbone.motion, backbone.decoder):
        attention = PlainAttention()
        x_BTND, queries, keys = layer_with_queries(block, x_BTND, attention)
        layers.append(layer_attention(attention, x_BTND, {}, {}))
        moved = motion(x_BTND, queries, keys).flatten(1, 2)
        tokens = decode.norm_tokens(moved)
        weights.append(decode.attention(decode.norm_query(found), tokens, tokens)[1])
        found = decode(found, moved)
    read: list[Tensor | None] = [None] * last
    read += [
        one.view(x_BTND.shape[:3]) / 2**(len(weights) - place)
        for place, one in enumerate(weights)]
    return Trace(found[:, 0], layers, read)
