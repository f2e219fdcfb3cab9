"""All cores at once: the batch of one operation in parts, each on its own CPU stream.

MLX evaluates a CPU stream on one thread. Two streams with half the batch each, and one
BLAS thread a stream, keep two cores busy in every kernel of an operation; one stream
with two BLAS threads does so only inside its matrix products. Elementwise maths between
such operations goes along in a divided batch (`split_batch`), or stays on the default
stream: dividing it alone, and joining it by a copy, takes longer than it saves.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import mlx.core as mx

from lucid_fn.cpu import runtime
from lucid_fn.ops.seam import computing_part, current_part
from lucid_fn.types import Array

_VARIABLE = "LUCID_FN_STREAMS"
_MOST = 8  # parts of a batch of 128 get too small beyond
_LARGE = 1 << 18  # numbers from which on two streams norm or sum rows faster than one


@cache
def available() -> int:
    """The number of CPU streams worth having.

    The number of cores this process may keep busy, at most 8, on Linux; 1 elsewhere
    (Apple's BLAS spreads its work by itself). `LUCID_FN_STREAMS` sets another number.
    """
    return _setting() or (_cores() if sys.platform == "linux" else 1)


@cache
def count() -> int:
    """The number of CPU streams that `map_split` uses: `available`, or fewer.

    More than one stream leaves one thread to each call of the BLAS: two streams that
    both call an OpenBLAS of two threads wait for each other, ten times as long as they
    compute. Where the user chose more BLAS threads, there are fewer streams.
    """
    streams = available()
    if streams > 1:
        threads = runtime.set_blas_threads(1)
        streams = max(streams // max(threads, 1), 1)
    return streams


def _cores() -> int:
    return min(runtime.physical_cores(), _MOST)


def _setting() -> int:
    setting = os.environ.get(_VARIABLE, "0")
    if not setting.isdecimal():
        raise ValueError(
            f"ops: {_VARIABLE} must be a number of streams, got {setting!r}; "
            "unset it for one a core"
        )
    return int(setting)


def map_split(
    fn: Callable[..., Any], x: Array, *others: Array | list[Array]
) -> list[Any]:
    """`fn` of the parts of the arrays along axis 0, each part on its own stream.

    Args:
        fn: called once per part with that part of each array. The operations that it
            builds run on the part's stream; arrays it closes over are shared.
        x: its parts are views if it is contiguous.
        others: arrays as long as `x`, or parts of such that were returned before.

    Returns:
        What `fn` returned for each part, in order; a list of one where there is only
        one stream to use, or inside of a part.
    """
    if current_part() is not None or x.shape[0] < 2 or count() < 2:
        return [fn(x, *(y[0] if isinstance(y, list) else y for y in others))]
    batches = [y if isinstance(y, list) else split(y) for y in (x, *others)]
    return map_parts(fn, *batches)


def map_parts(fn: Callable[..., Any], *batches: Sequence[Any]) -> list[Any]:
    """`fn` of the parts of each batch, on the part's stream; a single part stays."""
    if len(batches[0]) == 1:
        return [fn(*(batch[0] for batch in batches))]
    results = []
    for part, arrays in enumerate(zip(*batches, strict=True)):
        with computing_part(part):
            results.append(fn(*arrays))
    return results


def split(x: Array) -> list[Array]:
    """Parts of `x` along axis 0, one a stream: views, if `x` is contiguous."""
    length = x.shape[0]
    parts = max(min(count(), length), 1)
    bounds = [length * part // parts for part in range(parts + 1)]
    return [x[start:end] for start, end in pairwise(bounds)]


def map_large(fn: Callable[..., Any], x: Array, *others: Array) -> list[Any]:
    """`map_split` of a large `x`; what `fn` returns for all of it otherwise.

    The first part is half as large as the others: its stream also computes what goes on
    with all of them, such as the copy that joins them.
    """
    if x.size < _LARGE or current_part() is not None or count() < 2:
        return [fn(x, *others)]
    length, halves = len(x), 2 * min(count(), len(x)) - 1
    # Multiples of 8 rows, which `row_squares` likes.
    inner = (length * half // halves // 8 * 8 for half in range(1, halves, 2))
    bounds = list(pairwise([0, *inner, length]))
    parts = [[array[a:b] for a, b in bounds] for array in (x, *others)]
    return map_parts(fn, *parts)


def concat_split(
    fn: Callable[..., Array], x: Array, *others: Array | list[Array]
) -> Array:
    """`fn(x, *others)`, for an `fn` that treats the entries of axis 0 independently."""
    return concat(map_split(fn, x, *others))


def concat(parts: Sequence[Array]) -> Array:
    """The parts of one array, joined along axis 0."""
    return parts[0] if len(parts) == 1 else mx.concatenate(list(parts))


def sum_split(
    fn: Callable[..., Array], x: Array, *others: Array | list[Array]
) -> Array:
    """`fn(x, *others)`, for an `fn` that sums over axis 0."""
    total: Array
    total, *parts = map_split(fn, x, *others)
    for part in parts:
        total = total + part
    return total
