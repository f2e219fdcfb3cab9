"""Checks of arguments that several packages share: types, dtypes, shapes and ranges.

Values of arrays are never checked: they are lazy, and a check would compute them.
"""

import math
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn.types import Array

NUMBER_OR_ARRAY = "a number or an array of shape ()"


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
    """A finite real number in a range, as a Python float.

    A number is a Python int or float, or a NumPy scalar, which stands for the same
    number: multiplied with an MLX array it would make a NumPy array. Strings, bools,
    `None` and arrays are not numbers.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        value: what the user gave.
        at_least: lower bound, which is in the range.
        above: lower bound, which is not.
        at_most: upper bound, which is in the range.
        below: upper bound, which is not.
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
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value[()]
    if not is_number(value):
        raise TypeError(f"{caller}: {name} must be {kinds}, got {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number, value = math.inf, "an int beyond the range of floats"
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
    """`check_number`, where an MLX array of shape `()` is accepted too, unread.

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


def check_count(caller: str, name: str, value: Any, *, at_least: int = 1) -> int:
    """A number of steps, rows or the like that int32 can hold, as a Python int.

    It is a Python or NumPy integer. A float such as `1e6` is not one, and nor is an
    array, since a count shapes the computation.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        value: what the user gave.
        at_least: lower bound.

    Raises:
        TypeError: if `value` is not an integer.
        ValueError: if it is less than `at_least`, or `2**31` or more.

    Example:
        >>> check_count("muon", "steps", 0)
        Traceback (most recent call last):
        ValueError: muon: steps must be at least 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        whole = isinstance(value, float | np.floating) and value.is_integer()
        fix = f"; give int({value})" if whole else ""
        raise TypeError(
            f"{caller}: {name} must be an integer, got {_shown(value)}{fix}"
        )
    if value < at_least:
        raise ValueError(f"{caller}: {name} must be at least {at_least}, got {value}")
    if value >= 2**31:
        raise ValueError(f"{caller}: {name} must be below 2**31, got {value}")
    return int(value)


def is_number(value: Any) -> bool:
    """Whether a value is a real number of Python's or NumPy's, and not a bool."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(
        value, bool
    )


def _range(
    at_least: float | None,
    above: float | None,
    at_most: float | None,
    below: float | None,
) -> str:
    """The range in words: an interval where it has two ends."""
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
    """A value in an error: itself if it is short, else its type."""
    if isinstance(value, mx.array):
        return "an array; take its number with .item()"
    if value is None or isinstance(value, str | bool | float | np.generic):
        return repr(value)
    return type(value).__name__


def check_array(caller: str, **arrays: Any) -> None:
    """Raises unless every argument is an MLX array."""
    for name, x in arrays.items():
        if not isinstance(x, mx.array):
            raise TypeError(
                f"{caller}: {name} must be an MLX array, got {type(x).__name__}; "
                f"{_remedy(name, x)}"
            )


def _remedy(name: str, x: Any) -> str:
    """How to get the array that was meant."""
    if hasattr(x, "sequence"):  # what a recurrent layer returns
        return f"take {name}.sequence"
    if isinstance(x, tuple):
        return "apply returns the pair (y, state): give y alone"
    return f"convert it with mx.array({name})"


def check_float(caller: str, **arrays: Any) -> None:
    """Raises unless every argument is an MLX array of a float dtype."""
    check_array(caller, **arrays)
    for name, x in arrays.items():
        if not mx.issubdtype(x.dtype, mx.floating):
            raise TypeError(
                f"{caller}: {name} must be of a float dtype, got {x.dtype}; "
                f"convert it with {name}.astype(mx.float32)"
            )


_NARROW = (mx.float32, mx.float16, mx.bfloat16)


def check_narrow_float(caller: str, **arrays: Any) -> None:
    """`check_float` for functions that do not compute in float64."""
    check_array(caller, **arrays)
    for name, x in arrays.items():
        if x.dtype not in _NARROW:
            raise TypeError(
                f"{caller}: {name} must be float32, float16 or bfloat16, got "
                f"{x.dtype}; convert it with {name}.astype(mx.float32)"
            )


def check_integer(caller: str, **arrays: Any) -> None:
    """Raises unless every argument is an MLX array of an integer dtype."""
    check_array(caller, **arrays)
    for name, x in arrays.items():
        if not mx.issubdtype(x.dtype, mx.integer):
            raise TypeError(f"{caller}: {name} must be integers, got {x.dtype}")


def check_same_shape(caller: str, **arrays: Array) -> None:
    """Raises unless the shapes are equal: broadcasting here is nearly always a slip."""
    (first, x), *others = arrays.items()
    for name, y in others:
        if y.shape != x.shape:
            raise ValueError(
                f"{caller}: {name} must have the shape of {first}, {x.shape}, got "
                f"{y.shape}"
            )


def check_classes(caller: str, **arrays: Array) -> None:
    """Raises unless every argument has a last axis, and numbers in it."""
    for name, x in arrays.items():
        if x.ndim == 0 or x.size == 0:
            raise ValueError(
                f"{caller}: {name} must have shape (..., num_classes) and not be "
                f"empty, got {x.shape}"
            )


def check_rows(caller: str, scores: str, x: Array, labels: Array) -> None:
    """Raises unless `labels` holds one integer for each row of `x`."""
    check_array(caller, **{scores: x})
    check_integer(caller, labels=labels)
    check_classes(caller, **{scores: x})
    if labels.shape != x.shape[:-1]:
        raise ValueError(
            f"{caller}: labels must have shape {x.shape[:-1]} (that of {scores}, less "
            f"the classes), got {labels.shape}"
        )
