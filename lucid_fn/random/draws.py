"""Draws from distributions."""

import math
from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from lucid_fn.random.checks import (
    check_axis,
    check_dtype,
    check_key,
    check_parameters,
    is_integer,
    to_integer,
    to_shape,
)
from lucid_fn.types import Array, Key


def normal(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the normal distribution of mean 0 and deviation 1.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of another kind.

    Example:
        >>> from lucid_fn import random
        >>> random.normal(random.key(0), (2, 3)).shape
        (2, 3)
    """
    check_key("normal", key)
    size = to_shape("normal", shape)
    check_dtype("normal", dtype, mx.floating, "a float dtype")
    return mx.random.normal(size, dtype, key=key)


def uniform(
    key: Key,
    shape: Sequence[int] = (),
    dtype: mx.Dtype = mx.float32,
    *,
    low: float | Array = 0.0,
    high: float | Array = 1.0,
) -> Array:
    """Draws from `[low, high)`, all values equally likely.

    Args:
        key: a key.
        shape: the shape of the result, to which `low` and `high` broadcast.
        dtype: a float dtype.
        low: least value.
        high: bound of the values, at least `low`.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if `low > high`, or a bound does not broadcast to `shape`.

    Example:
        >>> from lucid_fn import random
        >>> random.uniform(random.key(0), (3,), low=-1.0).shape
        (3,)
    """
    check_key("uniform", key)
    size = to_shape("uniform", shape)
    check_dtype("uniform", dtype, mx.floating, "a float dtype")
    check_parameters("uniform", size, low=low, high=high)
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise ValueError(
            f"random.uniform: low must be at most high, got {low} and {high}"
        )
    y = mx.random.uniform(low, high, size, dtype, key=key)
    # Where the range is small beside its bounds, the largest draws are rounded up.
    return mx.where(y >= high, low, y).astype(dtype)


def truncated_normal(
    key: Key,
    shape: Sequence[int] = (),
    dtype: mx.Dtype = mx.float32,
    *,
    low: float | Array = -2.0,
    high: float | Array = 2.0,
) -> Array:
    """Draws from the normal distribution, given that they are in `[low, high]`.

    Args:
        key: a key.
        shape: the shape of the result, to which `low` and `high` broadcast.
        dtype: a float dtype.
        low: least value, in standard deviations.
        high: greatest value, in standard deviations.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: unless `low < high`, or if one does not broadcast to `shape`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> x = random.truncated_normal(random.key(0), (100,), low=0.0)
        >>> mx.all((x >= 0) & (x <= 2)).item()
        True
    """
    check_key("truncated_normal", key)
    size = to_shape("truncated_normal", shape)
    check_dtype("truncated_normal", dtype, mx.floating, "a float dtype")
    check_parameters("truncated_normal", size, low=low, high=high)
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        raise ValueError(
            f"random.truncated_normal: low must be less than high, got {low} and {high}"
        )
    return mx.random.truncated_normal(low, high, size, dtype, key=key)


def bernoulli(
    key: Key, probability: float | Array = 0.5, shape: Sequence[int] = ()
) -> Array:
    """Draws that are true with a probability in [0, 1]: bool.

    Args:
        key: a key.
        probability: a number, or an array that broadcasts to `shape`.
        shape: the shape of the result.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if `probability` is out of range, or does not broadcast.

    Example:
        >>> from lucid_fn import random
        >>> random.bernoulli(random.key(0), 1.0, (2,))
        array([True, True], dtype=bool)
    """
    check_key("bernoulli", key)
    size = to_shape("bernoulli", shape)
    check_parameters("bernoulli", size, probability=probability)
    if isinstance(probability, int | float) and not 0 <= probability <= 1:
        raise ValueError(
            f"random.bernoulli: probability must be in [0, 1], got {probability}"
        )
    return mx.random.bernoulli(probability, size, key=key)


def randint(
    key: Key,
    shape: Sequence[int] = (),
    *,
    low: int | Array = 0,
    high: int | Array,
    dtype: mx.Dtype = mx.int32,
) -> Array:
    """Draws integers from `[low, high)`, all with one probability.

    To a part in `2^64 / (high - low)`: each is what 64 random bits leave, divided by
    the number of integers.

    Args:
        key: a key.
        shape: the shape of the result, to which `low` and `high` broadcast.
        low: least value.
        high: bound of the values, greater than `low`.
        dtype: an integer dtype.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: unless `low < high`, if one does not broadcast to `shape`, or if
            `dtype` does not hold all integers between them.

    Example:
        >>> from lucid_fn import random
        >>> random.randint(random.key(0), (4,), high=1)
        array([0, 0, 0, 0], dtype=int32)
    """
    check_key("randint", key)
    size = to_shape("randint", shape)
    check_dtype("randint", dtype, mx.integer, "an integer dtype")
    limits = mx.iinfo(dtype)
    beyond = int(dtype.size < 8)  # in 64 bits the whole range has too many integers
    for name, value in (("low", low), ("high", high)):
        if not isinstance(value, mx.array):
            number = to_integer("randint", name, value)
            if not limits.min <= number <= limits.max + beyond * (name == "high"):
                raise ValueError(
                    f"random.randint: {name} must be within {dtype}, got {number}; "
                    "give another dtype, such as mx.int64"
                )
        elif not mx.issubdtype(value.dtype, mx.integer):
            raise TypeError(
                f"random.randint: {name} must be of an integer dtype, got {value.dtype}"
            )
    check_parameters("randint", size, low=low, high=high)
    if isinstance(low, int) and isinstance(high, int) and low >= high:
        raise ValueError(
            f"random.randint: low must be less than high, got {low} and {high}"
        )
    start, end = _as_uint64(low), _as_uint64(high)
    words = mx.random.split(key, math.prod(size)).astype(mx.uint64)
    bits = ((words[:, 0] << 32) | words[:, 1]).reshape(size)
    # Unsigned arithmetic is modulo 2^64: right for negative bounds too.
    return (start + bits % mx.maximum(end - start, 1)).astype(dtype)


def _as_uint64(value: int | Array) -> Array:
    if not isinstance(value, mx.array):
        return mx.array(np.array(value % 2**64, np.uint64))  # more than MLX takes
    return value.astype(mx.uint64)


def categorical(key: Key, logits: Array, *, axis: int = -1) -> Array:
    """Draws class indices with the probabilities `softmax(logits)` along `axis`.

    Args:
        key: a key.
        logits: unnormalised log-probabilities.
        axis: the axis of the classes, which the result has no more.

    Returns:
        Indices, uint32.

    Raises:
        TypeError: if `key` is not a key, or `logits` not an array.
        ValueError: if `logits` has no such axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> random.categorical(random.key(0), mx.array([[0.0, -1e9], [-1e9, 0.0]]))
        array([0, 1], dtype=uint32)
    """
    check_key("categorical", key)
    if not isinstance(logits, mx.array):
        raise TypeError(
            f"random.categorical: logits must be an array, got {type(logits).__name__}"
        )
    check_axis("categorical", axis, logits.ndim)
    return mx.random.categorical(logits, axis, key=key)


def gumbel(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the standard Gumbel distribution, `-log(-log(u))` of uniform `u`.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of another kind.

    Example:
        >>> from lucid_fn import random
        >>> random.gumbel(random.key(0), (2, 3)).shape
        (2, 3)
    """
    check_key("gumbel", key)
    size = to_shape("gumbel", shape)
    check_dtype("gumbel", dtype, mx.floating, "a float dtype")
    return mx.random.gumbel(size, dtype, key=key)


def permutation(key: Key, x: int | Array, *, axis: int = 0) -> Array:
    """The integers below `x`, or the slices of an array along `axis`, in random order.

    Args:
        key: a key.
        x: a number of integers, or an array.
        axis: the axis along which an array is shuffled.

    Raises:
        TypeError: if `key` is not a key, or `x` neither an integer nor an array.
        ValueError: if `x` is a negative number, or has no such axis.

    Example:
        >>> from lucid_fn import random
        >>> sorted(random.permutation(random.key(0), 5).tolist())
        [0, 1, 2, 3, 4]
    """
    check_key("permutation", key)
    if isinstance(x, mx.array):
        check_axis("permutation", axis, x.ndim)
        return mx.random.permutation(x, axis, key=key)
    if not is_integer(x):
        raise TypeError(
            f"random.permutation: x must be an integer or an array, got {x!r}"
        )
    if x < 0:
        raise ValueError(f"random.permutation: x must be at least 0, got {x}")
    return mx.random.permutation(x, key=key)
