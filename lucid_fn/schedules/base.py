"""The type of schedules, and the arithmetic that they share.

Steps are compared, subtracted and divided with remainder as integers, because float32
has no odd numbers above 2**24. Values are sums of terms that do not cancel, so that
small values are accurate too.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn.checks import check_count, check_function
from lucid_fn.types import Array

Schedule: TypeAlias = Callable[[Array], Array]
"""A function from the 0-based step, int32, to a value, float32, of the same shape.

The schedules of this package also accept Python integers. A float64 step, which must
be a whole number, gives a float64 value: optimizers of float64 params use this.
"""

LAST_STEP = 2**31 - 1
"""The largest step; larger ones are clipped to it."""


def as_step(step: Array | int) -> Array:
    """The step as an int32 array, or int64 if the value must be float64."""
    if not isinstance(step, mx.array):
        return mx.array(min(_check_step(step), LAST_STEP), mx.int32)
    if step.dtype == mx.float64:
        return mx.minimum(step, LAST_STEP).astype(mx.int64)
    if not mx.issubdtype(step.dtype, mx.integer):
        raise TypeError(f"schedule: step must be integers, got {step.dtype}")
    if step.dtype in (mx.uint32, mx.uint64, mx.int64):
        step = mx.minimum(step, LAST_STEP)
    return step.astype(mx.int32)


def as_argument(step: Array) -> Array:
    """A step from `as_step`, as an argument for other schedules."""
    return as_float(step) if step.dtype == mx.int64 else step


def _check_step(step: Any) -> int:
    try:
        return check_count("schedule", "step", min(step, LAST_STEP), at_least=0)
    except TypeError:
        raise TypeError(f"schedule: step must be an integer, got {step!r}") from None


def float_dtype(step: Array) -> mx.Dtype:
    """The dtype of the value at a step, before or after `as_step`."""
    return mx.float64 if step.dtype in (mx.float64, mx.int64) else mx.float32


def as_float(step: Array) -> Array:
    """A step, or a number of steps, in the dtype of the value."""
    return step.astype(float_dtype(step))


def fraction(steps: Array, length: float) -> Array:
    """`steps / length` in the dtype of the value, where `steps` are integers."""
    return as_float(steps) / length


def line(start: float | Array, end: float | Array, passed: Array, length: int) -> Array:
    """The line from `start` at `passed` 0 to `end` at `passed` `length`."""
    return start * fraction(length - passed, length) + end * fraction(passed, length)


def cosine(start: float, end: float, passed: Array, length: int) -> Array:
    """Half a cosine from `start` at `passed` 0 to `end` at `passed` `length`."""
    return half_cosine(
        start, end, fraction(passed, length), fraction(length - passed, length)
    )


def half_cosine(start: float, end: float, passed: Array, remaining: Array) -> Array:
    """Half a cosine from `start` to `end`; `passed` and `remaining` are fractions.

    `(1 + cos(pi * s)) / 2` is computed as `sin(pi * (1 - s) / 2) ** 2`, because near
    the end the sum would cancel. For the same reason both fractions are given, although
    they add up to 1.
    """
    return start * _sine_square(remaining) + end * _sine_square(passed)


def _sine_square(share: Array) -> Array:
    """`sin(pi / 2 * share) ** 2`."""
    angle = math.pi / 2 * share
    if angle.dtype == mx.float64:  # on a CPU MLX computes its sine in float32
        square = mx.square(mx.tan(angle))
        return square / (1 + square)
    return mx.square(mx.sin(angle))


def powers(base: float, exponent: Array) -> Array:
    """`base ** exponent` as floats, for a positive base and integers of at least 0.

    In float32, `2 ** (exponent * log2(base))` would lose 1e-7 per octave of decay, and
    `float32(0.99995) ** 100_000` would start from a rounded base. So the exponent is
    split into digits of 12 bits, whose products with the leading 12 bits of the
    logarithm are exact, and these products into integers and fractions.
    """
    if float_dtype(exponent) == mx.float64:
        return mx.power(mx.array(base, mx.float64), as_float(exponent))
    log = math.log2(base)
    return (
        _power_of_2(log, exponent % _DIGIT)
        * _power_of_2(_DIGIT * log, exponent // _DIGIT % _DIGIT)
        * _power_of_2(_DIGIT**2 * log, exponent // _DIGIT**2)
    )


_DIGIT = 1 << 12  # the product of two 12-bit factors fits the 24 bits of a float32


def _power_of_2(log: float, times: Array) -> Array:
    """`2 ** (log * times)` for integers `times` below `_DIGIT`."""
    mantissa, scale = math.frexp(log)
    coarse = math.ldexp(round(mantissa * _DIGIT), scale - 12)
    times = times.astype(mx.float32)
    whole = mx.round(times * coarse)
    rest = (times * coarse - whole) + times * (log - coarse)
    more = mx.round(rest)
    return mx.power(2.0, rest - more) * mx.power(2.0, whole + more)


def check_schedule(caller: str, name: str, schedule: Any) -> None:
    """Raises unless an argument is a function of the step."""
    fix = "for a number use schedules.constant"
    check_function(caller, name, schedule, kinds="a schedule", fix=fix)
