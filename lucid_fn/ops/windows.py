"""Windows over the spatial axes of an array, and what each number owes to them.

Arrays are `(N, *size, C)` with one, two or three spatial axes. A window has
`prod(kernel)` slots, numbered in row-major order.
"""

import math
from collections.abc import Callable
from functools import reduce
from itertools import product
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.types import Array


class Windows(NamedTuple):
    """Sizes of a pooling, one number a spatial axis; hashable."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    @property
    def out(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return tuple(
            (size + 2 * p - k) // s + 1 for size, k, s, p in zip(*self[:4], strict=True)
        )

    @property
    def slots(self) -> int:
        """Numbers in a window, padding included."""
        return math.prod(self.kernel)


def gather(x: Array, windows: Windows, fill: float) -> list[Array]:
    """The numbers in each slot, `slots` arrays `(N, *out, C)`; `fill` is outside."""
    if any(windows.padding):
        width = [(0, 0), *((p, p) for p in windows.padding), (0, 0)]
        x = mx.pad(x, width, constant_values=mx.array(fill, x.dtype))
    return [
        x[
            (
                slice(None),
                *(
                    slice(first, first + s * (n - 1) + 1, s)
                    for first, s, n in zip(
                        slot, windows.stride, windows.out, strict=True
                    )
                ),
            )
        ]
        for slot in product(*map(range, windows.kernel))
    ]


def slots_inside(windows: Windows) -> list[np.ndarray]:
    """Which windows have each of their slots inside of the array: `(*out, 1)` each."""

    def along(slot: int, size: int, stride: int, padding: int, n: int) -> np.ndarray:
        places = np.arange(n) * stride + slot - padding
        return (places >= 0) & (places < size)

    axes = zip(windows.size, windows.stride, windows.padding, windows.out, strict=True)
    inside = [
        [along(slot, *axis) for slot in range(k)]
        for k, axis in zip(windows.kernel, axes, strict=True)
    ]
    return [reduce(np.logical_and.outer, at)[..., None] for at in product(*inside)]


def scatter(
    arrays: tuple[Array, ...],
    windows: Windows,
    weigh: Callable[..., Array],
) -> Array:
    """Sums into each number of `x` what the windows that contain it hold for it.

    The transpose of `gather`. Numbers are grouped by their phase, the position modulo
    the stride: those of one phase are in the same slots of their windows, so a single
    elementwise kernel writes the whole result `(N, J1, s1, J2, s2, C)` in place,
    where MLX's derivative of strided slices writes an array of zeros a slot.

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


def slot_dtype(windows: Windows) -> mx.Dtype:
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
    return mx.array(slot.reshape(shape), slot_dtype(windows))
