"""Pooling windows: their geometry, and their maxima and means with gradients.

Arrays are `(N, *size, C)` with one, two or three spatial axes. A window has
`prod(kernel)` slots, numbered in row-major order.
"""

import math
from functools import lru_cache, reduce
from itertools import product
from typing import NamedTuple, cast

import mlx.core as mx
import numpy as np

from lucid_fn.checks import Sizes, check_axes, check_size, to_sizes
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array, ArrayFn


class Windows(NamedTuple):
    """The sizes of a pooling, one number per spatial axis; hashable."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """The length of a window along each axis."""
        taps = zip(self.kernel, self.dilation, strict=True)
        return tuple(d * (k - 1) + 1 for k, d in taps)

    @property
    def out(self) -> tuple[int, ...]:
        """The number of windows along each axis."""
        return tuple(room // s + 1 for room, s in self._room())

    @property
    def out_rounded_up(self) -> tuple[int, ...]:
        """`out` with `ceil_mode`: windows may extend beyond the padded image."""
        return tuple(
            -(-room // s) + 1 - (-(-room // s) * s >= size + p)
            for (room, s), size, p in zip(
                self._room(), self.size, self.padding, strict=True
            )
        )

    def _room(self) -> list[tuple[int, int]]:
        """How far a window can move along each axis, and the stride."""
        axes = zip(self.size, self.extent, self.stride, self.padding, strict=True)
        return [(size + 2 * p - extent, s) for size, extent, s, p in axes]

    @property
    def slots(self) -> int:
        """The number of elements of a window, padding included."""
        return math.prod(self.kernel)


def check_windows(
    name: str,
    x: Array,
    size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dims: int,
    *,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Windows:
    """Checks the arguments of a pooling of `x`; returns its windows."""
    check_axes(name, x, dims)
    kernel = to_sizes(name, "size", size, dims=dims, at_least=1)
    strides = (
        kernel
        if stride is None
        else to_sizes(name, "stride", stride, dims=dims, at_least=1)
    )
    pads = to_sizes(name, "padding", padding, dims=dims, at_least=0)
    steps = to_sizes(name, "dilation", dilation, dims=dims, at_least=1)
    windows = Windows(x.shape[1:-1], kernel, strides, pads, steps)
    if any(2 * p > extent for p, extent in zip(pads, windows.extent, strict=True)):
        raise ValueError(
            f"{name}: padding must be at most half of size, got {padding} and {size}"
        )
    if min(windows.out_rounded_up if ceil_mode else windows.out) < 1:
        raise ValueError(
            f"{name}: size must be at most that of x and its padding, got {size} "
            f"for x of shape {x.shape} and padding {padding}"
        )
    padded = (n + 2 * p for n, p in zip(x.shape[1:-1], pads, strict=True))
    check_size(name, "padding", (x.shape[0], *padded, x.shape[-1]))
    return windows


def padded_for_ceil_mode(
    x: Array, windows: Windows, fill: float
) -> tuple[Array, Windows]:
    """`x`, padded at the end of each axis to the end of windows with `ceil_mode`."""
    extra = [
        max((outputs - 1) * stride + extent - size - 2 * padding, 0)
        for outputs, stride, extent, size, padding in zip(
            windows.out_rounded_up,
            windows.stride,
            windows.extent,
            windows.size,
            windows.padding,
            strict=True,
        )
    ]
    if not any(extra):
        return x, windows
    width = [(0, 0), *((0, n) for n in extra), (0, 0)]
    x = mx.pad(x, width, constant_values=mx.array(fill, x.dtype))
    return x, windows._replace(size=x.shape[1:-1])


# ---- maxima and means ----


def max_by_slots(x: Array, windows: Windows) -> Array:
    """The maximum of each window; its gradient goes to the first one in the window."""
    return first_maxima(x, windows)[0]


def first_maxima(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The maximum of each window, and the first slot that has it, int32."""
    y, *others = gather_slots(x, windows, lowest(x.dtype))
    first = mx.zeros(y.shape, mx.int32)
    # Padding loses even to minus infinity, so that it gets no gradient.
    found, *insides = _inside_by_slot(windows)
    for slot, (other, inside) in enumerate(zip(others, insides, strict=True), start=1):
        better = mx.logical_or(other > y, mx.isnan(other))
        if not found.all():
            better = mx.logical_or(better, mx.array(inside & ~found))
        y, found = mx.where(better, other, y), found | inside
        first = mx.where(better, slot, first)
    return y, first


def indices_in_image(slot: Array, windows: Windows, sizes: tuple[int, ...]) -> Array:
    """The index of a slot of each window in a flattened image of these sizes."""
    index, row = mx.zeros_like(slot), 1
    axes = zip(sizes, *windows[1:], windows.out, strict=True)
    for axis, (size, k, s, p, d, n) in reversed(list(enumerate(axes, start=1))):
        shape = [1] * slot.ndim
        shape[axis] = n
        start = mx.arange(n, dtype=mx.int32).reshape(shape) * s - p
        index, row = index + row * (start + slot % k * d), row * size
        slot = slot // k
    return index


def lowest(dtype: mx.Dtype) -> float:
    """The lowest integer, or minus infinity."""
    return mx.iinfo(dtype).min if mx.issubdtype(dtype, mx.integer) else -math.inf


def mean_by_slots(x: Array, windows: Windows, count_include_pad: bool) -> Array:
    """The mean of each window, summed in float32."""
    total = reduce(mx.add, gather_slots(x.astype(mx.float32), windows, 0.0))
    return (total / divisors(windows, count_include_pad)).astype(x.dtype)


def max_by_tiles(x: Array, windows: Windows) -> Array:
    """`max_by_slots`, in fewer operations for windows without overlaps and gaps.

    Its gradient is a single selection, not one array of the size of `x` for each slot.
    """
    if not _are_tiles(windows):
        return max_by_slots(x, windows)
    return cast(Array, _max_of_tiles(windows.kernel)(_without_remainder(x, windows)))


@lru_cache(maxsize=64)
def _max_of_tiles(kernel: tuple[int, ...]) -> ArrayFn:
    @custom_function
    def run(x: Array) -> Array:
        return first(x)[0]

    @run.vjp
    def vjp(x: Array, g: Array, _: Array) -> Array:
        by_tile = g.reshape(_tiled_shape(g, (1,) * len(kernel)))
        return mx.where(is_first(x), by_tile, mx.zeros_like(by_tile)).reshape(x.shape)

    @run.jvp
    def jvp(x: Array, dx: Array) -> Array:
        tiles = dx.reshape(_tiled_shape(dx, kernel))
        chosen = mx.where(is_first(x), tiles, mx.zeros_like(tiles))
        return mx.sum(chosen, axis=_TILE_AXES[: len(kernel)])

    def first(x: Array) -> tuple[Array, Array]:
        """The maximum of each tile, and the first slot that has it."""
        x = mx.stop_gradient(x)
        slots = [
            x[:, *(slice(i, None, k) for i, k in zip(slot, kernel, strict=True))]
            for slot in product(*map(range, kernel))
        ]
        y, found = slots[0], mx.zeros(slots[0].shape, mx.int32)
        for number, other in enumerate(slots[1:], 1):
            better = mx.logical_or(other > y, mx.isnan(other))
            y, found = mx.where(better, other, y), mx.where(better, number, found)
        return y, found

    def is_first(x: Array) -> Array:
        slot = first(x)[1]
        axes = [n for k in kernel for n in (1, k)]
        numbers = mx.arange(math.prod(kernel)).reshape(*axes, 1)
        return slot.reshape(_tiled_shape(slot, (1,) * len(kernel))) == numbers

    return cast(ArrayFn, run)


def mean_by_tiles(x: Array, windows: Windows, count_include_pad: bool) -> Array:
    """`mean_by_slots`, in one sum for windows without overlaps and gaps."""
    if not _are_tiles(windows):
        return mean_by_slots(x, windows, count_include_pad)
    whole = _without_remainder(x, windows).astype(mx.float32)
    tiles = whole.reshape(_tiled_shape(whole, windows.kernel))
    total = mx.sum(tiles, axis=_TILE_AXES[: len(windows.kernel)])  # (N, *out, C)
    return (total / windows.slots).astype(x.dtype)


_TILE_AXES = (2, 4, 6)  # of `_tiled_shape`: the axes within a tile


def _are_tiles(windows: Windows) -> bool:
    return windows.stride == windows.kernel and not any(windows.padding)


def _without_remainder(x: Array, windows: Windows) -> Array:
    """`x` without the elements at its ends that are in no window."""
    sides = zip(windows.out, windows.kernel, strict=True)
    return x[:, *(slice(n * k) for n, k in sides)]


def _tiled_shape(x: Array, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of `x` with two axes for each spatial one: tiles, and within a tile."""
    sides = zip(x.shape[1:-1], kernel, strict=True)
    return (len(x), *(m for n, k in sides for m in (n // k, k)), x.shape[-1])


max_of_windows = replaceable(max_by_tiles)
"""The maximum of each window, of float dtypes: `(N, *size, C)` to `(N, *out, C)`."""

mean_of_windows = replaceable(mean_by_tiles)
"""The mean of each window: `(N, *size, C)` to `(N, *out, C)`."""


def gather_slots(x: Array, windows: Windows, fill: float) -> list[Array]:
    """The elements in each slot of the windows, arrays `(N, *out, C)`.

    Outside of `x` they are `fill`.
    """
    if any(windows.padding):
        width = [(0, 0), *((p, p) for p in windows.padding), (0, 0)]
        x = mx.pad(x, width, constant_values=mx.array(fill, x.dtype))

    def at(slot: tuple[int, ...]) -> tuple[slice, ...]:
        axes = zip(slot, windows.dilation, windows.stride, windows.out, strict=True)
        starts = ((i * d, s, n) for i, d, s, n in axes)
        return slice(None), *(slice(i, i + s * (n - 1) + 1, s) for i, s, n in starts)

    return [x[at(slot)] for slot in product(*map(range, windows.kernel))]


def _inside_by_slot(windows: Windows) -> list[np.ndarray]:
    """For each slot, which windows have it inside of the array: `(*out, 1)`."""

    def along(slot: int, size: int, stride: int, padding: int, n: int) -> np.ndarray:
        positions = np.arange(n) * stride + slot - padding
        return (positions >= 0) & (positions < size)

    axes = zip(windows.size, windows.stride, windows.padding, windows.out, strict=True)
    inside = [
        [along(slot * d, *axis) for slot in range(k)]
        for k, d, axis in zip(windows.kernel, windows.dilation, axes, strict=True)
    ]
    return [reduce(np.logical_and.outer, at)[..., None] for at in product(*inside)]


def divisors(windows: Windows, count_include_pad: bool) -> Array:
    """The divisor of the sum of each window, `(1,)` or `(*out, 1)`."""
    if count_include_pad or not any(windows.padding):
        # Not a scalar, which `mx.compile` would share among the parts of a batch.
        return mx.array([float(windows.slots)])
    return mx.array(counts(windows, windows.out, count_include_pad))


def counts(
    windows: Windows, out: tuple[int, ...], count_include_pad: bool
) -> np.ndarray:
    """The number of elements of each window in `x`, or in `x` and its padding."""
    found: np.ndarray = np.ones((), np.float32)
    axes = zip(out, windows.size, *windows[1:4], strict=True)
    for n, size, k, s, p in axes:
        start, around = np.arange(n) * s - p, p if count_include_pad else 0
        inside = np.minimum(start + k, size + around) - np.maximum(start, -around)
        found = found[..., None] * inside
    return found[..., None].astype(np.float32)  # (*out, 1)
