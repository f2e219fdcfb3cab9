"""Python numbers in compiled functions: arrays that change no dtype of a result.

Outside of a compiled function a number takes the dtype of the array that it meets:
`1e-3 * x` is float16 if `x` is. Inside, where numbers are float32 and int32 arrays, it
would be float32. MLX has no arrays of a weak dtype, so results are cast to the dtype
that they have when the numbers are numbers.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.types import Array

Numbers: TypeAlias = tuple[tuple[int, int | float], ...]
"""Places among the arrays of a call, and the numbers that were there."""

_WIDENED = {
    float: {mx.float16, mx.bfloat16},
    int: {mx.int8, mx.int16, mx.uint8, mx.uint16, mx.uint32, mx.uint64},
}


def that_widen(numbers: Numbers, arrays: list[Array]) -> Numbers:
    """The numbers, if an array is among the arguments that one of them could widen."""
    kinds = {float if isinstance(value, float) else int for _, value in numbers}
    dtypes = {array.dtype for array in arrays}
    return numbers if any(_WIDENED[kind] & dtypes for kind in kinds) else ()


def with_numbers(arrays: list[Array], numbers: Numbers) -> list[Any]:
    """The arrays, and the numbers in their places."""
    filled: list[Any] = list(arrays)
    for place, number in numbers:
        filled[place] = number
    return filled


def narrowed(out: Any, weak: Callable[[], Any]) -> Any:
    """A result with the dtypes of `weak()`, which is traced and not computed."""
    try:
        like = weak()
    except Exception:
        return out  # it takes the numbers for arrays, as in `lr.astype(x.dtype)`
    if tree.flatten(out)[1] != tree.flatten(like)[1]:
        return out
    return tree.map(_as, out, like)


def _as(x: Any, like: Any) -> Any:
    both = isinstance(x, mx.array) and isinstance(like, mx.array)
    return x.astype(like.dtype) if both and x.shape == like.shape else x
