"""Normalization of groups of channels, each example by itself."""

import math
from functools import lru_cache
from typing import Any, NamedTuple, cast

import mlx.core as mx

from lucid_fn.checks import check_count, check_number
from lucid_fn.cpu.memory.broadcast import add, multiply, subtract
from lucid_fn.cpu.parallel.streams import map_split
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.channel_sum import channel_sum, sum_rows
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.dtypes import promoted, widened
from lucid_fn.ops.seam import tuned
from lucid_fn.types import Array, ArrayFn

_SPLITS = 1 << 18  # values from which on two streams are faster than one


def group_norm(
    x: Array, weight: Array, bias: Array, *, groups: int, eps: float
) -> Array:
    """Shifts and scales groups of neighbouring channels to mean 0 and variance 1.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, where `mean` and `var` (biased:
    divided by the number of values) are those of an example and a group, over all
    places and the channels of the group. With a group a channel it is instance norm.

    Args:
        x: float, shape `(N, ..., C)`; half precision is computed in float32.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        groups: of the same number of channels; a positive divisor of `C`.
        eps: added to the variance; positive.

    Returns:
        Float array of the shape of `x`, of the dtype that `x`, `weight` and `bias`
        promote to.

    Raises:
        ValueError: if `weight` or `bias` does not have the shape `(C,)`, if `groups` is
            not a positive divisor of `C`, or `x` has no values.

    Source: Wu & He, 2018, https://arxiv.org/abs/1803.08494, eq. 7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([[1.0, 3.0, 10.0, 10.0]])
        >>> y = ops.group_norm(x, mx.ones((4,)), mx.zeros((4,)), groups=2, eps=1e-5)
        >>> mx.round(y, 2)
        array([[-1, 1, 0, 0]], dtype=float32)
    """
    groups = check_count("group_norm", "groups", groups)
    eps = check_number("group_norm", "eps", eps, at_least=0)
    _check(x, groups, weight=weight, bias=bias)
    shape, dtype = x.shape, promoted(x, weight, bias)
    x, weight, bias = map(widened, (x, weight, bias))
    x = x.reshape(shape[0], math.prod(shape[1:-1]), shape[-1])  # (N, P, C)
    is_tuned = tuned() and x.dtype == mx.float32 and x.size > 0
    y: Array = (_tuned if is_tuned else _plain)(groups, eps)(x, weight, bias)
    return y.reshape(shape).astype(dtype)


def _check(x: Array, groups: int, **channels: Array) -> None:
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(
            f"group_norm: x must have shape (N, ..., C) and values, got {x.shape}"
        )
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(
            "group_norm: groups must be a positive divisor of the number of channels, "
            f"got {groups} for x of shape {x.shape}"
        )
    for label, array in channels.items():
        if array.shape != x.shape[-1:]:
            raise ValueError(
                f"group_norm: {label} must have shape {x.shape[-1:]} (the last axis of "
                f"x), got {array.shape}"
            )


def _plain(groups: int, eps: float) -> ArrayFn:
    """The equation; MLX finds the gradient."""

    def mean(x: Array) -> Array:
        n, p, groups, width = x.shape
        by_column = sum_rows(x.reshape(n, p, groups * width))
        total = by_column.reshape(n, 1, groups, width).sum(axis=3, keepdims=True)
        return total / (p * width)

    def run(x: Array, weight: Array, bias: Array) -> Array:
        n, p, c = x.shape
        grouped = x.reshape(n, p, groups, c // groups)
        centred = grouped - mean(grouped)
        centred = centred - mx.stop_gradient(mean(centred))  # 0 but for rounding
        y = centred * mx.rsqrt(mean(mx.square(centred)) + eps)
        return y.reshape(n, p, c) * broadcast(weight, x) + broadcast(bias, x)

    return run


class _Statistics(NamedTuple):
    centred: Array  # (N, Q, W), less a first mean
    rest: Array  # (N, 1, W), what is left of the mean: digits that float32 has lost
    r: Array  # (N, 1, W), 1 / sqrt(var + eps)


@lru_cache(maxsize=64)
def _tuned(groups: int, eps: float) -> ArrayFn:
    """Works on `(N, Q, W)`: all that is not elementwise has `(N, 1, W)` numbers.

    `W` is the channels of a block of places, `W / C` times over: long rows for few
    channels, and sums in two levels, which keep their digits.
    """

    def over_group(columns: Array, channels: int) -> Array:
        """The sum over the columns of each group, for each of its columns."""
        n, _, w = columns.shape
        split = columns.reshape(n, w // channels, groups, channels // groups)
        total = split.sum(axis=1, keepdims=True).sum(axis=3, keepdims=True)
        return mx.contiguous(mx.broadcast_to(total, split.shape)).reshape(n, 1, w)

    def statistics(x: Array, channels: int) -> _Statistics:
        def mean(x: Array) -> Array:
            return multiply(over_group(_sum(x), channels), _share(x, groups))

        centred = subtract(x, mean(x))
        rest = mean(centred)
        variance = mean(mx.square(centred)) - mx.square(rest)
        return _Statistics(centred, rest, mx.rsqrt(variance + eps))

    @custom_function
    def run(x: Array, weight: Array, bias: Array) -> Array:
        scale, offset = (_tile(numbers, x) for numbers in (weight, bias))

        def shard(x: Array) -> Array:
            centred, rest, r = statistics(x, weight.size)
            a = r * scale
            return add(multiply(centred, a), offset - rest * a)

        return mx.concatenate(_shards(shard, _in_blocks(x))).reshape(x.shape)

    @run.vjp
    def vjp(
        primals: tuple[Array, Array, Array], g: Array, _: Array
    ) -> tuple[Array, Array, Array]:
        x, weight, _ = primals
        scale = _tile(weight, x)

        def shard(x: Array, g: Array) -> tuple[Array, Array, Array]:
            centred, rest, r = statistics(x, weight.size)
            dbias = _sum(g)
            dweight = (_sum(mx.contiguous(g * centred)) - rest * dbias) * r
            share = _share(x, groups)
            b = multiply(over_group(scale * dweight, weight.size), share) * r * r
            c = multiply(over_group(scale * dbias, weight.size), share) * r - b * rest
            dx = multiply(g, scale * r) - multiply(centred, b)
            return subtract(mx.contiguous(dx), c), dweight, dbias

        parts = _shards(shard, _in_blocks(x), _in_blocks(g))
        dx, dweight, dbias = (
            mx.concatenate(list(part)) for part in zip(*parts, strict=True)
        )
        return (
            dx.reshape(x.shape),
            channel_sum(dweight.reshape(-1, weight.size)),
            channel_sum(dbias.reshape(-1, weight.size)),
        )

    return cast(ArrayFn, run)


def _in_blocks(x: Array) -> Array:
    """`(N, P, C)` to `(N, Q, W)`."""
    n, places, channels = x.shape
    return x.reshape(n, -1, _block(places) * channels)


def _tile(channels: Array, x: Array) -> Array:
    """`(C,)` to `(1, 1, W)`."""
    return mx.tile(channels, _block(x.shape[1]))[None, None]


def _block(places: int) -> int:
    root = math.isqrt(places)
    return next(block for block in range(root, 0, -1) if places % block == 0)


def _share(x: Array, groups: int) -> Array:
    """One over the values of a group."""
    return mx.array(groups / math.prod(x.shape[1:]))


def _sum(x: Array) -> Array:
    return sum_rows(x)[:, None]


def _shards(fn: ArrayFn, *arrays: Array) -> list[Any]:
    return map_split(fn, *arrays) if arrays[0].size >= _SPLITS else [fn(*arrays)]
