"""Sums over all places of a channel, exact enough for millions of values."""

from lucid_fn.sums import sum_rows, sum_to
from lucid_fn.types import Array


def channel_sum(x: Array) -> Array:
    """`(..., C)` to `(C,)`, in blocks: see `sum_rows`."""
    return sum_to(x, x.shape[-1:])


def place_sum(x: Array) -> Array:
    """`(N, P, C)` to `(N, C)`, the sum over the places, in blocks: see `sum_rows`."""
    return sum_rows(x)
