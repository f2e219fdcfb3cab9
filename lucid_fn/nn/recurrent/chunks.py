"""Sequences that go through recurrent layers in chunks."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import mlx.core as mx

from lucid_fn.numerics import is_valid_label
from lucid_fn.ops.concatenation import split
from lucid_fn.types import Array


def in_chunks(
    sizes: Sequence[int], x: Array, lengths: Array | None, kept: Sequence[Array]
) -> Iterator[tuple[Array, Array | None, list[Array]]]:
    """The chunks of a sequence `(N, L, D)`, of its lengths and its dropout masks.

    The lengths of a chunk are those of what it has of each sequence.
    """
    if len(sizes) == 1:
        yield x, lengths, list(kept)
        return
    starts = accumulate(sizes, initial=0)
    for start, chunk in zip(starts, split(x, sizes, axis=1), strict=False):
        size = chunk.shape[1]
        inside = None
        if lengths is not None:  # -1 where it is out of range: it stays so
            known = is_valid_label(lengths, x.shape[1] + 1)
            rest = mx.clip(lengths.astype(mx.int32) - start, 0, size)
            inside = mx.where(known, rest, -1)
        yield chunk, inside, [mask[:, start : start + size] for mask in kept]


def joined(arrays: Sequence[Array], axis: int) -> Array:
    """The arrays as one, along an axis."""
    return arrays[0] if len(arrays) == 1 else mx.concatenate(list(arrays), axis=axis)
