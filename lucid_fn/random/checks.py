"""Checks of the arguments of random functions."""

import operator
from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from lucid_fn.types import Key


def check_key(caller: str, key: Key) -> None:
    """Raises unless `key` is a key."""
    if isinstance(key, mx.array) and key.dtype == mx.uint32 and key.shape == (2,):
        return
    got = (
        f"an array of {key.dtype} and shape {key.shape}"
        if isinstance(key, mx.array)
        else repr(key)
    )
    raise TypeError(
        f"random.{caller}: key must be a key (uint32, shape (2,)), got {got}; "
        "make one with random.key(0)"
    )


def is_integer(value: Any) -> bool:
    """Whether `value` is an integer of Python or NumPy: no bool, no array of MLX."""
    return hasattr(value, "__index__") and not isinstance(value, bool | mx.array)


def to_integer(caller: str, name: str, value: Any) -> int:
    """`value` as a Python int."""
    if not is_integer(value):
        raise TypeError(f"random.{caller}: {name} must be an integer, got {value!r}")
    return operator.index(value)


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
    return tuple(operator.index(size) for size in shape)


def check_dtype(caller: str, dtype: mx.Dtype, category: Any, words: str) -> None:
    """Raises unless `dtype` is an MLX dtype of the category."""
    if not isinstance(dtype, mx.Dtype) or not mx.issubdtype(dtype, category):
        raise TypeError(f"random.{caller}: dtype must be {words}, got {dtype!r}")


def check_parameters(caller: str, shape: tuple[int, ...], **parameters: Any) -> None:
    """Raises unless each parameter is a number or an array that broadcasts to shape."""
    for name, value in parameters.items():
        if not isinstance(value, mx.array):
            if isinstance(value, int | float) or is_integer(value):
                continue
            raise TypeError(
                f"random.{caller}: {name} must be a number or an array, got {value!r}"
            )
        padded = (1,) * (len(shape) - value.ndim) + value.shape
        if len(padded) > len(shape) or any(
            size not in (1, whole) for size, whole in zip(padded, shape, strict=True)
        ):
            raise ValueError(
                f"random.{caller}: {name} of shape {value.shape} does not broadcast "
                f"to shape {shape}; give the shape of the result"
            )


def check_axis(caller: str, axis: int, ndim: int) -> None:
    """Raises unless an array of `ndim` axes has this one."""
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"random.{caller}: axis must be in [{-ndim}, {ndim}), got {axis}"
        )
