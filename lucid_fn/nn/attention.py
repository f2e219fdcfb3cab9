"""Attention: sums of values, weighted by how well a key matches a query."""

import math

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_array, check_float
from lucid_fn.nn.recording import count_multiply_adds
from lucid_fn.ops.seam import tuned
from lucid_fn.types import Array, ArrayFn


def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Array:
    """`softmax(scale * query @ key.T + mask) @ value`, for each head.

    Args:
        query: float, shape `(N, L, H, D)`.
        key: float, shape `(N, S, H, D)`, or with fewer heads, a divisor of `H`, each of
            which serves neighbouring heads of the query.
        value: float, shape `(N, S, H, V)`, with the heads of `key`.
        mask: bool, true where a query attends to a key, or float, added to the
            logarithm of the weights; it broadcasts to `(N, H, L, S)`. A bool one of
            three axes is refused: it would be one a head, and is mostly one an example.
        causal: whether query `i` attends to the first `S - L + i + 1` keys alone: the
            last query to all. Together with `mask`, both hold.
        scale: `1 / sqrt(D)` if `None`.

    Returns:
        Float array of shape `(N, L, H, V)`. A query without a key gives nan.

    Raises:
        TypeError: if an argument is no float array, or the mask one of integers.
        ValueError: if the shapes do not fit.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 1. On a GPU
    it is MLX's fused kernel, which never stores the weights.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.ones((1, 3, 2, 4))
        >>> nn.dot_product_attention(x, x, x, causal=True).shape
        (1, 3, 2, 4)
    """
    if scale is None:
        scale = query.shape[-1] ** -0.5
    return _attend(query, key, value, mask, causal, scale, drop=None)


def attention_with_dropout(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array | None,
    causal: bool,
    kept: Array,
    rate: float,
) -> Array:
    """`dot_product_attention` with the weights that are kept, a bool `(N, H, L, S)`."""

    def drop(weights: Array) -> Array:
        return weights * kept * (1 / (1 - rate))

    return _attend(query, key, value, mask, causal, query.shape[-1] ** -0.5, drop)


def _attend(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    causal: bool,
    scale: float,
    drop: ArrayFn | None,
) -> Array:
    _check_heads(query, key, value, causal)
    (n, length, heads, size), keys = query.shape, key.shape[1]
    count_multiply_adds(n * heads * length * keys * (size + value.shape[-1]))
    whole = _whole_mask(mask, (n, heads, length, keys), causal, query.dtype)
    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
    if drop is not None or tuned():
        y = _by_parts(query * scale, key, value, whole, drop)
    else:
        y = mx.fast.scaled_dot_product_attention(
            query,
            key,
            value,
            scale=scale,
            mask="causal" if causal and mask is None else whole,
        )
    return y.transpose(0, 2, 1, 3)


def _by_parts(
    query: Array, key: Array, value: Array, mask: Array | None, drop: ArrayFn | None
) -> Array:
    """The equation, for CPUs: there the fused kernel takes three times as long."""
    n, heads, length, size = query.shape
    # Neighbouring heads of the query share one of the key: one matrix product for all.
    grouped = (n, key.shape[1], -1, size)
    scores = query.reshape(grouped) @ key.swapaxes(-1, -2)
    scores = scores.reshape(n, heads, length, -1)
    if mask is not None and mask.dtype == mx.bool_:
        scores = mx.where(mask, scores, mx.array(-math.inf, scores.dtype))
    elif mask is not None:
        scores = scores + mask
    weights = ops.softmax(scores)
    weights = weights if drop is None else drop(weights)
    shared = weights.reshape(n, value.shape[1], -1, value.shape[2])
    return (shared @ value).reshape(n, heads, length, -1)


def _whole_mask(
    mask: Array | None, shape: tuple[int, int, int, int], causal: bool, dtype: mx.Dtype
) -> Array | None:
    """The mask and the causal one together, for weights `(N, H, L, S)`."""
    if mask is not None:
        _check_mask(mask)
        if mask.dtype != mx.bool_:
            mask = mask.astype(dtype)
        padded = (1,) * (4 - mask.ndim) + mask.shape
        if len(padded) > 4 or any(
            m not in (1, n) for m, n in zip(padded, shape, strict=True)
        ):
            raise ValueError(
                f"dot_product_attention: mask must broadcast to (N, H, L, S) = {shape},"
                f" got {mask.shape}; a mask of the keys (N, S) is mask[:, None, None]"
            )
    if not causal:
        return mask
    length, size = shape[2:]
    earlier = mx.arange(size) <= mx.arange(size - length, size)[:, None]
    if mask is None:
        return earlier
    if mask.dtype == mx.bool_:
        return mask & earlier
    return mx.where(earlier, mask, mx.array(-math.inf, mask.dtype))


def _check_mask(mask: Array) -> None:
    """Raises for masks that would mean something else than they seem to."""
    check_array("dot_product_attention", mask=mask)
    if mx.issubdtype(mask.dtype, mx.integer):
        raise TypeError(
            f"dot_product_attention: mask must be of dtype bool or float, got "
            f"{mask.dtype}; true is attended to: mask.astype(mx.bool_)"
        )
    if mask.ndim == 3 and mask.dtype == mx.bool_:
        raise ValueError(
            "dot_product_attention: mask must have its axis of heads, got "
            f"{mask.shape}; write mask[:, None] for (N, L, S), mask[None] for (H, L, S)"
        )


def _check_heads(query: Array, key: Array, value: Array, causal: bool) -> None:
    check_float("dot_product_attention", query=query, key=key, value=value)
    if query.ndim != 4:
        raise ValueError(
            "dot_product_attention: query must have shape (N, L, H, D), got "
            f"{query.shape}"
        )
    n, _, heads, size = query.shape
    if (
        key.ndim != 4
        or (key.shape[0], key.shape[3]) != (n, size)
        or heads % key.shape[2]
    ):
        raise ValueError(
            f"dot_product_attention: key must have shape ({n}, S, H, {size}) with H a "
            f"divisor of {heads}, got {key.shape}"
        )
    if value.shape[:3] != key.shape[:3] or value.ndim != 4:
        raise ValueError(
            f"dot_product_attention: value must have shape "
            f"({', '.join(map(str, key.shape[:3]))}, V), got {value.shape}"
        )
    if causal and query.shape[1] > key.shape[1]:
        raise ValueError(
            "dot_product_attention: causal needs a key for each query, got "
            f"{query.shape[1]} queries and {key.shape[1]} keys"
        )
