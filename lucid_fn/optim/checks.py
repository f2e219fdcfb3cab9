"""Hyper-parameters: what they may be, and how an error in one is reported."""

import functools
import math
import re
from collections.abc import Callable
from typing import ParamSpec, TypeAlias, TypeVar

import mlx.core as mx
import numpy as np

from lucid_fn.types import Array

Scalar: TypeAlias = float | Array
"""A hyper-parameter: a number, or an array of shape `()` such as `inject` makes."""

P = ParamSpec("P")
T = TypeVar("T")

_KINDS = "a number or an array of shape ()"


def check_at_least_0(
    caller: str, name: str, value: Scalar, *, kinds: str = _KINDS
) -> Scalar:
    range_ = "at least 0 and finite"
    return _in_range(caller, name, value, range_, lambda x: x >= 0, kinds)


def check_at_least_1(caller: str, name: str, value: Scalar) -> Scalar:
    return _in_range(caller, name, value, "at least 1 and finite", lambda x: x >= 1)


def check_positive(caller: str, name: str, value: Scalar) -> Scalar:
    return _in_range(caller, name, value, "positive and finite", lambda x: x > 0)


def check_decay(caller: str, name: str, value: Scalar) -> Scalar:
    """A weight of the past, which may be forgotten but not kept for ever."""
    return _in_range(caller, name, value, "in [0, 1)", lambda x: 0 <= x < 1)


def check_fraction(caller: str, name: str, value: Scalar) -> Scalar:
    return _in_range(caller, name, value, "in [0, 1]", lambda x: 0 <= x <= 1)


def check_count(caller: str, name: str, value: int, *, least: int = 1) -> int:
    """A number of steps or the like; it shapes the computation, so it is no array."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{caller}: {name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{caller}: {name} must be at least {least}, got {value}")
    return int(value)


def _in_range(
    caller: str,
    name: str,
    value: Scalar,
    range_: str,
    accepts: Callable[[float], bool],
    kinds: str = _KINDS,
) -> Scalar:
    """The value, if it is in its range; of arrays only the shape is known."""
    if isinstance(value, mx.array):
        if value.shape != ():
            raise ValueError(f"{caller}: {name} must have shape (), got {value.shape}")
        return value
    if isinstance(value, bool) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError(f"{caller}: {name} must be {kinds}, got {value!r}")
    number = float(value)  # a NumPy scalar times an MLX array is a NumPy array
    if not (math.isfinite(number) and accepts(number)):
        raise ValueError(f"{caller}: {name} must be {range_}, got {number:g}")
    return number


def is_zero(value: Scalar) -> bool:
    """Whether a part may be left out; not if the value is known at run time only."""
    return not isinstance(value, mx.array) and value == 0


def reports_as_itself(optimizer: Callable[P, T]) -> Callable[P, T]:
    """Makes the errors of an optimizer's parts begin with the optimizer's own name.

    So `sgd(0.1, momentum=-1)` does not tell its user about `trace`.
    """

    @functools.wraps(optimizer)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return optimizer(*args, **kwargs)
        except (TypeError, ValueError) as error:
            part = re.match(r"\w+: ", str(error))
            if part is None:
                raise
            message = str(error)[part.end() :]
            raise type(error)(f"{optimizer.__name__}: {message}") from None

    return checked
