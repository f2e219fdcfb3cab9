"""Sums over all places of a channel, exact enough for millions of values."""

import math

from lucid_fn.types import Array


def channel_sum(x: Array) -> Array:
    """`(..., C)` to `(C,)`, in blocks: the error grows by the root of the count only.

    One running float32 sum of 2 million values of one sign loses 1e-4 of itself; the
    blocks cost nothing.
    """
    rows = x.reshape(-1, x.shape[-1])
    block = math.isqrt(rows.shape[0])
    whole = rows.shape[0] // max(block, 1) * block
    total = rows[:whole].reshape(-1, block, rows.shape[1]).sum(axis=1).sum(axis=0)
    return total if whole == rows.shape[0] else total + rows[whole:].sum(axis=0)


def place_sum(x: Array) -> Array:
    """`(N, P, C)` to `(N, C)`, the sum over the places, in blocks as `channel_sum`."""
    n, places, c = x.shape
    block = math.isqrt(places)
    whole = places // max(block, 1) * block
    total = x[:, :whole].reshape(n, whole // max(block, 1), block, c).sum(axis=2)
    total = total.sum(axis=1)
    return total if whole == places else total + x[:, whole:].sum(axis=1)
