"""What a schedule is, and the arithmetic that schedules share.

Steps are integers as long as they are compared, subtracted or divided with remainder:
float32 has no odd numbers above 2**24. Values are sums of terms that do not cancel, so
that they keep their digits where they are small.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn.checks import check_count, check_function
from lucid_fn.types import Array

Schedule: TypeAlias = Callable[[Array], Array]
"""A function from the 0-based step, int32, to a value, float32, of the same shape.

The schedules of this package accept Python integers as well. A step of float64, which
must be a whole number, gives a float64 value: optimizers of float64 params ask so.
"""

LAST_STEP = 2**31 - 1
"""The last step; a larger one counts as this one."""


def as_step(step: Array | int) -> Array:
    """The step as an int32 array, or as int64 if the value has to be float64."""
    if not isinstance(step, mx.array):
        return mx.array(min(_check_step(step), LAST_STEP), mx.int32)
    if step.dtype == mx.float64:
        return mx.minimum(step, LAST_STEP).astype(mx.int64)
    if not mx.issubdtype(step.dtype, mx.integer):
        raise TypeError(f"schedule: step must be integers, got {step.dtype}")
    if step.dtype in (mx.uint32, mx.uint64, mx.int64):
        step = mx.minimum(step, LAST_STEP)
    return step.astype(mx.int32)


def as_given(step: Array) -> Array:
    """The step of `as_step`, in the form that other schedules take."""
    return as_float(step) if step.dtype == mx.int64 else step


def _check_step(step: Any) -> int:
    try:
        return check_count("schedule", "step", min(step, LAST_STEP), at_least=0)
    except TypeError:
        raise TypeError(f"schedule: step must be an integer, got {step!r}") from None


def float_dtype(step: Array) -> mx.Dtype:
    """The dtype of the value at a step, given or made by `as_step`."""
    return mx.float64 if step.dtype in (mx.float64, mx.int64) else mx.float32


def as_float(step: Array) -> Array:
    """A step, or a number of steps, in the dtype of the value."""
    return step.astype(float_dtype(step))


def fraction(steps: Array, length: float) -> Array:
    """`steps / length` in the dtype of the value, where `steps` are integers."""
    return as_float(steps) / length


def half_cosine(start: float, end: float, passed: Array, remaining: Array) -> Array:
    """Half a cosine from `start` at `passed` 0 to `end` at `remaining` 0.

    `(1 + cos(pi * s)) / 2` is `sin(pi * (1 - s) / 2) ** 2`, which keeps its digits near
    the end, where the other form subtracts nearly equal numbers. For the same reason
    both shares are given, though they add up to 1.
    """
    return start * _sine_square(remaining) + end * _sine_square(passed)


def _sine_square(share: Array) -> Array:
    """`sin(pi / 2 * share) ** 2`."""
    angle = math.pi / 2 * share
    if angle.dtype == mx.float64:  # whose sine MLX computes in float32 on a CPU
        square = mx.square(mx.tan(angle))
        return square / (1 + square)
    return mx.square(mx.sin(angle))


def powers(base: float, exponent: Array) -> Array:
    """`base ** exponent` as a float, for a positive base and integers from 0 on.

    `2 ** (exponent * log2(base))` in float32 would lose 1e-7 for each octave of the
    fall, and `float32(0.99995) ** 100_000` has the wrong base from the start. So the
    exponent is split into digits of 12 bits, whose products with the first 12 bits of
    the logarithm are exact, and these into integers and fractions.
    """
    if float_dtype(exponent) == mx.float64:
        return mx.power(mx.array(base, mx.float64), as_float(exponent))
    log = math.log2(base)
    return (
        _power_of_2(log, exponent % _DIGIT)
        * _power_of_2(_DIGIT * log, exponent // _DIGIT % _DIGIT)
        * _power_of_2(_DIGIT**2 * log, exponent // _DIGIT**2)
    )


_DIGIT = 1 << 12  # products of two factors of 12 bits have the 24 bits of a float32


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
