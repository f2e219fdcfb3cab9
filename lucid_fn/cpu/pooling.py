"""Max and average pooling on CPUs, with gradients in a few elementwise kernels."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from itertools import groupby, product
from typing import Any, NamedTuple, cast

import mlx.core as mx
import numpy as np

from lucid_fn.cpu.memory import words
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.mlx_transforms import as_list, like
from lucid_fn.ops.windows import Windows, divisors, gather_slots
from lucid_fn.types import Array, ArrayFn

_SLOTS_PER_KERNEL = 9  # MLX fuses at most eleven operations
_TERMS_PER_KERNEL = 4  # each of which reads two arrays
_LARGE = 1 << 17  # size from which copying the input costs more than extra operations


def max_of_windows(x: Array, windows: Windows) -> Array:
    """`ops.windows.max_of_windows`, with a gradient in two elementwise kernels."""
    return cast(Array, _max(windows)(x))


def mean_of_windows(x: Array, windows: Windows, count_include_pad: bool) -> Array:
    """`ops.windows.mean_of_windows`, with a gradient in one copy or kernel."""
    return cast(Array, _mean(windows, count_include_pad)(x))


@lru_cache(maxsize=512)
def _max(windows: Windows) -> ArrayFn:
    scatter, gather = _transposes(
        lambda g, argmax: _scatter_to_argmax(g, argmax, windows),
        lambda x, argmax: _gather_at_argmax(x, argmax, windows),
    )

    @custom_function
    def run(x: Array) -> Array:
        x = mx.stop_gradient(x)  # else MLX's jvp would differentiate this, too
        if _pads(x, windows):
            return _combine(mx.maximum, _padded_slots(x, windows, -math.inf))
        return _by_pieces(windows, lambda p: _combine(mx.maximum, p.slots(x)))

    @run.vjp
    def vjp(x: Array, g: Array, y: Array) -> Array:
        dx = scatter(g.astype(mx.float32), _argmax(x, y, windows))
        return cast(Array, dx.astype(x.dtype))

    @run.jvp
    def jvp(x: Array, dx: Array) -> Array:
        return cast(Array, gather(dx, _argmax(x, cast(Array, run(x)), windows)))

    return cast(ArrayFn, run)


@lru_cache(maxsize=512)
def _mean(windows: Windows, count_include_pad: bool) -> ArrayFn:
    average, _ = _transposes(
        lambda x: _average(x, windows, count_include_pad),
        lambda g: _spread(g, windows, count_include_pad),
    )
    return average


def _transposes(*pair: ArrayFn) -> tuple[ArrayFn, ArrayFn]:
    """Make two functions, linear in their first argument, each other's transpose."""
    one, other = (
        custom_function(lambda x, *rest, fn=fn: fn(mx.stop_gradient(x), *rest))
        for fn in pair
    )
    for function, transpose in ((one, other), (other, one)):

        def vjp(primals: Any, g: Array, _: Array, back: Any = transpose) -> Any:
            _, *rest = as_list(primals)
            return like([back(g, *rest), *map(mx.zeros_like, rest)], primals)

        def jvp(primals: Any, tangents: Any, there: Any = function) -> Any:
            (_, *rest), (dx, *_) = as_list(primals), as_list(tangents)
            return there(dx, *rest)

        function.vjp(vjp)
        function.jvp(jvp)
    return cast(ArrayFn, one), cast(ArrayFn, other)


# ---- padding ----


class _Piece(NamedTuple):
    """Adjacent windows of which the same slots lie inside the array."""

    outputs: tuple[slice, ...]
    numbers: list[int]  # of those slots
    inputs: list[tuple[slice, ...]]  # positions of those slots

    def slots(self, x: Array) -> list[Array]:
        return [x[(slice(None), *at)] for at in self.inputs]


def _pads(x: Array, windows: Windows) -> bool:
    """Whether padding a copy of `x` is faster than concatenating pieces."""
    joins = sum(len(pieces) > 1 for pieces in _along_axes(windows))
    return x.size < _LARGE or joins * math.prod(windows.out) > math.prod(windows.size)


def _padded_slots(x: Array, windows: Windows, fill: float) -> list[Array]:
    """The elements in each slot, taken from a padded copy of `x`."""
    around = [(p, p) for p in windows.padding]
    padded = words.pad(x, [(0, 0), *around, (0, 0)], fill)
    none = (0,) * len(around)
    whole = windows._replace(size=padded.shape[1:-1], padding=none)
    return gather_slots(padded, whole, fill)


@lru_cache(maxsize=512)
def _along_axes(windows: Windows) -> list[list[tuple[slice, list[tuple[int, slice]]]]]:
    """The pieces of each axis: their outputs, and their slots with positions."""
    axes = zip(*windows[:4], windows.out, strict=True)
    return [_along_axis(*axis) for axis in axes]


def _along_axis(
    size: int, k: int, s: int, p: int, out: int
) -> list[tuple[slice, list[tuple[int, slice]]]]:
    def inside(output: int) -> list[int]:
        return [slot for slot in range(k) if 0 <= output * s - p + slot < size]

    pieces = []
    for numbers, group in groupby(range(out), inside):
        first, *_, last = (outputs := list(group))[:1] + outputs[-1:]
        starts = [(n, first * s - p + n) for n in numbers]
        reach = (last - first) * s + 1
        slots = [(n, slice(start, start + reach, s)) for n, start in starts]
        pieces.append((slice(first, last + 1), slots))
    return pieces


def _by_pieces(windows: Windows, compute: Callable[[_Piece], Array]) -> Array:
    """`compute` each piece and concatenate the results, without copying the input."""
    axes = _along_axes(windows)

    def along(axis: int, outputs: list[slice], slots: list[Any]) -> Array:
        if axis == len(axes):
            met = list(product(*slots))
            numbers = [_number([n for n, _ in slot], windows) for slot in met]
            at = [tuple(place for _, place in slot) for slot in met]
            return compute(_Piece(tuple(outputs), numbers, at))
        parts = [
            along(axis + 1, [*outputs, output], [*slots, slot])
            for output, slot in axes[axis]
        ]
        return words.concatenate(parts, axis + 1)

    return along(0, [], [])


def _number(places: Sequence[int], windows: Windows) -> int:
    """The number of the slot at `places`, in row-major order."""
    return reduce(
        lambda n, axis: n * axis[1] + axis[0],
        zip(places, windows.kernel, strict=True),
        0,
    )


def _combine(function: Callable[..., Array], slots: Sequence[Array]) -> Array:
    """Reduce the slots in a balanced tree, since MLX limits the depth of kernels."""
    if len(slots) > _SLOTS_PER_KERNEL:
        starts = range(0, len(slots), _SLOTS_PER_KERNEL)
        parts = [_combine(function, slots[i : i + _SLOTS_PER_KERNEL]) for i in starts]
        return _combine(function, list(map(mx.contiguous, parts)))
    while len(slots) > 1:
        pairs = [function(*slots[i : i + 2]) for i in range(0, len(slots) - 1, 2)]
        slots = [*pairs, slots[-1]] if len(slots) % 2 else pairs
    return slots[0]


# ---- maximum ----


def _argmax(x: Array, y: Array, windows: Windows) -> Array:
    """The first slot of each window that equals the maximum `y`.

    The last slot if the maximum is NaN: PyTorch's choice, the last NaN, would take
    another fifth of the time of the gradient. Computed without a derivative, which MLX
    does not have for integers.
    """
    x, y = mx.stop_gradient(x), mx.stop_gradient(y)
    dtype = _slot_dtype(windows)
    if x.size < _LARGE:
        slots = _padded_slots(x, windows, math.nan)  # NaN equals nothing
        return _first_at(range(len(slots)), slots, y).astype(dtype)

    def first(piece: _Piece) -> Array:
        top = y[(slice(None), *piece.outputs)]
        return _first_at(piece.numbers, piece.slots(x), top).astype(dtype)

    return _by_pieces(windows, first)


def _first_at(numbers: Sequence[int], slots: Sequence[Array], y: Array) -> Array:
    """The number of the first slot that equals `y`, float32; the last if none does."""
    last = mx.full(y.shape, float(numbers[-1]))
    found = []
    for start in range(0, len(slots), 3):
        number = last
        for n, slot in reversed(list(zip(numbers, slots, strict=True))[start:][:3]):
            number = mx.where(slot == y, float(n), number)
        found.append(number)
    # The result is float32 because g++ does not vectorize kernels with integers.
    return mx.contiguous(_combine(mx.minimum, found))


def _scatter_to_argmax(g: Array, argmax: Array, windows: Windows) -> Array:
    """The gradient of `x`: each element of `g` goes to the maximum of its window."""

    def share(slot: Array, g: Array, argmax: Array) -> Array:
        return mx.where(argmax == slot, g, 0.0)

    return _scatter((g, argmax), windows, share)


def _gather_at_argmax(x: Array, argmax: Array, windows: Windows) -> Array:
    """The element of `x` in the slot `argmax` of each window."""
    slots = enumerate(gather_slots(x, windows, 0.0))
    chosen = [mx.where(argmax == n, slot, mx.zeros_like(slot)) for n, slot in slots]
    return reduce(mx.add, chosen)


# ---- mean ----


def _average(x: Array, windows: Windows, count_include_pad: bool) -> Array:
    if _pads(x, windows):
        slots = _padded_slots(x.astype(mx.float32), windows, 0.0)
        total = mx.contiguous(_combine(mx.add, slots))
        return (total / divisors(windows, count_include_pad)).astype(x.dtype)

    def mean(piece: _Piece) -> Array:
        count = windows.slots if count_include_pad else len(piece.numbers)
        slots = [slot.astype(mx.float32) for slot in piece.slots(x)]
        return (_combine(mx.add, slots) / count).astype(x.dtype)

    return _by_pieces(windows, mean)


def _spread(g: Array, windows: Windows, count_include_pad: bool) -> Array:
    """The transpose of average pooling: each element, divided, to all of its window."""
    share = g.astype(mx.float32) / divisors(windows, count_include_pad)
    axes = zip(*windows[1:4], strict=True)
    covered = not any(k % s or p % s for k, s, p in axes)  # every phase equally often
    if covered and windows.kernel == windows.stride and g.shape[-1] % 2 == 0:
        # MLX's strided copy takes as long for 64-bit elements as for 32-bit ones.
        whole = _scatter((mx.view(share, mx.int64),), windows, _to_all)
        return mx.view(whole, mx.float32).astype(g.dtype)
    weigh = _to_all if covered else partial(_to_inside, windows.slots)
    return _scatter((mx.contiguous(share),), windows, weigh).astype(g.dtype)


def _to_all(slot: Array, share: Array) -> Array:
    return mx.broadcast_to(share, mx.broadcast_shapes(share.shape, slot.shape))


def _to_inside(slots: int, slot: Array, share: Array) -> Array:
    return mx.where(slot < slots, share, 0.0)


# ---- the transpose of `gather_slots` ----


def _scatter(
    arrays: tuple[Array, ...], windows: Windows, weigh: Callable[..., Array]
) -> Array:
    """Sum, for each element of `x`, the contributions of the windows that contain it.

    Elements of one phase (position modulo the stride) are in the same slots of their
    windows, so a single elementwise kernel writes the result `(N, J1, s1, J2, s2, C)`;
    MLX's derivative of strided slices writes a padded array for each slot.

    Args:
        arrays: values of each window, shape `(N, *out, C)`.
        windows: the sizes.
        weigh: `(slot, *arrays)` to the contribution of a window to its slot number
            `slot`, an integer array that broadcasts against the arrays;
            `windows.slots` stands for positions outside the window.
    """
    axes = list(zip(*windows[:4], windows.out, strict=True))
    cells = [-(-size // s) for size, _, s, _, _ in axes]  # J
    # Offsets of the windows that contain an element from its cell.
    met = [range(-((k - 1 - p) // s), (s - 1 + p) // s + 1) for _, k, s, p, _ in axes]
    around = [
        (-at[0], max(j + at[-1] - out, 0))
        for at, j, (*_, out) in zip(met, cells, axes, strict=True)
    ]
    padded = [words.pad(a, [(0, 0), *around, (0, 0)]) for a in arrays]
    n, c = padded[0].shape[0], padded[0].shape[-1]

    def term(offsets: tuple[int, ...]) -> Array:
        at: list[slice | None] = [slice(None)]
        for offset, first, j in zip(offsets, met, cells, strict=True):
            at += [slice(offset - first[0], offset - first[0] + j), None]
        return weigh(_slots(windows, offsets, c), *(a[tuple(at)] for a in padded))

    size = [j * s for j, s in zip(cells, windows.stride, strict=True)]
    y = _sum([term(offsets) for offsets in product(*met)]).reshape(n, *size, c)
    return y[(slice(None), *map(slice, windows.size))]


def _sum(terms: Sequence[Array]) -> Array:
    """The sum, in kernels of few enough terms for g++ to vectorize."""
    kernels = -(-len(terms) // _TERMS_PER_KERNEL)
    each = -(-len(terms) // kernels)
    total = reduce(mx.add, terms[:each])
    for start in range(each, len(terms), each):
        total = reduce(mx.add, terms[start : start + each], mx.contiguous(total))
    return total


def _slot_dtype(windows: Windows) -> mx.Dtype:
    """Smallest dtype for slot numbers."""
    return mx.uint8 if windows.slots < 256 else mx.uint32


def _slots(windows: Windows, offsets: tuple[int, ...], channels: int) -> Array:
    """Slots of the phases in the window at `offsets`: `(1, 1, s1, 1, s2, C)`.

    Repeated for each channel, since g++ does not vectorize kernels with a stride of 0.
    A scalar if there is a single phase.
    """
    slot: np.ndarray = np.zeros((), np.int64)
    inside: np.ndarray = np.ones((), bool)
    for k, s, p, offset in zip(*windows[1:4], offsets, strict=True):
        place = np.arange(s) + p - s * offset
        slot = slot[..., None] * k + place
        inside = inside[..., None] & (place >= 0) & (place < k)
    slot = np.where(inside, slot, windows.slots)
    if slot.size == 1:
        return mx.array(slot.item(), _slot_dtype(windows))
    shape = [1, *(n for s in windows.stride for n in (1, s)), 1]
    repeated = np.repeat(slot.reshape(shape), channels, axis=-1)
    return mx.array(repeated, _slot_dtype(windows))
