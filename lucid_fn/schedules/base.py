"""What a schedule is, and the checks that their constructors share."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn.types import Array

Schedule: TypeAlias = Callable[[Array], Array]
"""A function from the 0-based step, int32, to a value, float32, of the same shape.

The schedules of this package take Python integers as well.
"""


def as_step(step: Array | int) -> Array:
    """The step as an int32 array.

    It stays an integer as long as it is divided or compared: float32 knows no odd
    number above 2**24.
    """
    if isinstance(step, mx.array):
        if not mx.issubdtype(step.dtype, mx.integer):
            raise TypeError(f"schedule: step must be integers, got {step.dtype}")
        return step.astype(mx.int32)
    if isinstance(step, bool) or not hasattr(step, "__index__"):
        raise TypeError(f"schedule: step must be an integer, got {step!r}")
    return mx.array(step, mx.int32)


def fraction(steps: Array, length: float) -> Array:
    """`steps / length` as float32, where `steps` are of an integer dtype."""
    return steps.astype(mx.float32) / length


def half_cosine(start: float, end: float, remaining: Array) -> Array:
    """Half a cosine from `start` at `remaining` 1 to `end` at `remaining` 0.

    `(1 + cos(pi * s)) / 2` is `sin(pi * (1 - s) / 2) ** 2`, which keeps its digits near
    the end, where the other form subtracts nearly equal numbers; so does a sum of two
    shares, where a difference would not.
    """
    angle = math.pi / 2 * remaining
    return start * mx.square(mx.sin(angle)) + end * mx.square(mx.cos(angle))


def powers(base: float, exponent: Array) -> Array:
    """`base ** exponent` as float32, for a positive base and integers from 0 on.

    `2 ** (exponent * log2(base))` in float32 would lose 1e-7 for each octave of the
    fall, and `float32(0.99995) ** 100_000` has the wrong base from the start. So the
    exponent's product with the first 12 bits of the logarithm, which is exact, is split
    into an integer and a fraction.
    """
    log = math.log2(base)
    low, high = exponent % _EXACT, exponent // _EXACT
    return _power_of_2(log, low) * _power_of_2(_EXACT * log, high)


_EXACT = 1 << 12  # products of two factors of 12 bits have the 24 bits of a float32


def _power_of_2(log: float, times: Array) -> Array:
    """`2 ** (log * times)` for integers `times` below `_EXACT`."""
    mantissa, scale = math.frexp(log)
    coarse = math.ldexp(round(mantissa * _EXACT), scale - 12)
    times = times.astype(mx.float32)
    whole = mx.round(times * coarse)
    rest = (times * coarse - whole) + times * (log - coarse)
    more = mx.round(rest)
    return mx.power(2.0, rest - more) * mx.power(2.0, whole + more)


def check_number(caller: str, **numbers: Any) -> None:
    """Raises unless every argument is a finite Python number."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(
                f"{caller}: {name} must be a number, got {type(number).__name__}"
            )
        if not math.isfinite(number):
            raise ValueError(f"{caller}: {name} must be finite, got {number}")


def check_positive(caller: str, **numbers: Any) -> None:
    """Raises unless every argument is a finite number above 0."""
    check_number(caller, **numbers)
    for name, number in numbers.items():
        if number <= 0:
            raise ValueError(f"{caller}: {name} must be positive, got {number}")


def check_steps(caller: str, at_least: int = 1, **steps: Any) -> None:
    """Raises unless every argument is a whole number of steps that int32 holds."""
    for name, number in steps.items():
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise TypeError(f"{caller}: {name} must be an integer, got {number!r}")
        if not at_least <= number < 2**31:
            raise ValueError(
                f"{caller}: {name} must be in [{at_least}, 2**31), got {number}"
            )


def check_function(caller: str, **schedules: Any) -> None:
    """Raises unless every argument is a function of the step."""
    for name, schedule in schedules.items():
        if not callable(schedule):
            raise TypeError(
                f"{caller}: {name} must be a schedule, got {schedule!r}; "
                "for a number use schedules.constant"
            )
