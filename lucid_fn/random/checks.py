"""Checks of the arguments of random functions."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import checks
from lucid_fn.checks import check_count, check_type, is_integer, to_number
from lucid_fn.types import Array, Key

_MAX_AXIS = 2**31 - 1
_MAX_ELEMENTS = 2**40  # far below where MLX's sizes in bytes would wrap


def check_key(caller: str, key: Key) -> None:
    """Raises unless `key` is a key."""
    checks.check_key(f"random.{caller}", key)


def to_integer(caller: str, name: str, value: Any, *, kinds: str = "an integer") -> int:
    """`value` as a Python int, however large."""
    return check_count(
        f"random.{caller}", name, value, at_least=None, below=None, kinds=kinds
    )


def to_shape(caller: str, shape: Sequence[int]) -> tuple[int, ...]:
    """`shape` as a tuple of Python ints."""
    if not isinstance(shape, tuple | list) or not all(map(is_integer, shape)):
        raise TypeError(
            f"random.{caller}: shape must be a tuple of integers, such as (3,), got "
            f"{shape!r}"
        )
    if any(size < 0 for size in shape):
        raise ValueError(
            f"random.{caller}: shape must have sizes of at least 0, got {shape}"
        )
    sizes = tuple(operator.index(size) for size in shape)
    draws = math.prod(sizes)
    if max(sizes, default=0) > _MAX_AXIS or draws > _MAX_ELEMENTS:
        raise ValueError(
            f"random.{caller}: shape must have sizes below 2**31 and at most 2**40 "
            f"elements, got {sizes}"
        )
    # MLX does not notice that an allocation has failed, and writes to it.
    checks.check_size(f"random.{caller}", "shape", sizes)
    return sizes


def check_dtype(caller: str, dtype: mx.Dtype, category: Any, words: str) -> None:
    """Raises unless `dtype` is an MLX dtype of the category."""
    if not isinstance(dtype, mx.Dtype) or not mx.issubdtype(dtype, category):
        raise TypeError(f"random.{caller}: dtype must be {words}, got {dtype!r}")


def check_draw(
    caller: str, key: Key, shape: Sequence[int], dtype: mx.Dtype
) -> tuple[int, ...]:
    """Checks the arguments of a draw of floats; `shape` as a tuple of Python ints."""
    check_key(caller, key)
    size = to_shape(caller, shape)
    check_dtype(caller, dtype, mx.floating, "a float dtype")
    return size


def to_parameter(
    caller: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    within: Callable[[float], bool],
    words: str,
) -> float | Array:
    """A parameter of a distribution: a number in its range, or an array.

    Of an array only the shape is checked, which must broadcast to `shape`: its values
    are lazy.
    """
    if not isinstance(value, mx.array):
        number = to_number(
            f"random.{caller}", name, value, kinds="a number or an array"
        )
        if not within(number):
            raise ValueError(f"random.{caller}: {name} must be {words}, got {value}")
        return number
    if mx.issubdtype(value.dtype, mx.complexfloating):
        raise TypeError(f"random.{caller}: {name} must be real, got {value.dtype}")
    check_broadcast(caller, name, value, shape)
    return value


def check_broadcast(
    caller: str, name: str, value: Array, shape: tuple[int, ...]
) -> None:
    """Raises unless an array broadcasts to `shape`."""
    padded = (1,) * (len(shape) - value.ndim) + value.shape
    if len(padded) > len(shape) or any(
        size not in (1, whole) for size, whole in zip(padded, shape, strict=True)
    ):
        raise ValueError(
            f"random.{caller}: {name} of shape {value.shape} does not broadcast "
            f"to shape {shape}; give the shape of the result"
        )


def result_shape(
    caller: str, shape: Sequence[int] | None, *parameters: Any
) -> tuple[int, ...]:
    """`shape`, or the shape that the parameters broadcast to if it is `None`."""
    if shape is not None:
        return to_shape(caller, shape)
    shapes = [x.shape for x in parameters if isinstance(x, mx.array)]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"random.{caller}: the parameters must broadcast to one shape, got "
            f"{' and '.join(map(str, shapes))}"
        ) from None


def check_axis(caller: str, axis: int, ndim: int) -> int:
    """The axis; raises unless an array of `ndim` axes has it."""
    return checks.check_axis(f"random.{caller}", axis, ndim)


def check_vector(caller: str, name: str, value: Any, ndim: int) -> None:
    """Raises unless `value` is a real array with `ndim` axes, the last not empty."""
    fix = f"convert it with mx.array({name})"
    check_type(f"random.{caller}", name, value, mx.array, "an array", fix=fix)
    if mx.issubdtype(value.dtype, mx.complexfloating):
        raise TypeError(f"random.{caller}: {name} must be real, got {value.dtype}")
    if value.ndim < ndim or value.shape[-1] == 0:
        raise ValueError(
            f"random.{caller}: {name} must have at least {ndim} axes and not be empty "
            f"along the last, got shape {value.shape}"
        )
