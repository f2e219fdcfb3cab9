"""Draws from uniform distributions, of floats and of integers, and Bernoulli draws."""

import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn.random.checks import (
    check_broadcast,
    check_dtype,
    check_key,
    to_integer,
    to_parameter,
    to_shape,
)
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def uniform(
    key: Key,
    shape: Sequence[int] = (),
    dtype: mx.Dtype = mx.float32,
    *,
    low: float | Array = 0.0,
    high: float | Array = 1.0,
) -> Array:
    """Draws from the uniform distribution on `[low, high)`.

    Args:
        key: a key.
        shape: the shape of the result, to which `low` and `high` broadcast.
        dtype: a float dtype. Draws in float64 have the resolution of float32.
        low: least value, finite in `dtype`.
        high: bound of the values, finite in `dtype`, at least `low`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `low > high`, a bound is not finite, or does not broadcast to
            `shape`. An array with such values gives NaN there.

    Example:
        >>> from lucid_fn import random
        >>> random.uniform(random.key(0), (3,), low=-1.0).shape
        (3,)
    """
    check_key("uniform", key)
    size = to_shape("uniform", shape)
    check_dtype("uniform", dtype, mx.floating, "a float dtype")
    most = float(mx.finfo(dtype).max)
    words = f"finite in {dtype}".replace("mlx.core.", "")
    low, high = (
        to_parameter("uniform", name, x, size, lambda x: -most <= x <= most, words)
        for name, x in (("low", low), ("high", high))
    )
    wide = True  # whether `high - low` may overflow
    if not isinstance(low, mx.array) and not isinstance(high, mx.array):
        if low > high:
            raise ValueError(
                f"random.uniform: low must be at most high, got {low} and {high}"
            )
        wide = high - low > most
    return started(_uniform(key, size, dtype, low, high, wide))


def _uniform(
    key: Key,
    shape: tuple[int, ...],
    dtype: mx.Dtype,
    low: float | Array,
    high: float | Array,
    wide: bool,
) -> Array:
    start, end = mx.array(low, dtype), mx.array(high, dtype)
    if not wide and dtype != mx.float64:
        y = mx.random.uniform(low, high, shape, dtype, key=key)
    else:
        single = mx.float32 if dtype == mx.float64 else dtype
        unit = mx.random.uniform(shape=shape, dtype=single, key=key).astype(dtype)
        y = (end - start) * unit + start
        halves = (end / 2 - start / 2) * unit + start / 2
        y = mx.where(mx.isinf(y), 2 * halves, y)
        y = mx.where(mx.logical_and(start <= end, mx.isfinite(y)), y, math.nan)
    # Where the range is small beside its bounds, the largest draws are rounded up.
    return mx.where(y >= end, start, y).astype(dtype)


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
        TypeError: if an argument is of the wrong type.
        ValueError: unless `low < high`, if one does not broadcast to `shape`, or if
            `dtype` does not hold all integers between them. Arrays with `low >= high`
            give `low` there.

    Example:
        >>> from lucid_fn import random
        >>> random.randint(random.key(0), (4,), high=1)
        array([0, 0, 0, 0], dtype=int32)
    """
    check_key("randint", key)
    size = to_shape("randint", shape)
    if (draws := math.prod(size)) >= 2**31:  # as many keys as MLX makes at once
        raise ValueError(
            f"random.randint: shape must have fewer than 2**31 elements, got {size}"
        )
    check_dtype("randint", dtype, mx.integer, "an integer dtype")
    limits = mx.iinfo(dtype)
    beyond = int(dtype.size < 8)  # in 64 bits the whole range has too many integers
    bounds = [
        _to_bound(name, value, size, limits.min, limits.max + beyond * (name == "high"))
        for name, value in (("low", low), ("high", high))
    ]
    if not any(isinstance(x, mx.array) for x in bounds) and bounds[0] >= bounds[1]:
        raise ValueError(
            f"random.randint: low must be less than high, got {low} and {high}"
        )
    start, end = map(_as_uint64, bounds)
    words = mx.random.split(key, draws).astype(mx.uint64)
    bits = (words[:, 0] * 2**32 + words[:, 1]).reshape(size)
    # Unsigned arithmetic is modulo 2^64: right for negative bounds too, once they are
    # moved up to be compared.
    up = _as_uint64(-limits.min)
    span = mx.where(start + up < end + up, end - start, 1)
    return started((start + bits % span.astype(mx.uint64)).astype(dtype))


def _to_bound(
    name: str, value: Any, size: tuple[int, ...], least: int, most: int
) -> int | Array:
    if not isinstance(value, mx.array):
        number = to_integer("randint", name, value)
        if least <= number <= most:
            return number
        raise ValueError(
            f"random.randint: {name} must be within [{least}, {most}], the range of "
            f"the dtype, got {number}; give another dtype, such as mx.int64"
        )
    if not mx.issubdtype(value.dtype, mx.integer):
        raise TypeError(
            f"random.randint: {name} must be of an integer dtype, got {value.dtype}"
        )
    check_broadcast("randint", name, value, size)
    return value


def _as_uint64(value: int | Array) -> Array:
    if not isinstance(value, mx.array):
        return mx.array(np.array(value % 2**64, np.uint64))  # more than MLX takes
    return value.astype(mx.uint64)


def bernoulli(
    key: Key, probability: float | Array = 0.5, shape: Sequence[int] = ()
) -> Array:
    """Draws that are true with a probability in [0, 1]: bool.

    Args:
        key: a key.
        probability: a number, or an array that broadcasts to `shape`.
        shape: the shape of the result.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `probability` is out of range or does not broadcast to `shape`.

    Example:
        >>> from lucid_fn import random
        >>> random.bernoulli(random.key(0), 1.0, (2,))
        array([True, True], dtype=bool)
    """
    check_key("bernoulli", key)
    size = to_shape("bernoulli", shape)
    p = to_parameter(
        "bernoulli",
        "probability",
        probability,
        size,
        lambda x: 0 <= x <= 1,
        "in [0, 1]",
    )
    if not isinstance(p, mx.array):
        p = float(p)
    elif not mx.issubdtype(p.dtype, mx.floating):
        p = p.astype(mx.float32)
    return started(mx.random.bernoulli(p, size, key=key))
