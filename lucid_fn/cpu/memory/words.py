"""Strided copies in 64-bit words.

MLX's strided copy takes 0.5 ns an element, whatever its width, so copying two float32
numbers as one int64 halves the time.
"""

from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.types import Array

_WORD = 8  # bytes


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    """`mx.concatenate`, without a derivative."""
    if len(arrays) == 1:
        return arrays[0]
    if not has_words(arrays):
        return mx.concatenate(list(arrays), axis=axis)
    words = [mx.view(x, mx.int64) for x in arrays]
    return mx.view(mx.concatenate(words, axis=axis), arrays[0].dtype)


def pad(x: Array, width: list[tuple[int, int]], fill: float = 0.0) -> Array:
    """`mx.pad` of all axes but the last, without a derivative."""
    if not any(map(any, width)):
        return x
    if not has_words([x]):
        return mx.pad(x, width, constant_values=mx.array(fill, x.dtype))
    word = mx.view(mx.array([fill] * (_WORD // x.dtype.size), x.dtype), mx.int64)
    words = mx.pad(mx.view(x, mx.int64), width, constant_values=word[0])
    return mx.view(words, x.dtype)


def has_words(arrays: Sequence[Array]) -> bool:
    """Whether the rows of all arrays consist of whole words."""
    return all(x.size > 0 and x.shape[-1] * x.dtype.size % _WORD == 0 for x in arrays)
