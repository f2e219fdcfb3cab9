"""Python's numbers in compiled functions, where they are arrays of a weak dtype.

Outside a compiled function a number takes the dtype of the array that it meets:
`1e-3 * x` is float16 if `x` is, and float64 to the last digit if `x` is that. Inside,
numbers are arrays: float32 and int32, or float64 beside float64 arrays, so that they
keep their digits. MLX has no weak dtypes, so results are cast to the dtypes that they
have when the numbers are numbers.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.types import Array

Numbers: TypeAlias = tuple[tuple[int, Any], ...]
"""Indices among the arrays of a call, and the numbers that were there."""


def is_weak(value: Any) -> bool:
    """Whether MLX lets a value take the dtype of the array that it meets.

    It does so with Python's numbers, NumPy's scalars and NumPy arrays of shape `()`.
    """
    if isinstance(value, np.generic | np.ndarray):
        known = value.dtype.kind in "iuf" and value.dtype.itemsize <= 8
        return value.ndim == 0 and known
    return isinstance(value, int | float)


def with_double_floats(arrays: list[Array], numbers: list[tuple[int, Any]]) -> Any:
    """The arrays of a call, with those of Python's floats in float64."""
    filled = list(arrays)
    for place, number in numbers:
        if mx.issubdtype(filled[place].dtype, mx.floating):
            filled[place] = mx.array(float(number), mx.float64)
    return filled


def widening(numbers: Numbers, arrays: list[Array]) -> Numbers:
    """The numbers, if one of them could widen the dtype of an argument; else none."""
    dtypes = {array.dtype for array in arrays}
    for place, number in numbers:
        dtype = getattr(number, "dtype", None)
        kind: Any = type(number)
        if any(_widens(kind, dtype, arrays[place].dtype, met) for met in dtypes):
            return numbers
    return ()


@functools.cache
def _widens(kind: type, dtype: Any, as_array: mx.Dtype, met: mx.Dtype) -> bool:
    """Whether a number gives another dtype as an array, beside an array of a dtype."""
    number: Any = kind(1) if dtype is None else np.ones((), dtype)[()]
    x = mx.zeros((), met)
    return bool((x + number).dtype != (x + mx.zeros((), as_array)).dtype)


def with_numbers(arrays: list[Array], numbers: Numbers) -> list[Any]:
    """The arrays, with the numbers at their indices."""
    filled: list[Any] = list(arrays)
    for place, number in numbers:
        filled[place] = number
    return filled


def narrowed(out: Any, weak: Callable[[], Any]) -> Any:
    """A result cast to the dtypes of `weak()`, which is traced and not computed."""
    try:
        like = weak()
    except Exception:
        return out  # it expects arrays, as in `lr.astype(x.dtype)`
    if tree.flatten(out)[1] != tree.flatten(like)[1]:
        return out
    return tree.map(_as, out, like)


def _as(x: Any, like: Any) -> Any:
    both = isinstance(x, mx.array) and isinstance(like, mx.array)
    return x.astype(like.dtype) if both and x.shape == like.shape else x
