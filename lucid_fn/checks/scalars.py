"""Checks of numbers, integers, bools and choices.

A NumPy scalar, or a NumPy array of shape `()`, counts as the number that it holds.
"""

import math
import reprlib
from collections.abc import Iterable
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn.types import Array

NUMBER_OR_ARRAY = "a number or an array of shape ()"


def to_number(
    caller: str, name: str, value: Any, *, kinds: str = "a number"
) -> int | float:
    """Return any number, infinite or NaN too, as a Python int or float.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        value: the argument.
        kinds: what errors say that the argument may be.

    Raises:
        TypeError: if `value` is not a number.
        ValueError: if it is an int that no float can hold.

    Example:
        >>> import numpy as np
        >>> to_number("constant_pad", "value", np.float32("-inf"))
        -inf
    """
    value = _unwrapped(value)
    if not is_number(value):
        raise TypeError(f"{caller}: {name} must be {kinds}, got {_shown(value)}")
    if is_integer(value) and -(2**63) <= value < 2**63:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{caller}: {name} must be finite, got an int beyond the range of floats"
        ) from None


def check_number(
    caller: str,
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    kinds: str = "a number",
) -> float:
    """Return a number as a Python float; raise unless it is finite and in the range.

    A number is a Python int or float, or a NumPy scalar, which is converted, since its
    product with an MLX array would be a NumPy array. Strings, bools, `None` and arrays
    are not numbers.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        value: the argument.
        at_least: lower bound, inclusive.
        above: lower bound, exclusive.
        at_most: upper bound, inclusive.
        below: upper bound, exclusive.
        kinds: what errors say that the argument may be.

    Raises:
        TypeError: if `value` is not a number.
        ValueError: if it is not finite, or out of the range.

    Example:
        >>> import numpy as np
        >>> check_number("adam", "b1", np.float64(0.9), at_least=0, below=1)
        0.9
        >>> check_number("adam", "b1", 1, at_least=0, below=1)
        Traceback (most recent call last):
        ValueError: adam: b1 must be in [0, 1), got 1
    """
    value = to_number(caller, name, value, kinds=kinds)
    number = float(value)
    if not (
        math.isfinite(number)
        and (at_least is None or number >= at_least)
        and (above is None or number > above)
        and (at_most is None or number <= at_most)
        and (below is None or number < below)
    ):
        accepted = _range(at_least, above, at_most, below)
        raise ValueError(f"{caller}: {name} must be {accepted}, got {value}")
    return number


def check_scalar(
    caller: str,
    name: str,
    value: Any,
    *,
    kinds: str = NUMBER_OR_ARRAY,
    **bounds: float,
) -> float | Array:
    """`check_number` that also accepts an MLX array of shape `()`, without reading it.

    Args:
        caller: as in `check_number`.
        name: as in `check_number`.
        value: as in `check_number`, or a real array of shape `()`.
        kinds: as in `check_number`.
        bounds: the other arguments of `check_number`.

    Raises:
        TypeError: if `value` is neither, or an array of bools or complex numbers.
        ValueError: if a number is out of its range, or an array not of shape `()`.

    Example:
        >>> check_scalar("adam", "b1", mx.array(0.5), at_least=0, below=1)
        array(0.5, dtype=float32)
    """
    if not isinstance(value, mx.array):
        return check_number(caller, name, value, kinds=kinds, **bounds)
    if value.shape != ():
        raise ValueError(f"{caller}: {name} must have shape (), got {value.shape}")
    if value.dtype in (mx.bool_, mx.complex64):
        raise TypeError(f"{caller}: {name} must be a real number, got {value.dtype}")
    return value


def check_count(
    caller: str,
    name: str,
    value: Any,
    *,
    at_least: int | None = 1,
    below: int | None = 2**31,
    kinds: str = "an integer",
) -> int:
    """Return an integer, such as a number of steps; raise unless it is in the range.

    A float such as `1e6` is not an integer, nor is an array, since shapes and loops
    depend on counts.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        value: the argument.
        at_least: lower bound, inclusive, if any.
        below: upper bound, exclusive, if any; by default that of int32.
        kinds: what errors say that the argument may be.

    Raises:
        TypeError: if `value` is not an integer.
        ValueError: if it is out of the range.

    Example:
        >>> check_count("muon", "steps", 0)
        Traceback (most recent call last):
        ValueError: muon: steps must be at least 1, got 0
    """
    value = _unwrapped(value)
    if not is_integer(value):
        whole = isinstance(value, float | np.floating) and value.is_integer()
        fix = f"; give int({value})" if whole else ""
        raise TypeError(f"{caller}: {name} must be {kinds}, got {_shown(value)}{fix}")
    if at_least is not None and value < at_least:
        raise ValueError(f"{caller}: {name} must be at least {at_least}, got {value}")
    if below is not None and value >= below:
        limit = "2**31" if below == 2**31 else below
        raise ValueError(f"{caller}: {name} must be below {limit}, got {value}")
    return int(value)


def check_bool(caller: str, **flags: Any) -> None:
    """Raise unless every argument is a Python or NumPy bool.

    A string or an array as a flag is a mistake: `"no"` would be true, and the value of
    an array is unknown while a function is compiled.

    Args:
        caller: public function that errors name.
        flags: the arguments by their names.

    Raises:
        TypeError: if one is not a bool.

    Example:
        >>> check_bool("linear", bias="no")
        Traceback (most recent call last):
        TypeError: linear: bias must be a bool, got 'no'; give True or False
    """
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            shown = reprlib.repr(value) if is_integer(value) else _shown(value)
            raise TypeError(
                f"{caller}: {name} must be a bool, got {shown}; give True or False"
            )


def check_axis(caller: str, axis: Any, ndim: int) -> int:
    """Return an axis, which may be negative; raise unless it is one of `ndim` axes."""
    index = check_count(caller, "axis", axis, at_least=None)
    if not -ndim <= index < ndim:
        raise ValueError(f"{caller}: axis must be in [{-ndim}, {ndim}), got {index}")
    return index


Sizes: TypeAlias = int | tuple[int, ...]
"""One integer for all spatial axes, or one for each."""


def to_sizes(
    caller: str, name: str, value: Sizes, *, dims: int, at_least: int
) -> tuple[int, ...]:
    """Return a Python int for each axis, given one for all of them or one for each."""
    given = list(value) if isinstance(value, tuple | list) else [value] * dims
    sizes = [_unwrapped(size) for size in given]
    integers = all(map(is_integer, sizes))
    if integers and len(sizes) == dims and min(sizes) >= at_least:
        return tuple(check_count(caller, name, size, at_least=None) for size in sizes)
    several = "" if dims == 1 else f", or {dims} of them"
    raise (ValueError if integers else TypeError)(
        f"{caller}: {name} must be an integer of at least {at_least}{several}, got "
        f"{value!r}"
    )


def check_choice(caller: str, name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise unless `value` is one of several strings."""
    *others, last = allowed = list(choices)
    if value not in allowed:
        wanted = f"{', '.join(map(repr, others))} or {last!r}"
        raise ValueError(f"{caller}: {name} must be {wanted}, got {value!r}")


def is_integer(value: Any) -> bool:
    """Whether a value is a Python or NumPy integer, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a real Python or NumPy number, and not a bool."""
    return is_integer(value) or isinstance(value, float | np.floating)


_MAX_NAMES = 5


def listed(names: Iterable[str]) -> str:
    """Names for an error: the first five, and how many more there are.

    Example:
        >>> listed("abcdefg"), listed([])
        ('a, b, c, d, e and 2 more', 'none')
    """
    names = list(names)
    shown = ", ".join(names[:_MAX_NAMES]) or "none"
    more = len(names) - _MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _unwrapped(value: Any) -> Any:
    """The element of a NumPy array of shape `()`; other values unchanged."""
    is_scalar = isinstance(value, np.ndarray) and value.shape == ()
    return value[()] if is_scalar else value


def _range(
    at_least: float | None,
    above: float | None,
    at_most: float | None,
    below: float | None,
) -> str:
    """The range in words; an interval if it has two ends."""
    low = at_least if above is None else above
    high = at_most if below is None else below
    if low is not None and high is not None:
        left, right = "[" if above is None else "(", "]" if below is None else ")"
        return f"in {left}{low:g}, {high:g}{right}"
    if low is not None:
        lower = f"at least {low:g}" if above is None else f"above {low:g}"
        return f"{'positive' if above == 0 else lower} and finite"
    if high is not None:
        return f"{'at most' if below is None else 'below'} {high:g} and finite"
    return "finite"


def _shown(value: Any) -> str:
    """A value for an error: itself if it is short, else its type."""
    if isinstance(value, mx.array):
        return "an array; take its number with .item()"
    if value is None or isinstance(value, str | bool | float | np.generic):
        return repr(value)
    return type(value).__name__
