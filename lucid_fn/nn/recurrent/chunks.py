"""Chunks of sequences, for recurrent layers that run concurrently on several cores."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import mlx.core as mx

from lucid_fn.numerics import is_valid_label
from lucid_fn.ops.concatenation import split
from lucid_fn.types import Array


def in_chunks(
    sizes: Sequence[int], x: Array, lengths: Array | None, kept: Sequence[Array]
) -> Iterator[tuple[Array, Array | None, list[Array]]]:
    """Chunks of `sizes` steps of a batch `(N, L, D)`, its lengths and dropout masks.

    The lengths of a chunk are the numbers of steps that it has of each sequence.
    """
    if len(sizes) == 1:
        yield x, lengths, list(kept)
        return
    starts = accumulate(sizes, initial=0)
    for start, chunk in zip(starts, split(x, sizes, axis=1), strict=False):
        size = chunk.shape[1]
        chunk_lengths = None
        if lengths is not None:
            valid = is_valid_label(lengths, x.shape[1] + 1)
            rest = mx.clip(lengths.astype(mx.int32) - start, 0, size)
            chunk_lengths = mx.where(valid, rest, -1)  # -1 is out of range as well
        yield chunk, chunk_lengths, [mask[:, start : start + size] for mask in kept]


def joined(arrays: Sequence[Array], axis: int) -> Array:
    """The arrays concatenated along an axis; a single one as it is."""
    return arrays[0] if len(arrays) == 1 else mx.concatenate(list(arrays), axis=axis)
