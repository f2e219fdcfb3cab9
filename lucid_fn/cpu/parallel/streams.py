"""Divides the batch of an operation into parts, each on its own CPU stream.

MLX evaluates each CPU stream on one thread. Two streams with half the batch each, and
one BLAS thread a stream, keep two cores busy in every kernel of an operation; one
stream with two BLAS threads does so only in matrix products. Elementwise maths between
such operations runs on the parts of a divided batch (`split_batch`), or on the default
stream: dividing it alone costs more, for the copy that joins it, than it saves.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from lucid_fn.cpu import runtime
from lucid_fn.cpu.concatenate import joined
from lucid_fn.ops.seam import computing_part, current_part
from lucid_fn.types import Array

_VARIABLE = "LUCID_FN_STREAMS"
_MAX_STREAMS = 8  # with more, the parts of a batch of 128 get too small
_LARGE = 1 << 18  # minimum size at which two streams normalize rows faster than one


@cache
def available() -> int:
    """The number of CPU streams to use.

    On Linux, the number of cores this process may use, at most 8; 1 elsewhere (Apple's
    BLAS is multithreaded by itself). `LUCID_FN_STREAMS` overrides it.
    """
    return _setting() or (_cores() if sys.platform == "linux" else 1)


@cache
def count() -> int:
    """The number of CPU streams that `map_split` uses: `available()` or fewer.

    With several streams, the BLAS is set to one thread: two streams that call an
    OpenBLAS of two threads spend ten times as long waiting for each other as computing.
    If the user chose more BLAS threads, there are fewer streams.
    """
    streams = available()
    if streams > 1:
        threads = runtime.set_blas_threads(1)
        streams = max(streams // max(threads, 1), 1)
    return streams


def _cores() -> int:
    return min(runtime.physical_cores(), _MAX_STREAMS)


def _setting() -> int:
    setting = os.environ.get(_VARIABLE, "0")
    if not setting.isdecimal():
        raise ValueError(
            f"ops: {_VARIABLE} must be a number of streams, got {setting!r}; "
            "unset it for one for each core"
        )
    return int(setting)


def map_split(
    fn: Callable[..., Any], x: Array, *others: Array | list[Array]
) -> list[Any]:
    """Map `fn` over parts of the arrays along axis 0, each on its own stream.

    Args:
        fn: called once for each part, with that part of each array. The operations that
            it builds run on the part's stream; arrays it closes over are shared.
        x: array whose parts are views if it is contiguous.
        others: arrays as long as `x`, or the parts of such an array as a list.

    Returns:
        The results in order; a single one if there is only one stream, or inside a
        part.
    """
    if current_part() is not None or x.shape[0] < 2 or count() < 2:
        return [fn(x, *(y[0] if isinstance(y, list) else y for y in others))]
    batches = [y if isinstance(y, list) else split(y) for y in (x, *others)]
    return map_parts(fn, *batches)


def map_parts(fn: Callable[..., Any], *batches: Sequence[Any]) -> list[Any]:
    """Map `fn` over the parts of batches, each on its stream; one part stays put."""
    if len(batches[0]) == 1:
        return [fn(*(batch[0] for batch in batches))]
    results = []
    for part, arrays in enumerate(zip(*batches, strict=True)):
        with computing_part(part):
            results.append(fn(*arrays))
    return results


def split(x: Array) -> list[Array]:
    """Parts of `x` along axis 0, one for each stream; views if `x` is contiguous."""
    length = x.shape[0]
    parts = max(min(count(), length), 1)
    bounds = [length * part // parts for part in range(parts + 1)]
    return [x[start:end] for start, end in pairwise(bounds)]


def map_large(fn: Callable[..., Any], x: Array, *others: Array) -> list[Any]:
    """`map_split` if `x` is large, else `[fn(x, *others)]`.

    The first part is half as large as the others, since its stream also computes what
    follows, such as the copy that joins the results.
    """
    if x.size < _LARGE or current_part() is not None or count() < 2:
        return [fn(x, *others)]
    length, halves = len(x), 2 * min(count(), len(x)) - 1
    # Multiples of 8 rows: `row_squares` multiplies blocks of rows.
    inner = (length * half // halves // 8 * 8 for half in range(1, halves, 2))
    bounds = list(pairwise([0, *inner, length]))
    parts = [[array[a:b] for a, b in bounds] for array in (x, *others)]
    return map_parts(fn, *parts)


def concat_split(
    fn: Callable[..., Array], x: Array, *others: Array | list[Array]
) -> Array:
    """`fn(x, *others)` in parts, for an `fn` that maps the entries of axis 0."""
    return concat(map_split(fn, x, *others))


def concat(parts: Sequence[Array]) -> Array:
    """Concatenate the parts of an array along axis 0."""
    return joined(parts, 0)


def sum_split(
    fn: Callable[..., Array], x: Array, *others: Array | list[Array]
) -> Array:
    """`fn(x, *others)` in parts, for an `fn` that sums over axis 0."""
    total: Array
    total, *parts = map_split(fn, x, *others)
    for part in parts:
        total = total + part
    return total
