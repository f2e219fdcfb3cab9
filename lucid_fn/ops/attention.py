"""Scaled dot-product attention."""

import math
from typing import Any

import mlx.core as mx

from lucid_fn.checks import (
    check_array,
    check_bool,
    check_float,
    check_scalar,
    check_size,
    shape_error,
)
from lucid_fn.numerics import reduced
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.ops.seam import replaceable
from lucid_fn.ops.softmax import softmax
from lucid_fn.types import Array


def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Array:
    """Scaled dot-product attention, `softmax(scale * query @ key.T + mask) @ value`.

    Args:
        query: float, shape `(N, L, H, D)`.
        key: float, shape `(N, S, H, D)`, or with fewer heads, a divisor of `H`, each
            shared by neighbouring heads of the query (grouped-query attention).
        value: float, shape `(N, S, H, V)`, with the heads of `key`.
        mask: bool, true where a query attends to a key, or float, added to the scores;
            it broadcasts to `(N, H, L, S)`. A bool mask with three axes is refused: its
            first axis would be the heads, but is usually meant to be the examples.
        causal: whether query `i` attends to the first `S - L + i + 1` keys only, so
            that the last query attends to all; in addition to `mask`.
        scale: `1 / sqrt(D)` if `None`.

    Returns:
        Float array of shape `(N, L, H, V)`, of the promoted dtype of query, key and
        value; float16 is computed in float32. For a query that attends to no key, since
        all are masked or there are none, the output and its gradients are 0.

    Raises:
        TypeError: if an argument is not a float array, or the mask has an integer
            dtype.
        ValueError: if the shapes do not fit.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 1. On a GPU
    this is MLX's fused kernel, which never stores the weights, for the shapes that it
    supports; whether there is one for the gradient depends on the version of MLX.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.ones((1, 3, 2, 4))
        >>> ops.dot_product_attention(x, x, x, causal=True).shape
        (1, 3, 2, 4)
    """
    caller = "dot_product_attention"
    _check_heads(caller, query, key, value, causal)
    (n, length, heads, size), keys = query.shape, key.shape[1]
    scale = _to_scale(caller, scale, size)
    dtype = mx.result_type(query, key, value)
    if mask is not None:
        _check_mask(caller, mask, (n, heads, length, keys))
    count_multiply_adds(n * heads * length * keys * (size + value.shape[-1]))
    if 0 in (n, length, heads, keys):
        return mx.zeros((n, length, heads, value.shape[-1]), dtype)
    return attend(query, key, value, mask, causal, scale).astype(dtype)


@replaceable
def attend(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    causal: bool,
    scale: Any,
) -> Array:
    """`dot_product_attention` without checks, of arrays that are not empty."""
    full_mask, attending = _combined_mask(mask, query.shape[1], key.shape[1], causal)
    dtype = mx.result_type(query, key, value)
    wide = mx.float32 if dtype == mx.float16 else dtype  # scores may overflow
    if full_mask is not None and full_mask.dtype != mx.bool_:
        full_mask = full_mask.astype(wide)
    y = mx.fast.scaled_dot_product_attention(
        *(x.astype(wide).transpose(0, 2, 1, 3) for x in (query, key, value)),
        scale=scale,
        mask="causal" if causal and mask is None else full_mask,
    )
    return _zero_unless(y, attending).transpose(0, 2, 1, 3)


def dot_product_attention_weights(
    query: Array,
    key: Array,
    *,
    mask: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Array:
    """The weights of `dot_product_attention`: `softmax(scale * query @ key.T + mask)`.

    Args:
        query: float, shape `(N, L, H, D)`.
        key: float, shape `(N, S, H, D)`, or with fewer heads, a divisor of `H`.
        mask: as in `dot_product_attention`.
        causal: as in `dot_product_attention`.
        scale: `1 / sqrt(D)` if `None`.

    Returns:
        Float array of shape `(N, H, L, S)`, of the promoted dtype of query and key. The
        weights of a query sum to 1, or are 0 if it attends to no key.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.ones((1, 2, 1, 4))
        >>> ops.dot_product_attention_weights(x, x, causal=True)
        array([[[[1, 0],
                 [0.5, 0.5]]]], dtype=float32)
    """
    caller = "dot_product_attention_weights"
    _check_heads(caller, query, key, key, causal)
    (n, length, heads, size), keys = query.shape, key.shape[1]
    dtype = mx.result_type(query, key)
    if mask is not None:
        _check_mask(caller, mask, (n, heads, length, keys))
    count_multiply_adds(n * heads * length * keys * size)
    if 0 in (n, length, heads, keys):
        return mx.zeros((n, heads, length, keys), dtype)
    check_size(caller, "query and key", (n, heads, length, keys))
    scale = _to_scale(caller, scale, size)
    weights, attending = weights_and_attending(query, key, mask, causal, scale)
    return _zero_unless(weights, attending).astype(dtype)


def attention_from_weights(weights: Array, value: Array) -> Array:
    """`weights @ value` for weights `(N, H, L, S)` and values `(N, S, H, V)`."""
    n, heads, length, keys = weights.shape
    dtype = mx.result_type(weights, value)
    count_multiply_adds(weights.size * value.shape[-1])
    if 0 in (n, heads, length, keys):
        return mx.zeros((n, length, heads, value.shape[-1]), dtype)
    return weighted_sum(weights, value, None).astype(dtype)


def weights_and_attending(
    query: Array, key: Array, mask: Array | None, causal: bool, scale: Any
) -> tuple[Array, Array | None]:
    """The weights `(N, H, L, S)`, at least float32, and which queries attend to a key.

    The weights of other queries are meaningless. `None`: all queries attend to a key.
    """
    n, length, heads, size = query.shape
    keys, kv_heads = key.shape[1:3]
    wide = mx.result_type(query, key, mx.float32)
    query, key = (x.astype(wide).transpose(0, 2, 1, 3) for x in (query, key))
    # Neighbouring heads of the query share one of the key: one matrix product for all.
    grouped = (query * scale).reshape(n, kv_heads, heads // kv_heads * length, size)
    scores = (grouped @ key.swapaxes(-1, -2)).reshape(n, heads, length, keys)
    full_mask, attending = _combined_mask(mask, length, keys, causal)
    if full_mask is not None and full_mask.dtype == mx.bool_:
        scores = mx.where(full_mask, scores, mx.array(-math.inf, wide))
    elif full_mask is not None:
        scores = scores + full_mask.astype(wide)
    return softmax(scores), attending


def weighted_sum(weights: Array, value: Array, attending: Array | None) -> Array:
    """`weights @ value`, `(N, L, H, V)`; 0 for queries that attend to no key."""
    n, heads, length, keys = weights.shape
    kv_heads, size = value.shape[2:]
    wide = mx.result_type(weights, value, mx.float32)
    value = value.astype(wide).transpose(0, 2, 1, 3)
    grouped = weights.astype(wide).reshape(
        n, kv_heads, heads // kv_heads * length, keys
    )
    y = (grouped @ value).reshape(n, heads, length, size)
    return _zero_unless(y, attending).transpose(0, 2, 1, 3)


def _zero_unless(y: Array, attending: Array | None) -> Array:
    """`y`, but 0 without gradients for queries that attend to no key."""
    return y if attending is None else mx.where(attending, y, mx.zeros_like(y))


def _combined_mask(
    mask: Array | None, length: int, keys: int, causal: bool
) -> tuple[Array | None, Array | None]:
    """The mask combined with the causal one, and which queries attend to a key.

    For other queries it masks nothing, so that their softmax and its gradient are
    finite.
    """
    if mask is None:
        return (_causal_mask(length, keys) if causal else None), None
    mask = mask[None] if mask.ndim == 0 else mask
    if mask.dtype == mx.bool_:
        # Not `&` and `|`, which MLX vectorizes wrongly if only one operand is mapped.
        mask = mx.logical_and(mask, _causal_mask(length, keys)) if causal else mask
        attending = reduced(mx.any, mask, axis=-1, keepdims=True, empty=False)
        return mx.logical_or(mask, mx.logical_not(attending)), attending
    if causal:
        hidden = mx.array(-math.inf, mask.dtype)
        mask = mx.where(_causal_mask(length, keys), mask, hidden)
    shown = mask != -math.inf
    attending = reduced(mx.any, shown, axis=-1, keepdims=True, empty=False)
    return mx.where(attending, mask, mx.zeros_like(mask)), attending


def _causal_mask(length: int, keys: int) -> Array:
    """The causal mask `(L, S)`, where the last query is at the last key."""
    return mx.arange(keys) <= mx.arange(keys - length, keys)[:, None]


def _to_scale(caller: str, scale: Any, size: int) -> Any:
    """The factor of the scores, a number or an array."""
    if scale is None:
        return max(size, 1) ** -0.5
    return check_scalar(caller, "scale", scale)


def _check_mask(caller: str, mask: Array, shape: tuple[int, int, int, int]) -> None:
    """Raises for masks that do not fit, or are probably mistaken."""
    check_array(caller, mask=mask)
    if mask.dtype != mx.bool_ and not mx.issubdtype(mask.dtype, mx.floating):
        raise TypeError(
            f"{caller}: mask must be of dtype bool or float, got "
            f"{mask.dtype}; true is attended to: mask.astype(mx.bool_)"
        )
    if mask.ndim == 3 and mask.dtype == mx.bool_:
        raise ValueError(
            f"{caller}: mask must have an axis for the heads, got "
            f"{mask.shape}; write mask[:, None] for (N, L, S), mask[None] for (H, L, S)"
        )
    padded = (1,) * (4 - mask.ndim) + mask.shape
    if len(padded) > 4 or any(
        m not in (1, n) for m, n in zip(padded, shape, strict=True)
    ):
        raise ValueError(
            f"{caller}: mask must broadcast to (N, H, L, S) = {shape}, "
            f"got {mask.shape}; a mask of the keys (N, S) is mask[:, None, None]"
        )


def _check_heads(
    caller: str, query: Array, key: Array, value: Array, causal: bool
) -> None:
    check_bool(caller, causal=causal)
    check_float(caller, query=query, key=key, value=value)
    if query.ndim != 4:
        raise shape_error(caller, "query", query, "(N, L, H, D)", axes=4)
    n, _, heads, size = query.shape
    if (
        key.ndim != 4
        or (key.shape[0], key.shape[3]) != (n, size)
        or (heads % key.shape[2] if key.shape[2] else heads)
    ):
        raise shape_error(
            caller, "key", key, f"({n}, S, H, {size}) with H a divisor of {heads}"
        )
    if value.shape[:3] != key.shape[:3] or value.ndim != 4:
        raise shape_error(
            caller, "value", value, f"({', '.join(map(str, key.shape[:3]))}, V)"
        )
    if causal and query.shape[1] > key.shape[1]:
        raise ValueError(
            f"{caller}: causal needs a key for each query, got "
            f"{query.shape[1]} queries and {key.shape[1]} keys"
        )
