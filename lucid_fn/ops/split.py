"""Splitting an array into parts along an axis."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

import mlx.core as mx

from lucid_fn.ops.custom_derivative import Arrays, custom_function
from lucid_fn.types import Array


def split(x: Array, lengths: Sequence[int], axis: int = -1) -> list[Array]:
    """Splits `x` into parts of these lengths along an axis.

    In place of `mx.split` and `mx.unstack`: `mx.compile` fails where a function holds
    the gradient of one split and another split of the same array.
    """
    axis = axis % x.ndim
    if len(lengths) == 1:
        return [x]
    return list(_splitting(tuple(accumulate(lengths, initial=0)), axis)(x))


def split_evenly(x: Array, count: int, axis: int = -1) -> list[Array]:
    """Splits `x` into `count` parts of one length along an axis."""
    return split(x, [x.shape[axis] // count] * count, axis)


@cache
def _splitting(ends: tuple[int, ...], axis: int) -> Any:
    cuts = [(slice(None),) * axis + (slice(a, b),) for a, b in pairwise(ends)]

    @custom_function
    def parts(x: Array) -> tuple[Array, ...]:
        return tuple(x[cut] for cut in cuts)

    @parts.vjp
    def _(x: Array, grads: Arrays, _: Arrays) -> Array:
        return mx.concatenate(list(grads), axis=axis)

    @parts.jvp
    def _(x: Array, tangent: Array) -> Any:
        return parts(tangent)

    return parts
