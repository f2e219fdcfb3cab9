"""Attention on CPUs."""

from itertools import pairwise
from typing import Any

import mlx.core as mx

from lucid_fn.checks import check_size
from lucid_fn.ops.attention import weighted_sum, weights_and_attending
from lucid_fn.types import Array

# Causal attention is split into blocks of at least 64 queries, if it is large enough.
_BLOCK, _MAX_BLOCKS, _MIN_WEIGHTS = 64, 4, 1 << 17


def attend(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    causal: bool,
    scale: Any,
) -> Array:
    """`ops.attention.attend` with the weights in memory.

    MLX's fused kernel takes three times as long on CPUs. Causal attention is computed
    in blocks of queries, each with the keys up to its last query, which skips most of
    the weights above the diagonal.
    """
    (n, length, heads, _), keys = query.shape, key.shape[1]
    check_size("dot_product_attention", "query and key", (n, heads, length, keys))
    blocks = min(length // _BLOCK, _MAX_BLOCKS)
    large = blocks > 1 and n * heads * length * keys >= _MIN_WEIGHTS
    if not causal or mask is not None or not large:
        return _attend(query, key, value, mask, causal, scale)
    bounds = [length * block // blocks for block in range(blocks + 1)]
    results = []
    for start, end in pairwise(bounds):
        seen = keys - length + end
        block = query[:, start:end], key[:, :seen], value[:, :seen]
        results.append(_attend(*block, None, causal, scale))
    return mx.concatenate(results, axis=1)


def _attend(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    causal: bool,
    scale: Any,
) -> Array:
    weights, attending = weights_and_attending(query, key, mask, causal, scale)
    return weighted_sum(weights, value, attending)
