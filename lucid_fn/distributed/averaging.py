"""Averages of many arrays over the processes of a group, in buckets."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.distributed.agreement import is_distributed
from lucid_fn.distributed.collectives import announce, sum_array
from lucid_fn.distributed.group import Group
from lucid_fn.types import Array, Tree

BUCKET_BYTES = 8 << 20


class _Bucket(NamedTuple):
    """Leaves that are concatenated and summed as one array."""

    places: list[int]
    dtype: mx.Dtype


def average(
    values: Tree,
    group: Group | None,
    *,
    weight: float = 1.0,
    bucket_bytes: int = BUCKET_BYTES,
    dtype: mx.Dtype | None = None,
) -> Tree:
    """`sum(values) / sum(weight)` over all processes, for each float leaf.

    Leaves are summed in buckets, because a sum for each leaf takes two to four times as
    long. Buckets are filled from the last leaf, whose gradient is available first.

    Args:
        values: a tree of arrays, already multiplied by the weight; integers are
            unchanged.
        group: as `init` returns it; `None` is a group of one.
        weight: of this process, such as its number of examples.
        bucket_bytes: maximum size of a bucket, unless one leaf is larger.
        dtype: in which to send and add; `None` for that of each leaf, except float32
            for float16, in which the sum could overflow.

    Returns:
        A tree like `values`, bitwise equal on all processes.
    """
    if not is_distributed(group):
        return values
    announce("average", values, group)
    leaves, structure = tree.flatten(values)
    own, total = mx.array(weight, mx.float32), None
    averaged = list(leaves)
    for bucket in _buckets(leaves, bucket_bytes, dtype):
        parts = [leaves[place] for place in bucket.places]
        flat = mx.concatenate([part.reshape(-1) for part in parts])  # (n,)
        flat = flat.astype(bucket.dtype)
        if total is None:  # the weights are summed together with the first bucket
            flat, total = _sum_with_weight(group, flat, own)
        else:
            flat = sum_array(group, flat)
        ends = list(itertools.accumulate(part.size for part in parts))[:-1]
        pieces = mx.split(flat / total, ends)
        for place, part, piece in zip(bucket.places, parts, pieces, strict=True):
            averaged[place] = piece.reshape(part.shape).astype(part.dtype)
    return tree.unflatten(structure, averaged)


def _sum_with_weight(group: Group, flat: Array, own: Array) -> tuple[Array, Array]:
    """The sums over the group of an array, and of the weights in float32."""
    if flat.dtype != mx.float32:  # a 16-bit dtype is too coarse for a count
        total = sum_array(group, own)
        return sum_array(group, flat), total
    summed = sum_array(group, mx.concatenate([flat, own.reshape(1)]))
    return summed[:-1], mx.contiguous(summed[-1])


def _buckets(
    leaves: list[Array], max_bytes: int, dtype: mx.Dtype | None
) -> Iterator[_Bucket]:
    """Buckets of leaves of one dtype, from the last leaf to the first."""
    open_: dict[mx.Dtype, tuple[_Bucket, int]] = {}
    for place in reversed(range(len(leaves))):
        leaf = leaves[place]
        if not leaf.size or not mx.issubdtype(leaf.dtype, mx.floating):
            continue
        chosen = dtype or (mx.float32 if leaf.dtype == mx.float16 else leaf.dtype)
        size = leaf.size * chosen.size
        bucket, filled = open_.get(chosen, (_Bucket([], chosen), 0))
        if bucket.places and filled + size > max_bytes:
            yield bucket
            bucket, filled = _Bucket([], chosen), 0
        bucket.places.append(place)
        open_[chosen] = bucket, filled + size
    for bucket, _ in open_.values():
        yield bucket
