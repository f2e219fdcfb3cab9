"""Position encodings: sinusoidal, rotary, learned, and ALiBi."""

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import random
from lucid_fn.checks import (
    check_bool,
    check_count,
    check_float,
    check_integer,
    check_number,
    check_size,
    shape_error,
)
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import check_params, check_positive, check_state
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.nn.initializers import Initializer
from lucid_fn.ops.concatenation import split_evenly
from lucid_fn.ops.embedding import take_rows_or_nan
from lucid_fn.ops.input_checks import takes_array
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State

_SMALL_NORMAL = initializers.normal(0.02)


def sinusoidal_positions(
    length: int, features: int, *, base: float = 10000.0, offset: int | Array = 0
) -> Array:
    """Sinusoidal position encodings, to be added to the features of a sequence.

    `p[t, 2i] = sin((offset + t) / base^(2i / features))`, and `p[t, 2i + 1]` is the
    cosine. Errors are below 1e-6 at any position below 2^31.

    Args:
        length: number of positions.
        features: number of sines and cosines; even.
        base: the longest wavelength is `2 * pi * base`; greater than 1.
        offset: first position: an integer, or an integer array of shape `()`.

    Returns:
        float32 array of shape `(length, features)`, in [-1, 1].

    Raises:
        ValueError: if an argument is out of range.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.5.

    Example:
        >>> from lucid_fn import nn
        >>> nn.sinusoidal_positions(2, 2)
        array([[0, 1],
               [0.841471, 0.540302]], dtype=float32)
    """
    length = check_count("sinusoidal_positions", "length", length)
    features = check_count("sinusoidal_positions", "features", features)
    check_even("sinusoidal_positions", "features", features)
    check_size("sinusoidal_positions", "length and features", (length, features))
    check_base("sinusoidal_positions", base)
    _check_offset("sinusoidal_positions", offset)
    return _sinusoids(length, features, base, offset)


def _sinusoids(length: int, features: int, base: float, offset: int | Array) -> Array:
    angles = angles_at(length, features, base, offset)
    waves = mx.stack([mx.sin(angles), mx.cos(angles)], axis=-1)
    return waves.reshape(length, features)


def angles_at(length: int, features: int, base: float, offset: int | Array) -> Array:
    """`(offset + t) / base^(2i / features)` in [-pi, pi], `(length, features / 2)`."""
    # In fixed-point numbers of 2^-64 turns, whose products wrap around as angles do:
    # in float32 the angle of position 10,000 would be off by 5e-4.
    exponents = np.arange(0, features, 2) / features
    turns = np.round(2.0**64 / (2 * np.pi) * np.float64(base) ** -exponents)
    first = offset if isinstance(offset, mx.array) else mx.array(offset, mx.int64)
    positions = first.astype(mx.int64) + mx.arange(length)
    phases = positions.astype(mx.uint64)[:, None] * mx.array(turns.astype(np.uint64))
    return mx.view(phases, mx.int64).astype(mx.float32) * (2 * math.pi / 2**64)


@takes_array
def rotary_positions(
    x: Array, *, base: float = 10000.0, offset: int | Array = 0
) -> Array:
    """Rotary position embedding (RoPE): rotates pairs of features by position.

    Feature `i` of the first half and feature `i` of the second half form a pair, which
    is rotated by the angle `(offset + t) / base^(2i / D)`. The product of two rotated
    vectors then depends only on the distance between their positions.

    Args:
        x: float array, shape `(..., L, D)`, with at least three axes; `D` even.
        base: the longest wavelength is `2 * pi * base`; greater than 1.
        offset: first position: an integer, or an integer array of shape `()`.

    Returns:
        Float array of the shape and dtype of `x`; half precision is rounded once.

    Raises:
        TypeError: if `x` is not of a float dtype.
        ValueError: if an argument is out of range.

    Source: Su et al., 2021, https://arxiv.org/abs/2104.09864, eq. 34, with pairs across
    the halves, as in GPT-NeoX and Llama, not of neighbours, as in the paper.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.rotary_positions(mx.array([[[1.0, 0.0], [1.0, 0.0]]]))
        array([[[1, 0],
                [0.540302, 0.841471]]], dtype=float32)
    """
    check_float("rotary_positions", x=x)
    if x.ndim < 3:
        raise shape_error("rotary_positions", "x", x, "(N, ..., L, D)")
    check_even("rotary_positions", "D", x.shape[-1])
    check_base("rotary_positions", base)
    _check_offset("rotary_positions", offset)
    return rotate(x, angles_at(x.shape[-2], x.shape[-1], base, offset))


def rotate(x: Array, angles: Array) -> Array:
    """Rotates the pairs across the two halves of the last axis of `x` by `angles`."""
    left, right = split_evenly(x, 2)  # (..., D / 2)
    cos, sin = mx.cos(angles), mx.sin(angles)
    halves = [left * cos - right * sin, left * sin + right * cos]
    return mx.concatenate(halves, axis=-1).astype(x.dtype)


def learned_positions(
    max_length: int,
    embedding_dim: int,
    *,
    weight_init: Initializer = _SMALL_NORMAL,
    cached: bool = False,
) -> Layer:
    """Adds a learned vector for each position: `(..., L, embedding_dim)` to the same.

    Params: `weight` `(max_length, embedding_dim)`.

    With `cached=True` the input is the next part of a sequence, as for
    `cached_attention`: the state's `length`, int32, is the number of positions seen so
    far, and is also updated in eval mode. As a value it is not checked: positions
    beyond `max_length` give NaN.

    Args:
        max_length: maximum length of a sequence.
        embedding_dim: size of the last axis.
        weight_init: draws the weight from a key and a shape.
        cached: whether positions continue from those seen so far.

    Raises:
        TypeError: on apply, if `x` is not of a float dtype.
        ValueError: if a size is not positive; on apply, if `x` is longer than
            `max_length` or has the wrong size.

    Source: Gehring et al., 2017, https://arxiv.org/abs/1705.03122, section 3.1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.learned_positions(16, 4, cached=True)
        >>> params, state = layer.init(random.key(0))
        >>> y, state = layer.apply(params, state, mx.zeros((1, 3, 4)), train=False)
        >>> y, state = layer.apply(params, state, mx.zeros((1, 1, 4)), train=False)
        >>> mx.array_equal(y[0, 0], params["weight"][3]).item()
        True
    """
    caller = "learned_positions"
    check_bool(caller, cached=cached)
    max_length, embedding_dim = check_positive(
        caller, max_length=max_length, embedding_dim=embedding_dim
    )
    shape = max_length, embedding_dim

    def init(key: Key) -> Params:
        return {"weight": weight_init(random.fold_in(key, "weight"), shape)}

    def vectors(params: Params, x: Array, first: int | Array) -> Array:
        check_params(caller, params, weight=shape)
        weight: Array = params["weight"]
        length = x.shape[-2]
        if isinstance(first, int):
            return weight[first : first + length]
        return take_rows_or_nan(weight, first + mx.arange(length))

    return _position_layer(caller, shape, init, vectors, cached)


def positional_encoding(
    embedding_dim: int, *, base: float = 10000.0, cached: bool = False
) -> Layer:
    """Adds `sinusoidal_positions` to a sequence: `(..., L, embedding_dim)` to the same.

    It has no params, and with `cached=True` the state of `learned_positions`.

    Args:
        embedding_dim: size of the last axis; even.
        base: as in `sinusoidal_positions`.
        cached: whether positions continue from those seen so far, as in
            `learned_positions`.

    Raises:
        TypeError: on apply, if `x` is not of a float dtype.
        ValueError: if an argument is out of range; on apply, if `x` has the wrong size.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.5.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.positional_encoding(2)
        >>> layer.apply({}, {}, mx.zeros((1, 2, 2)), train=False)[0]
        array([[[0, 1],
                [0.841471, 0.540302]]], dtype=float32)
    """
    caller = "positional_encoding"
    check_bool(caller, cached=cached)
    embedding_dim = check_count(caller, "embedding_dim", embedding_dim)
    check_even(caller, "embedding_dim", embedding_dim)
    check_base(caller, base)

    def vectors(params: Params, x: Array, first: int | Array) -> Array:
        return _sinusoids(x.shape[-2], embedding_dim, base, first).astype(x.dtype)

    shape = None, embedding_dim
    return _position_layer(caller, shape, lambda key: {}, vectors, cached)


def _position_layer(
    caller: str,
    shape: tuple[int | None, int],
    init_params: Callable[[Key], Params],
    vectors: Callable[[Params, Array, int | Array], Array],
    cached: bool,
) -> Layer:
    """A layer that adds `vectors(params, x, first_position)` to `x`.

    `shape` is the maximum length of a sequence, or `None`, and its number of features.
    """
    max_length, size = shape
    limit = "" if max_length is None else f" with L at most {max_length}"

    def init(key: Key, /) -> tuple[Params, State]:
        state = {"length": mx.array(0, mx.int32)} if cached else {}
        return started((init_params(key), state))

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        check_float(caller, x=x)
        fits = x.ndim >= 2 and x.shape[-1] == size
        if not fits or (max_length is not None and x.shape[-2] > max_length):
            raise shape_error(caller, "x", x, f"(..., L, {size}){limit}")
        if not cached:
            return x + vectors(params, x, 0), state
        check_state(caller, state, length=())
        first = state["length"]
        return x + vectors(params, x, first), {"length": first + x.shape[-2]}

    return Layer(init, apply)


def alibi_bias(num_heads: int, length: int, *, keys: int | None = None) -> Array:
    """ALiBi: a per-head linear bias on attention logits.

    `bias[h, i, j] = -m_h * |S - L + i - j|`. Pass it as the float mask of
    `dot_product_attention` or `AttentionInputs`. The slopes `m_h` are
    `2^(-8 h / num_heads)` for `h = 1, 2, ...`; if `num_heads` is no power of 2, those
    of the power below it, then every other one of the power above.

    Args:
        num_heads: number of attention heads.
        length: `L`, number of queries; the last query has the position of the last key.
        keys: `S`, number of keys; `length` if `None`.

    Returns:
        float32 array of shape `(num_heads, length, keys)`, at most 0.

    Raises:
        ValueError: if a number is not positive, or there are fewer keys than queries.

    Source: Press et al., 2021, https://arxiv.org/abs/2108.12409, section 3; numbers of
    heads that are not powers of 2 as in its code.

    Example:
        >>> from lucid_fn import nn
        >>> nn.alibi_bias(2, 3)[0]
        array([[-0, -0.0625, -0.125],
               [-0.0625, -0, -0.0625],
               [-0.125, -0.0625, -0]], dtype=float32)
    """
    length = check_count("alibi_bias", "length", length)
    keys = length if keys is None else check_count("alibi_bias", "keys", keys)
    num_heads = check_count("alibi_bias", "num_heads", num_heads)
    if keys < length:
        raise ValueError(
            f"alibi_bias: keys must be at least length, got {keys} and {length}"
        )
    check_size("alibi_bias", "num_heads and length", (num_heads, length, keys))
    power = 1 << (num_heads.bit_length() - 1)
    exponents = [8 * h / power for h in range(1, power + 1)]
    exponents += [4 * h / power for h in range(1, 2 * (num_heads - power), 2)]
    slopes = mx.array([2.0**-exponent for exponent in exponents])
    queries = mx.arange(keys - length, keys)
    distances = mx.abs(queries[:, None] - mx.arange(keys)).astype(mx.float32)
    return -slopes[:, None, None] * distances


def check_even(caller: str, name: str, size: int) -> None:
    """Raises unless the size is even."""
    if size % 2:
        raise ValueError(f"{caller}: {name} must be even, got {size}")


def _check_offset(caller: str, offset: Any) -> None:
    if isinstance(offset, mx.array):
        check_integer(caller, offset=offset)
        if offset.ndim:
            raise ValueError(f"{caller}: offset must have shape (), got {offset.shape}")
        return
    check_count(caller, "offset", offset, at_least=-(2**31))


def check_base(caller: str, base: Any, name: str = "base") -> None:
    """Raises unless the base of the wavelengths is a number greater than 1."""
    check_number(caller, name, base, above=1)
