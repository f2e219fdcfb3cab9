"""Attention: sums of values, weighted by how well a key matches a query."""

import math

import mlx.core as mx

from lucid_fn import ops, random
from lucid_fn.checks import check_float
from lucid_fn.nn.recording import count_multiply_adds
from lucid_fn.types import Array, Key


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
            logarithm of the weights; it broadcasts to `(N, H, L, S)`.
        causal: whether query `i` attends to the first `S - L + i + 1` keys alone: the
            last query to all. Together with `mask`, both hold.
        scale: `1 / sqrt(D)` if `None`.

    Returns:
        Float array of shape `(N, L, H, V)`. A query without a key gives nan.

    Raises:
        ValueError: if the shapes do not fit.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 1. It is MLX's
    fused kernel, which never stores the weights.

    Example:
        >>> import mlx.core as mx
        >>> x = mx.ones((1, 3, 2, 4))
        >>> dot_product_attention(x, x, x, causal=True).shape
        (1, 3, 2, 4)
    """
    _check_heads(query, key, value, causal)
    if causal and mask is None:
        whole: Array | str | None = "causal"
    else:
        whole = _whole_mask(query, key, mask, causal)
    heads_first = [x.transpose(0, 2, 1, 3) for x in (query, key, value)]
    y = mx.fast.scaled_dot_product_attention(
        *heads_first,
        scale=query.shape[-1] ** -0.5 if scale is None else scale,
        mask=whole,
    )
    count_multiply_adds(
        math.prod(query.shape[:3]) * key.shape[1] * (query.shape[-1] + value.shape[-1])
    )
    return y.transpose(0, 2, 1, 3)


def attention_with_dropout(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array | None,
    causal: bool,
    rate: float,
    dropout_key: Key,
) -> Array:
    """`dot_product_attention` of as many heads, with weights dropped at random."""
    _check_heads(query, key, value, causal)
    whole = _whole_mask(query, key, mask, causal)
    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
    scores = (query * query.shape[-1] ** -0.5) @ key.swapaxes(-1, -2)
    count_multiply_adds(scores.size * (query.shape[-1] + value.shape[-1]))
    if whole is not None and whole.dtype == mx.bool_:
        scores = mx.where(whole, scores, mx.array(-math.inf, scores.dtype))
    elif whole is not None:
        scores = scores + whole
    kept = random.bernoulli(dropout_key, 1 - rate, scores.shape)
    weights = ops.softmax(scores) * kept * (1 / (1 - rate))
    return (weights @ value).transpose(0, 2, 1, 3)


def _whole_mask(
    query: Array, key: Array, mask: Array | None, causal: bool
) -> Array | None:
    """The mask and the causal one together, bool or in the dtype of the query."""
    length, size = query.shape[1], key.shape[1]
    if mask is not None:
        if mask.dtype != mx.bool_:
            check_float("attention", mask=mask)
            mask = mask.astype(query.dtype)
        whole = (query.shape[0], query.shape[2], length, size)
        padded = (1,) * (4 - mask.ndim) + mask.shape
        if len(padded) > 4 or any(
            m not in (1, n) for m, n in zip(padded, whole, strict=True)
        ):
            raise ValueError(
                f"attention: mask must broadcast to (N, H, L, S) = {whole}, got "
                f"{mask.shape}"
            )
    if not causal:
        return mask
    earlier = mx.arange(size) <= mx.arange(size - length, size)[:, None]
    if mask is None:
        return earlier
    if mask.dtype == mx.bool_:
        return mask & earlier
    return mx.where(earlier, mask, mx.array(-math.inf, mask.dtype))


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
