"""Concatenation on CPUs, in 64-bit words."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, cast

import mlx.core as mx

from lucid_fn.cpu.memory import words
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.mlx_transforms import as_list, directions, like
from lucid_fn.types import Array


def joined(arrays: Sequence[Array], axis: int) -> Array:
    """`ops.concatenation.joined`, in two thirds of the time for rows of whole words."""
    if len(arrays) == 1:
        return arrays[0]
    if not words.has_words(arrays):
        return mx.concatenate(list(arrays), axis=axis)
    return cast(Array, _joining(axis)(*arrays))


@cache
def _joining(axis: int) -> Any:
    @custom_function  # since `mx.view` has no derivative
    def join(*arrays: Array) -> Array:
        return words.concatenate(list(map(mx.stop_gradient, arrays)), axis)

    @join.vjp
    def _(primals: Any, g: Array, _: Array) -> Any:
        ends = accumulate((x.shape[axis] for x in as_list(primals)), initial=0)
        before = (slice(None),) * axis
        parts = [g[(*before, slice(*bounds))] for bounds in pairwise(ends)]
        return like(parts, primals)

    @join.jvp
    def _(primals: Any, tangents: Any) -> Array:
        return cast(Array, join(*directions(primals, tangents)))

    return join
