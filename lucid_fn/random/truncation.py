"""The truncated normal distribution, by inversion in the middle and in the tails."""

import math

import mlx.core as mx

from lucid_fn.types import Array, Key

_TAIL = 2.0  # standard deviations beyond which float32 loses digits of 1 - erf
_WIDTH = 64.0  # of a tail that has all of its mass, to the last digit and far beyond
_NEWTON = 5
_ERFCX = (
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)


def draw_truncated_normal(
    key: Key, shape: tuple[int, ...], low: float | Array, high: float | Array
) -> Array:
    """Draws of the standard normal distribution in `[low, high]`, in float32."""
    if isinstance(low, mx.array) or isinstance(high, mx.array):
        a, b = mx.array(low, mx.float32), mx.array(high, mx.float32)
        right, left = a >= _TAIL, b <= -_TAIL
        start = mx.where(right, a, mx.where(left, -b, _TAIL))
        end = mx.where(right, b, mx.where(left, -a, _TAIL + 1))
        tail = _tail(key, shape, start, end)
        sides = mx.where(right, tail, -tail)
        return mx.where(mx.logical_or(right, left), sides, _middle(key, shape, a, b))
    if low >= _TAIL:
        return _tail(key, shape, mx.array(low), mx.array(high))
    if high <= -_TAIL:
        return -_tail(key, shape, mx.array(-high), mx.array(-low))
    return _middle(key, shape, mx.array(low), mx.array(high))


def _middle(key: Key, shape: tuple[int, ...], low: Array, high: Array) -> Array:
    x = mx.random.truncated_normal(low, high, shape, mx.float32, key=key)
    return mx.clip(x, -6.0, 6.0)  # an infinite bound would be drawn now and then


def _tail(key: Key, shape: tuple[int, ...], a: Array, b: Array) -> Array:
    """Draws between `a` and `b`, where `2 <= a < b`.

    `x = a + d` is found from `Q(x) / Q(a) = 1 - u (1 - Q(b) / Q(a))`, where `Q` is the
    probability of more than `x`, by Newton's method on the logarithm of the left side.
    With `erfcx`, which varies slowly, it has no difference of large numbers.
    """

    def logarithm(d: Array) -> Array:  # of Q(a) / Q(a + d)
        return a * d + d * d / 2 - (_log_erfcx(a + d) - _log_erfcx(a))

    u = mx.random.uniform(shape=shape, key=key)
    width = mx.minimum(b - a, _WIDTH)
    target = -mx.log1p(u * mx.expm1(-logarithm(width)))
    # The function is convex, and this start, where `erfcx` is constant, right of the
    # solution: each step comes closer from there.
    d = 2 * target / (a + mx.sqrt(a * a + 2 * target))
    for _ in range(_NEWTON):
        hazard = math.sqrt(2 / math.pi) * mx.exp(-_log_erfcx(a + d))
        d = mx.clip(d - (logarithm(d) - target) / hazard, 0.0, width)
    return mx.clip(a + d, a, b)


def _log_erfcx(x: Array) -> Array:
    """`log(erfc(z) exp(z^2))` of `z = x / sqrt(2)`, for `x >= 0`, within 1.2e-7.

    Source: Press et al., Numerical Recipes in C, second edition, section 6.2, `erfcc`.
    """
    t = 1 / (1 + x / math.sqrt(8))
    y = mx.array(_ERFCX[-1])
    for coefficient in reversed(_ERFCX[:-1]):
        y = y * t + coefficient
    return mx.log(t) + y
