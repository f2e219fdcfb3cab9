"""Attention with a cache of keys and values (KV cache), for decoding."""

from typing import Any

import mlx.core as mx

from lucid_fn.checks import check_bool, check_size
from lucid_fn.nn.attention.heads import (
    check_projections,
    check_sequence,
    check_sizes,
    init_projections,
    merge_heads,
    project,
    quantizable_projections,
    rotate_query_and_key,
)
from lucid_fn.nn.attention.multi_head_attention import AttentionInputs
from lucid_fn.nn.core.checks import check_positive, check_state
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.ops.attention import dot_product_attention
from lucid_fn.tracing import is_transforming, started
from lucid_fn.types import Array, Key, Params, State


def cached_attention(
    embed_dim: int,
    num_heads: int,
    *,
    batch_size: int,
    max_length: int,
    bias: bool = True,
    rotary_base: float | None = None,
) -> Layer:
    """Causal `multi_head_attention` with a cache of past keys and values (KV cache).

    For generating a sequence step by step: it takes the next positions
    `(N, L, embed_dim)` and returns what the causal layer would return for them in the
    whole sequence. Its params are those of `multi_head_attention`. Unlike in most
    layers, the state is also updated in eval mode; start a new sequence with the state
    that `init` returns.

    State: `keys` and `values` `(batch_size, num_heads, max_length + 1, D)`, float32,
    whose last position is always 0, and `length`, int32, the number of positions seen
    so far. As a value, `length` is not checked: outputs beyond `max_length` positions
    are NaN, and leave the cache unchanged.

    Args:
        embed_dim: features of input and output.
        num_heads: number of heads, a divisor of `embed_dim`.
        batch_size: number of sequences that are generated at once.
        max_length: maximum length of a sequence.
        bias: as in `multi_head_attention`.
        rotary_base: as in `multi_head_attention`; positions count from the start of the
            sequence.

    Raises:
        TypeError: on apply, if `x` is not an array of a float dtype.
        ValueError: if an argument is out of range; on apply, if `x` has the wrong shape
            or more than `max_length` positions.

    Source: Shazeer, 2019, https://arxiv.org/abs/1911.02150, section 2.3.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.cached_attention(8, 2, batch_size=1, max_length=16)
        >>> params, state = layer.init(random.key(0))
        >>> y, state = layer.apply(params, state, mx.ones((1, 3, 8)), train=False)
        >>> y, state = layer.apply(params, state, mx.ones((1, 1, 8)), train=False)
        >>> y.shape, state["length"].item()
        ((1, 1, 8), 4)
    """
    caller = "cached_attention"
    check_bool(caller, bias=bias)
    embed_dim, num_heads = check_sizes(caller, embed_dim, num_heads, rotary_base)
    batch_size, max_length = check_positive(
        caller, batch_size=batch_size, max_length=max_length
    )
    shape = (batch_size, num_heads, max_length + 1, embed_dim // num_heads)
    widths = (embed_dim,) * 3

    def init(key: Key, /) -> tuple[Params, State]:
        check_size(caller, "batch_size and max_length", shape)
        state = {
            "keys": mx.zeros(shape),
            "values": mx.zeros(shape),
            "length": mx.array(0, mx.int32),
        }
        return started((init_projections(key, widths, bias), state))

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        if isinstance(x, AttentionInputs):
            raise TypeError(
                f"{caller}: x must be an array (N, L, embed_dim), got AttentionInputs; "
                "it is causal self-attention, with the cached keys and without a mask"
            )
        check_sequence(caller, "x", x, embed_dim)
        if x.shape[0] != batch_size or x.shape[1] > max_length:
            raise ValueError(
                f"{caller}: x must have shape ({batch_size}, L, {embed_dim}) with L at "
                f"most {max_length}, got {x.shape}"
            )
        check_state(caller, state, keys=shape, values=shape, length=())
        length = state["length"]
        check_projections(caller, params, widths, bias, embed_dim)
        query, new_keys, new_values = project(params, (x, x, x), num_heads, bias)
        if rotary_base is not None:
            query, new_keys = rotate_query_and_key(query, new_keys, rotary_base, length)
        positions = (length + mx.arange(x.shape[1]))[:, None]  # (L, 1)
        fits = (positions >= 0) & (positions < max_length)
        keys = _write(state["keys"], new_keys, positions, fits)
        values = _write(state["values"], new_values, positions, fits)
        y = dot_product_attention(
            query,
            _heads_last(keys, query.dtype),
            _heads_last(values, query.dtype),
            mask=mx.arange(max_length + 1) <= positions,
        )
        y = merge_heads(params, y, bias)
        y = mx.where(fits, y, mx.array(mx.nan, y.dtype))
        return y, {"keys": keys, "values": values, "length": length + x.shape[1]}

    return quantizable_projections(Layer(init, apply), widths)


def _heads_last(cache: Array, dtype: mx.Dtype) -> Array:
    """The cache as `(N, S, H, D)`; in memory each head remains a matrix."""
    return cache.transpose(0, 2, 1, 3).astype(dtype)


def _write(cache: Array, new: Array, positions: Array, fits: Array) -> Array:
    """The cache with `new` `(N, L, H, D)` written to the `positions` that it has.

    For the others, where `fits` is false, a 0 is written to the last position.
    """
    length, last = new.shape[1], cache.shape[2] - 1
    if new.size == 0:
        return cache
    new = mx.where(fits, new.transpose(0, 2, 1, 3), 0).astype(cache.dtype)
    positions = mx.where(fits, positions, last)  # (L, 1)
    if length == 1 and not is_transforming():
        # In place if nothing else refers to the cache. MLX does not check the start,
        # and has no rule for `vmap` over it.
        return mx.slice_update(cache, new, positions[0], (2,))
    index = mx.arange(last + 1) - positions[0]
    if length > 1:  # a single one is broadcast
        new = mx.take(new, mx.clip(index, 0, length - 1), axis=2)
    is_new = (index >= 0) & (index < length)
    return mx.where(is_new[:, None], new, cache)
