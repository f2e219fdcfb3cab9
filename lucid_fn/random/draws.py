"""Draws from the distributions that most others are made of."""

import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn.checks import check_count
from lucid_fn.evaluation import started
from lucid_fn.random.checks import (
    check_axis,
    check_broadcast,
    check_dtype,
    check_key,
    to_integer,
    to_parameter,
    to_shape,
)
from lucid_fn.random.truncation import draw_truncated_normal
from lucid_fn.types import Array, Key


def normal(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the standard normal distribution: mean 0, standard deviation 1.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> from lucid_fn import random
        >>> random.normal(random.key(0), (2, 3)).shape
        (2, 3)
    """
    check_key("normal", key)
    size = to_shape("normal", shape)
    check_dtype("normal", dtype, mx.floating, "a float dtype")
    return started(mx.random.normal(size, dtype, key=key))


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


def truncated_normal(
    key: Key,
    shape: Sequence[int] = (),
    dtype: mx.Dtype = mx.float32,
    *,
    low: float | Array = -2.0,
    high: float | Array = 2.0,
) -> Array:
    """Draws from the standard normal distribution truncated to `[low, high]`.

    Also far out in a tail, where few normal draws would lie.

    Args:
        key: a key.
        shape: the shape of the result, to which `low` and `high` broadcast.
        dtype: a float dtype.
        low: least value, in standard deviations; may be infinite.
        high: greatest value, in standard deviations; may be infinite.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: unless `low < high`, or if one does not broadcast to `shape`. An
            array with such values gives NaN there.

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
    low, high = (
        to_parameter("truncated_normal", name, x, size, _is_not_nan, "a number")
        for name, x in (("low", low), ("high", high))
    )
    known = not isinstance(low, mx.array) and not isinstance(high, mx.array)
    if known and not low < high:
        raise ValueError(
            f"random.truncated_normal: low must be less than high, got {low} and {high}"
        )
    x = draw_truncated_normal(key, size, low, high)
    if not known:
        x = mx.where(mx.array(low) < mx.array(high), x, math.nan)
    return started(x.astype(dtype))


def _is_not_nan(x: float) -> bool:
    return x == x


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
        "bernoulli", "probability", probability, size, is_probability, "in [0, 1]"
    )
    if not isinstance(p, mx.array):
        p = float(p)
    elif not mx.issubdtype(p.dtype, mx.floating):
        p = p.astype(mx.float32)
    return started(mx.random.bernoulli(p, size, key=key))


def is_probability(x: float) -> bool:
    return 0 <= x <= 1


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


def categorical(key: Key, logits: Array, *, axis: int = -1) -> Array:
    """Draws class indices with the probabilities `softmax(logits)` along `axis`.

    Args:
        key: a key.
        logits: unnormalised log-probabilities.
        axis: the axis of the classes, which the result has no more.

    Returns:
        Indices, uint32.

    Raises:
        TypeError: if `key` is not a key, or `logits` not an array of real numbers.
        ValueError: if `logits` has no such axis, or no classes.

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
    if mx.issubdtype(logits.dtype, mx.complexfloating):
        raise TypeError(f"random.categorical: logits must be real, got {logits.dtype}")
    axis = check_axis("categorical", axis, logits.ndim)
    if logits.shape[axis] == 0:
        raise ValueError(
            "random.categorical: logits must have at least one class, got shape "
            f"{logits.shape}"
        )
    if logits.size == 0:
        batch = list(logits.shape)
        del batch[axis]
        return started(mx.zeros(batch, mx.uint32))
    return started(mx.random.categorical(logits, axis, key=key))


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
    axis = check_axis("permutation", axis, x.ndim if isinstance(x, mx.array) else 1)
    if isinstance(x, mx.array):
        return started(mx.random.permutation(x, axis, key=key))
    count = check_count(
        "random.permutation", "x", x, at_least=0, kinds="an integer or an array"
    )
    return started(mx.random.permutation(count, key=key))
