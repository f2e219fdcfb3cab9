"""Draws from the exponential, the Laplace and the Gumbel distribution."""

from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.random.checks import check_dtype, check_key, to_shape
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def exponential(
    key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32
) -> Array:
    """Draws from the exponential distribution of rate 1, `p(x) = exp(-x)`.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> mx.all(random.exponential(random.key(0), (100,)) >= 0).item()
        True
    """
    check_key("exponential", key)
    size = to_shape("exponential", shape)
    check_dtype("exponential", dtype, mx.floating, "a float dtype")
    return started(draw_exponential(key, size).astype(dtype))


def laplace(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the Laplace distribution, `p(x) = exp(-|x|) / 2`.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> from lucid_fn import random
        >>> random.laplace(random.key(0), (2, 3)).shape
        (2, 3)
    """
    check_key("laplace", key)
    size = to_shape("laplace", shape)
    check_dtype("laplace", dtype, mx.floating, "a float dtype")
    return started(mx.random.laplace(size, mx.float32, key=key).astype(dtype))


def gumbel(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the standard Gumbel distribution, `-log(-log(u))` of uniform `u`.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> from lucid_fn import random
        >>> random.gumbel(random.key(0), (2, 3)).shape
        (2, 3)
    """
    check_key("gumbel", key)
    size = to_shape("gumbel", shape)
    check_dtype("gumbel", dtype, mx.floating, "a float dtype")
    # In 16 bits the largest uniform number is far from 1, and all tails end there.
    u = mx.random.uniform(shape=size, key=key)
    return started(-mx.log(-mx.log(mx.maximum(u, 2.0**-33))).astype(dtype))


def draw_exponential(key: Key, shape: tuple[int, ...]) -> Array:
    return -mx.log1p(-mx.random.uniform(shape=shape, key=key))


def first_accepted(candidates: Array, accepted: Array) -> Array:
    """The first candidate along axis 0 that is accepted, and the first if none is."""
    if candidates.size == 0:  # MLX has no argmax of nothing
        return candidates[0]
    first = mx.argmax(accepted, axis=0, keepdims=True)
    return mx.take_along_axis(candidates, first, axis=0)[0]
