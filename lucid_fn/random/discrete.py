"""Draws from discrete distributions: Bernoulli, integers, Poisson, choices."""

import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn.checks import check_bool, check_count, check_type
from lucid_fn.random.checks import (
    check_axis,
    check_broadcast,
    check_dtype,
    check_key,
    check_vector,
    result_shape,
    to_integer,
    to_parameter,
    to_shape,
)
from lucid_fn.random.continuous import draw_exponential, first_accepted
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def bernoulli(
    key: Key, probability: float | Array = 0.5, shape: Sequence[int] = ()
) -> Array:
    """Draws bools that are true with a given probability.

    Args:
        key: a key.
        probability: in [0, 1], a number or an array that broadcasts to `shape`.
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


def randint(
    key: Key,
    shape: Sequence[int] = (),
    *,
    low: int | Array = 0,
    high: int | Array,
    dtype: mx.Dtype = mx.int32,
) -> Array:
    """Draws integers from `[low, high)` with equal probabilities.

    Each draw is 64 random bits modulo `high - low`, so the probabilities are equal up
    to a part in `2^64 / (high - low)`.

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
    # `high` may be one more than the largest integer, but not in 64 bits, where the
    # number of integers would overflow.
    beyond = int(dtype.size < 8)
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
    # Unsigned arithmetic is modulo 2^64, hence right for negative bounds too; only a
    # comparison needs them shifted to numbers from 0 on.
    shift = _as_uint64(-limits.min)
    span = mx.where(start + shift < end + shift, end - start, 1)
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
        return mx.array(np.array(value % 2**64, np.uint64))  # beyond what MLX converts
    return value.astype(mx.uint64)


def poisson(
    key: Key,
    lam: float | Array,
    shape: Sequence[int] | None = None,
    dtype: mx.Dtype = mx.int32,
) -> Array:
    """Draws from the Poisson distribution, `P(k) = lam^k exp(-lam) / k!`.

    Args:
        key: a key.
        lam: rate, at least 0; an array gives -1 where it is negative or NaN.
        shape: the shape of the result, to which `lam` broadcasts; its own if `None`.
        dtype: an integer dtype; larger draws are clipped to its largest integer.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `lam` is negative, or does not broadcast to `shape`.

    Source:
        Hörmann (1993), The transformed rejection method for generating Poisson random
        variables, algorithm PTRS.

    Example:
        >>> from lucid_fn import random
        >>> random.poisson(random.key(0), 0.0, (3,))
        array([0, 0, 0], dtype=int32)
    """
    check_key("poisson", key)
    check_dtype("poisson", dtype, mx.integer, "an integer dtype")
    size = result_shape("poisson", shape, lam)
    rate = to_parameter(
        "poisson",
        "lam",
        lam,
        size,
        lambda x: 0 <= x < math.inf,
        "finite and at least 0",
    )
    inversion_key, rejection_key = mx.random.split(key)
    mean = mx.array(rate, mx.float32)
    if isinstance(rate, mx.array):
        k = mx.where(
            mean < _INVERSION_BELOW,
            _poisson_by_inversion(
                inversion_key, mx.minimum(mean, _INVERSION_BELOW), size
            ),
            _poisson_by_rejection(
                rejection_key, mx.maximum(mean, _INVERSION_BELOW), size
            ),
        )
    elif rate < _INVERSION_BELOW:
        k = _poisson_by_inversion(inversion_key, mean, size)
    else:
        k = _poisson_by_rejection(rejection_key, mean, size)
    most = mx.iinfo(dtype).max
    drawn = mx.where(k < float(most), k.astype(dtype), mx.array(most, dtype))
    return started(mx.where(mean >= 0, drawn, mx.array(-1).astype(dtype)))


_INVERSION_BELOW = 10.0  # the rate from which rejection is used
_INVERSION_TERMS = 48  # at such a rate a draw is larger with a probability of 1e-17
_POISSON_CANDIDATES = 12  # each is accepted with a probability above 0.85


def _poisson_by_inversion(key: Key, rate: Array, shape: tuple[int, ...]) -> Array:
    """Counts the cumulative probabilities that a uniform draw reaches."""
    u = mx.random.uniform(shape=shape, key=key)
    probability = mx.exp(-rate)
    total, k = probability, mx.zeros(shape)
    for i in range(1, _INVERSION_TERMS):
        k = k + (u >= total)
        probability = probability * rate / i
        total = total + probability
    return k


def _poisson_by_rejection(key: Key, rate: Array, shape: tuple[int, ...]) -> Array:
    """Algorithm PTRS of Hörmann: rejection from a transformed uniform distribution.

    One of 1e9 draws has no accepted candidate, and becomes `floor(rate)`.
    """
    b = 0.931 + 2.53 * mx.sqrt(rate)
    a = -0.059 + 0.02483 * b
    keys = mx.random.split(key)
    candidates = (_POISSON_CANDIDATES, *shape)
    u = mx.random.uniform(shape=candidates, key=keys[0]) - 0.5
    v = mx.maximum(mx.random.uniform(shape=candidates, key=keys[1]), 2.0**-33)
    us = mx.maximum(0.5 - mx.abs(u), 2.0**-33)
    k = mx.floor((2 * a / us + b) * u + rate + 0.43)
    squeeze = mx.logical_and(us >= 0.07, v <= 0.9277 - 3.6224 / (b - 2))
    height = mx.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b))
    below = mx.logical_or(squeeze, height <= _log_poisson(k, rate))
    accepted = mx.logical_and(k >= 0, below)
    return first_accepted(mx.where(accepted, k, mx.floor(rate)), accepted)


def _log_poisson(k: Array, rate: Array) -> Array:
    """`log P(k)` for rates from 10 on, without differences of large numbers.

    Source: Loader (2000), Fast and accurate computation of binomial probabilities.
    """
    x = (k - rate) / rate
    near = x * x * (1 / 2 - x * (1 / 6 - x * (1 / 12 - x * (1 / 20 - x / 30))))
    far = (1 + x) * mx.log1p(x) - x
    deviance = rate * mx.where(mx.abs(x) < 0.1, near, far)
    n = mx.maximum(k, 1)
    stirling = 1 / (12 * n) - 1 / (360 * n * n * n)
    return mx.where(k < 1, -rate, -deviance - stirling - 0.5 * mx.log(2 * math.pi * n))


def categorical(key: Key, logits: Array, *, axis: int = -1) -> Array:
    """Draws class indices with the probabilities `softmax(logits)` along `axis`.

    Args:
        key: a key.
        logits: unnormalised log-probabilities.
        axis: the axis of the classes, which is absent from the result.

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
    check_type("random.categorical", "logits", logits, mx.array, "an array")
    if mx.issubdtype(logits.dtype, mx.complexfloating):
        raise TypeError(f"random.categorical: logits must be real, got {logits.dtype}")
    axis = check_axis("categorical", axis, logits.ndim)
    if logits.shape[axis] == 0:
        raise ValueError(
            "random.categorical: logits must have at least one class, got shape "
            f"{logits.shape}"
        )
    batch = list(logits.shape)
    del batch[axis]
    if logits.size == 0:
        return started(mx.zeros(batch, mx.uint32))
    if math.prod(batch) == 1:
        # As a vector: for one row MLX uses a search that has no rule for `vmap`.
        drawn = mx.random.categorical(logits.flatten(), key=key)
        return started(drawn.reshape(batch))
    return started(mx.random.categorical(logits, axis, key=key))


def choice(
    key: Key,
    a: int | Array,
    shape: Sequence[int] = (),
    replace: bool = True,
    p: Array | None = None,
    axis: int = 0,
) -> Array:
    """Draws slices of an array along an axis, or integers from `[0, a)`.

    Args:
        key: a key.
        a: an array, or the bound of the integers.
        shape: the shape of the draws, which takes the place of `axis` in the result.
        replace: whether an item may be drawn more than once.
        p: the probability of each item, shape `(n,)`; all are equal if `None`. They
            need not add up to 1. Without replacement, items of probability 0 come
            last.
        axis: the axis of the items.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if there are fewer items than draws without replacement, no items
            at all, no such axis, or if `p` does not have one entry per item.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> random.choice(random.key(0), mx.array([7, 8]), (3,), p=mx.array([0.0, 1.0]))
        array([8, 8, 8], dtype=int32)
    """
    check_key("choice", key)
    size = to_shape("choice", shape)
    check_bool("random.choice", replace=replace)
    axis = check_axis("choice", axis, a.ndim if isinstance(a, mx.array) else 1)
    if isinstance(a, mx.array):
        n = a.shape[axis]
    else:
        n = check_count("random.choice", "a", a, at_least=None)
    draws = math.prod(size)
    if n < 1 and draws:
        raise ValueError(f"random.choice: a must hold at least one item, got {n}")
    if draws > n and not replace:
        raise ValueError(
            f"random.choice: a must hold as many items as are drawn without "
            f"replacement, {draws}, got {n}; give replace=True or a smaller shape"
        )
    if p is not None:
        check_vector("choice", "p", p, 1)
        if p.shape != (n,):
            raise ValueError(
                f"random.choice: p must have one probability per item, shape ({n},), "
                f"got {p.shape}"
            )
    indices = _choice_indices(key, n, draws, replace, p).reshape(size)
    if not isinstance(a, mx.array):
        return started(indices)
    return started(mx.take(a, indices, axis=axis))


def _choice_indices(
    key: Key, n: int, draws: int, replace: bool, p: Array | None
) -> Array:
    if p is None:
        if replace:
            return randint(key, (draws,), high=max(n, 1))
        return permutation(key, n)[:draws].astype(mx.int32)
    if replace:
        return _choice_by_inversion(key, p, draws)
    # Exponential arrival times at rates p, in ascending order, are draws without
    # replacement.
    times = draw_exponential(key, (n,)) / p.astype(mx.float32)
    return mx.argsort(times)[:draws].astype(mx.int32)


def _choice_by_inversion(key: Key, p: Array, draws: int) -> Array:
    """Indices drawn by inversion of the cumulative sum of `p`.

    In float64, since uniform draws in float32 have 2^24 values only.
    """
    upper, lower = mx.random.split(key)
    whole = mx.random.randint(0, 2**24, (draws,), mx.int32, key=upper)
    rest = mx.random.uniform(shape=(draws,), key=lower)
    with mx.stream(mx.cpu):  # GPUs have no float64
        edges = mx.cumsum(p.astype(mx.float64))
        u = (whole.astype(mx.float64) + rest.astype(mx.float64)) / 2**24
        # In (0, total], so that an item of probability 0 is never drawn.
        return _first_at_least(edges, edges[-1] * (1 - u))


def _first_at_least(edges: Array, heights: Array) -> Array:
    """The index of the first edge that is at least a height, or of the last edge.

    A binary search: `mx.searchsorted` has no rule for `vmap` over the edges.
    """
    indices = mx.zeros(heights.shape, mx.int32)
    for bit in reversed(range(edges.size.bit_length())):
        further = indices + 2**bit
        below = edges[mx.minimum(further, edges.size) - 1] < heights
        inside = mx.logical_and(below, further < edges.size)
        indices = mx.where(inside, further, indices)
    return indices


def permutation(key: Key, x: int | Array, *, axis: int = 0) -> Array:
    """Shuffles the integers from `[0, x)`, or the slices of an array along an axis.

    Args:
        key: a key.
        x: the bound of the integers, or an array.
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
