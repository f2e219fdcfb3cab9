"""Checks that several functions make of their arguments."""

import operator
from typing import Any


def check_integer(
    caller: str, name: str, value: Any, *, least: int, kind: str = "an integer"
) -> int:
    """`value` as an `int`.

    Raises:
        TypeError: if it is not an integer; the message says that it must be `kind`.
        ValueError: if it is below `least`.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except (TypeError, ValueError):  # of an array, either
        number = None
    if number is None:
        raise TypeError(f"{caller}: {name} must be {kind}, got {value!r}")
    if number < least:
        raise ValueError(f"{caller}: {name} must be at least {least}, got {value!r}")
    return number
