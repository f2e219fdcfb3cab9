"""Max and average pooling on CPUs, with gradients of few elementwise kernels."""

import math
from collections.abc import Callable
from functools import lru_cache, partial, reduce
from itertools import product
from typing import cast

import mlx.core as mx
import numpy as np

from lucid_fn.cpu.parallel.streams import concat_split
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.windows import Windows, divisors, gather_slots, mean_by_slots
from lucid_fn.types import Array, ArrayFn

_SPLITS = 1 << 18  # numbers from which on two streams are faster than one


def max_of_windows(x: Array, windows: Windows) -> Array:
    """`ops.windows.max_of_windows`, whose gradient is two elementwise kernels."""
    return cast(Array, _max(windows)(x))


def mean_of_windows(x: Array, windows: Windows, count_include_pad: bool) -> Array:
    """`ops.windows.mean_of_windows`, whose gradient is a copy or elementwise kernel."""
    return cast(Array, _mean(windows, count_include_pad)(x))


@lru_cache(maxsize=512)
def _max(windows: Windows) -> ArrayFn:
    @custom_function
    def run(x: Array) -> Array:
        x = mx.stop_gradient(x)  # or MLX's jvp would differentiate this too
        return reduce(mx.maximum, gather_slots(x, windows, -math.inf))

    @run.vjp
    def vjp(x: Array, g: Array, y: Array) -> Array:
        def share(g: Array, winner: Array, slot: Array) -> Array:
            return mx.where(winner == slot, g, 0.0)

        def part(x: Array, y: Array, g: Array) -> Array:
            return _scatter((g, _winner(x, y, windows)), windows, share)

        # Bound by arithmetic, not by the memory: two streams take half as long.
        whole = part if x.size < _SPLITS else partial(concat_split, part)
        return whole(x, y, g.astype(mx.float32)).astype(x.dtype)

    @run.jvp
    def jvp(x: Array, dx: Array) -> Array:
        winner = _winner(x, cast(Array, run(x)), windows)
        slots = enumerate(gather_slots(dx, windows, 0.0))
        return sum(((winner == i) * slot for i, slot in slots), mx.zeros((), x.dtype))

    return cast(ArrayFn, run)


def _winner(x: Array, y: Array, windows: Windows) -> Array:
    """Slot of the first number of each window that equals its maximum `y`.

    That is the number of slots before it, all of which differ; the last slot if the
    maximum is nan. Padding is nan here, which equals nothing. It has no derivative: MLX
    would look for that of its integers, and not find it.
    """
    x, y = mx.stop_gradient(x), mx.stop_gradient(y)
    dtype = _slot_dtype(windows)
    slots = gather_slots(x, windows, math.nan)
    if len(slots) == 1:
        return mx.zeros(y.shape, dtype)
    winner = None
    for index, slot in reversed(list(enumerate(slots[:-1]))):
        differs = (slot != y).astype(dtype)
        winner = differs if winner is None else differs + differs * winner
        if index % 3 == 0:  # a barrier before MLX cuts the kernel at a bad place
            winner = mx.contiguous(winner)
    return cast(Array, winner)


@lru_cache(maxsize=512)
def _mean(windows: Windows, count_include_pad: bool) -> ArrayFn:
    # It and its transpose are linear: each is the derivative of the other.
    average = custom_function(lambda x: mean_by_slots(x, windows, count_include_pad))
    spread = custom_function(
        lambda g: _spread(mx.stop_gradient(g), windows, count_include_pad)
    )
    for function, transpose in ((average, spread), (spread, average)):
        function.vjp(lambda _, g, __, transpose=transpose: transpose(g))
        function.jvp(lambda _, dx, function=function: function(dx))
    return cast(ArrayFn, average)


def _spread(g: Array, windows: Windows, count_include_pad: bool) -> Array:
    """The transpose of average pooling: each number shared out to its window."""
    share = g.astype(mx.float32) / divisors(windows, count_include_pad)
    if windows.kernel == windows.stride and g.shape[-1] % 2 == 0:
        # A strided copy takes as long for a number of 64 bits as for one of 32.
        whole = _scatter((mx.view(share, mx.int64),), windows, _to_all)
        return mx.view(whole, mx.float32).astype(g.dtype)
    # Then every phase of the stride is in as many windows, and a copy does.
    covered = not any(
        k % s for k, s in zip(windows.kernel, windows.stride, strict=True)
    )
    weigh = _to_all if covered else lambda share, slot: share * (slot < windows.slots)
    return _scatter((share,), windows, weigh).astype(g.dtype)


def _to_all(share: Array, slot: Array) -> Array:
    return mx.broadcast_to(share, mx.broadcast_shapes(share.shape, slot.shape))


def _scatter(
    arrays: tuple[Array, ...],
    windows: Windows,
    weigh: Callable[..., Array],
) -> Array:
    """Sums into each number of `x` what the windows that contain it hold for it.

    The transpose of `gather_slots`. Numbers are grouped by their phase, the position
    modulo the stride. Those of one phase are in the same slots of their windows, so
    that a single elementwise kernel writes the whole result `(N, J1, s1, J2, s2, C)` in
    place, where MLX's derivative of strided slices writes an array of zeros per slot.

    Args:
        arrays: of shape `(N, *out, C)`.
        windows: the sizes.
        weigh: `(*arrays, slot) -> array`: what a window holds for its slot number
            `slot`, an integer array that broadcasts against the arrays; `windows.slots`
            stands for outside of the window.
    """
    axes = list(zip(windows.size, windows.stride, windows.padding, strict=True))
    cells = [
        max(n, -(-(size + p) // s))
        for n, (size, s, p) in zip(windows.out, axes, strict=True)
    ]  # J: strides that cover the number and its padding
    reach = [
        -(-k // s) - 1 for k, s in zip(windows.kernel, windows.stride, strict=True)
    ]  # further windows, before the last, that contain a number
    width = [
        (0, 0),
        *((r, j - n) for r, j, n in zip(reach, cells, windows.out, strict=True)),
        (0, 0),
    ]
    if any(map(any, width)):
        arrays = tuple(mx.pad(a, width) for a in arrays)
    total = None
    for back in product(*(range(r + 1) for r in reach)):
        at: list[slice | None] = [slice(None)]
        for b, r, j in zip(back, reach, cells, strict=True):
            at += [slice(r - b, r - b + j), None]
        term = weigh(*(a[tuple(at)] for a in arrays), _slots(windows, back))
        total = term if total is None else total + term
    assert total is not None  # `back` has at least one value
    n, c = total.shape[0], total.shape[-1]
    y = total.reshape(n, *(j * s for j, (_, s, _) in zip(cells, axes, strict=True)), c)
    return y[(slice(None), *(slice(p, p + size) for size, _, p in axes))]


def _slot_dtype(windows: Windows) -> mx.Dtype:
    """Smallest dtype for slot numbers."""
    return mx.uint8 if windows.slots < 256 else mx.uint32


def _slots(windows: Windows, back: tuple[int, ...]) -> Array:
    """Slots of the phases, `back` windows on: `(1, 1, s1, 1, s2, 1)`."""
    slot: np.ndarray = np.zeros((), np.int64)
    inside: np.ndarray = np.ones((), bool)
    for k, s, b in zip(windows.kernel, windows.stride, back, strict=True):
        offset = np.arange(s) + s * b
        slot = slot[..., None] * k + offset
        inside = inside[..., None] & (offset < k)
    slot = np.where(inside, slot, windows.slots)
    shape = [1, *(n for s in windows.stride for n in (1, s)), 1]
    return mx.array(slot.reshape(shape), _slot_dtype(windows))
