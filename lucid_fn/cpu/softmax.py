"""Softmax, log-softmax and logsumexp on CPUs, with derivatives in closed form."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import divide, multiply, subtract
from lucid_fn.cpu.memory.row_reductions import row_max, row_sum
from lucid_fn.cpu.parallel.streams import concat, map_large
from lucid_fn.numerics import blocked_sum
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.elementwise import exp, exp_of_negative
from lucid_fn.ops.seam import plain
from lucid_fn.ops.softmax import (
    Along,
    log_softmax_along,
    logsumexp_along,
    slopes_of_logsumexp,
    softmax_along,
)
from lucid_fn.types import Array, ArrayFn

# Below this size MLX's single kernel, at 11 ns an element, is as fast as ten kernels at
# 3.4 ns. It sums naively, which loses digits along an axis that is longer than this.
_SMALL, _SHORT = 1 << 11, 128


def softmax(x: Array, axis: int) -> Array:
    """`ops.softmax.softmax_along`."""
    return _run(_softmax, softmax_along, x, axis)


def log_softmax(x: Array, axis: int) -> Array:
    """`ops.softmax.log_softmax_along`."""
    return _run(_log_softmax, log_softmax_along, x, axis)


def logsumexp(x: Array, axis: int) -> Array:
    """`ops.softmax.logsumexp_along`."""
    return _run(_logsumexp, logsumexp_along, x, axis)


def _run(make: Callable[[int], ArrayFn], whole: Along, x: Array, axis: int) -> Array:
    """`make(axis)(x)`, or the plain formulation `whole(x, axis)` for float64."""
    if x.dtype == mx.float64:
        with plain():
            return whole(x, axis)
    return cast(Array, make(axis)(x))


def is_small(x: Array, axis: int = -1) -> bool:
    """Whether MLX's own kernel is as fast on a CPU, and exact enough."""
    return x.size < _SMALL and x.shape[axis] <= _SHORT


def _shifted(x: Array, axis: int) -> Array:
    """`x` less its maximum along the axis."""
    if axis == -1:
        rows = x.reshape(-1, x.shape[-1])
        return subtract(rows, row_max(rows)).reshape(x.shape)
    return subtract(x, mx.max(x, axis=axis, keepdims=True))


def _probabilities(x: Array, axis: int) -> Array:
    if is_small(x, axis):
        return mx.softmax(x, axis=axis)
    e = mx.contiguous(exp_of_negative(_shifted(x, axis)))
    return divide(e, _sum(e, axis))


def _log_probabilities(x: Array, axis: int) -> Array:
    shifted = _shifted(x, axis)
    return subtract(shifted, _log_sum_of_shifted(shifted, axis))


def _log_sum_of_shifted(shifted: Array, axis: int) -> Array:
    """`logsumexp` of numbers with a maximum of 0; keeps the axis."""
    if is_small(shifted, axis):
        return mx.logsumexp(shifted, axis=axis, keepdims=True)
    return mx.log(_sum(mx.contiguous(exp_of_negative(shifted)), axis))


def _log_sum(x: Array, axis: int) -> Array:
    if is_small(x, axis):
        return mx.logsumexp(x, axis=axis, keepdims=True)
    # Shifting by an infinite maximum would give exp(inf - inf), which is NaN.
    largest = mx.max(x, axis=axis, keepdims=True)
    finite = mx.where(mx.isinf(largest), 0.0, largest)
    return finite + mx.log(_sum(exp(x - finite), axis))


def _along(
    axis: int, forward: Along, vjp: Callable[..., Array], jvp: Callable[..., Array]
) -> ArrayFn:
    """A function along an axis, computed in float32 and differentiable.

    Args:
        axis: negative.
        forward: `(x, axis)` to the result.
        vjp: `(x, cotangent, axis)` to the cotangent of `x`.
        jvp: `(x, tangent, axis)` to the tangent of the result.
    """

    def in_float32(fn: Callable[..., Array], *arrays: Array) -> Array:
        return fn(*(a.astype(mx.float32) for a in arrays), axis).astype(arrays[0].dtype)

    def by_rows(fn: Callable[..., Array], x: Array, *others: Array) -> Array:
        if axis != -1:
            return in_float32(fn, x, *others)
        rows = (a.reshape(a.size // a.shape[-1], a.shape[-1]) for a in (x, *others))
        y = concat(map_large(partial(in_float32, fn), *rows))
        return y.reshape(*x.shape[:-1], y.shape[-1])

    def fixed(x: Array, axis: int) -> Array:
        # Without it MLX's jvp would differentiate `forward` in vain. It is applied to
        # each part, as the derivatives are, so that both passes share computations.
        return forward(mx.stop_gradient(x), axis)

    @custom_function
    def run(x: Array) -> Array:
        return by_rows(fixed, x)

    @run.vjp
    def run_vjp(x: Array, g: Array, _: Array) -> Array:
        return by_rows(vjp, x, g)

    @run.jvp
    def run_jvp(x: Array, dx: Array) -> Array:
        return by_rows(jvp, x, dx)

    return cast(ArrayFn, run)


def _sum(x: Array, axis: int) -> Array:
    if axis == -1:
        return row_sum(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], 1)
    return blocked_sum(x, [axis + x.ndim])


@lru_cache(maxsize=64)
def _softmax(axis: int) -> ArrayFn:
    def derivative(x: Array, dx: Array, axis: int) -> Array:
        y = softmax(x, axis)
        return y * subtract(dx, _sum(mx.contiguous(y * dx), axis))

    return _along(axis, _probabilities, derivative, derivative)


@lru_cache(maxsize=64)
def _log_softmax(axis: int) -> ArrayFn:
    return _along(
        axis,
        _log_probabilities,
        vjp=lambda x, g, axis: g - multiply(softmax(x, axis), _sum(g, axis)),
        jvp=lambda x, dx, axis: dx - _sum(softmax(x, axis) * dx, axis),
    )


@lru_cache(maxsize=64)
def _logsumexp(axis: int) -> ArrayFn:
    def slopes(x: Array, axis: int) -> Array:
        return slopes_of_logsumexp(x, softmax(x, axis), axis)

    return _along(
        axis,
        _log_sum,
        vjp=lambda x, g, axis: multiply(slopes(x, axis), g),
        jvp=lambda x, dx, axis: _sum(slopes(x, axis) * dx, axis),
    )
