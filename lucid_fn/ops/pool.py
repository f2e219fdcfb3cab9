"""Maximum and average of windows, over one, two or three spatial axes."""

import math
from functools import lru_cache, partial, reduce
from typing import cast

import mlx.core as mx
import numpy as np

from lucid_fn.checks import Sizes, check_array, check_narrow_float, to_sizes
from lucid_fn.cpu.parallel.streams import concat_split
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.seam import examplewise, tuned
from lucid_fn.ops.windows import Windows, gather, scatter, slot_dtype, slots_inside
from lucid_fn.types import Array, ArrayFn

_SPLITS = 1 << 18  # numbers from which on two streams are faster than one


@examplewise
def max_pool2d(
    x: Array, size: Sizes, *, stride: Sizes | None = None, padding: Sizes = 0
) -> Array:
    """The largest number of each window, channel by channel.

    A nan wins. The gradient goes to the first maximum of a window in row-major order,
    as in PyTorch.

    Args:
        x: float or integer, shape `(N, H, W, C)`.
        size: of the window, positive; a pair is (vertical, horizontal), here and below.
        stride: pixels from one window to the next, positive; `size` by default.
        padding: pixels of minus infinity around the image, at most half of `size`.

    Returns:
        Array of shape `(N, OH, OW, C)`, `OH = (H + 2 * padding - size) // stride + 1`,
        and of the dtype of `x`.

    Raises:
        TypeError: if `x` is neither float32, float16, bfloat16 nor of integers.
        ValueError: if `x` has not 4 axes, or `size`, `stride` or `padding` is out of
            range or does not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(16, dtype=mx.float32).reshape(1, 4, 4, 1)
        >>> ops.max_pool2d(x, 2).squeeze()
        array([[5, 7],
               [13, 15]], dtype=float32)
    """
    return _max_pool("max_pool2d", x, size, stride, padding, dims=2)


@examplewise
def max_pool1d(
    x: Array, size: Sizes, *, stride: Sizes | None = None, padding: Sizes = 0
) -> Array:
    """`max_pool2d` for sequences `(N, L, C)`.

    Args:
        x: float, shape `(N, L, C)`.
        size: length of the window, in places.
        stride: places between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.

    Raises:
        ValueError: as `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.max_pool1d(mx.ones((2, 8, 4)), 2).shape
        (2, 4, 4)
    """
    return _max_pool("max_pool1d", x, size, stride, padding, dims=1)


@examplewise
def max_pool3d(
    x: Array, size: Sizes, *, stride: Sizes | None = None, padding: Sizes = 0
) -> Array:
    """`max_pool2d` for volumes `(N, D, H, W, C)`; triples are (D, H, W).

    Args:
        x: float, shape `(N, D, H, W, C)`.
        size: depth, height and width of the window, in voxels; one number for all.
        stride: voxels between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.

    Raises:
        ValueError: as `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.max_pool3d(mx.ones((1, 2, 4, 4, 3)), (1, 2, 2)).shape
        (1, 2, 2, 2, 3)
    """
    return _max_pool("max_pool3d", x, size, stride, padding, dims=3)


@examplewise
def avg_pool2d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window, channel by channel.

    Args:
        x: float, shape `(N, H, W, C)`; half-precision sums are accumulated in float32.
        size: of the window, positive; a pair is (vertical, horizontal), here and below.
        stride: pixels from one window to the next, positive; `size` by default.
        padding: zeros around the image, at most half of `size`.
        count_include_pad: whether the zeros count in the mean; else the sum is divided
            by the number of pixels of `x` in the window.

    Returns:
        Array of shape `(N, OH, OW, C)`, `OH = (H + 2 * padding - size) // stride + 1`,
        and of the dtype of `x`.

    Raises:
        TypeError: if `x` is not float32, float16 or bfloat16.
        ValueError: if `x` has not 4 axes, or `size`, `stride` or `padding` is out of
            range or does not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(16, dtype=mx.float32).reshape(1, 4, 4, 1)
        >>> ops.avg_pool2d(x, 2).squeeze()
        array([[2.5, 4.5],
               [10.5, 12.5]], dtype=float32)
    """
    return _avg_pool("avg_pool2d", x, size, stride, padding, count_include_pad, dims=2)


@examplewise
def avg_pool1d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
) -> Array:
    """`avg_pool2d` for sequences `(N, L, C)`.

    Args:
        x: float, shape `(N, L, C)`.
        size: length of the window, in places.
        stride: places between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean.

    Raises:
        ValueError: as `avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.avg_pool1d(mx.ones((2, 8, 4)), 2).shape
        (2, 4, 4)
    """
    return _avg_pool("avg_pool1d", x, size, stride, padding, count_include_pad, dims=1)


@examplewise
def avg_pool3d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
) -> Array:
    """`avg_pool2d` for volumes `(N, D, H, W, C)`; triples are (D, H, W).

    Args:
        x: float, shape `(N, D, H, W, C)`.
        size: depth, height and width of the window, in voxels; one number for all.
        stride: voxels between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean.

    Raises:
        ValueError: as `avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.avg_pool3d(mx.ones((1, 2, 4, 4, 3)), (1, 2, 2)).shape
        (1, 2, 2, 2, 3)
    """
    return _avg_pool("avg_pool3d", x, size, stride, padding, count_include_pad, dims=3)


def _max_pool(
    name: str, x: Array, size: Sizes, stride: Sizes | None, padding: Sizes, dims: int
) -> Array:
    check_array(name, x=x)
    integers = mx.issubdtype(x.dtype, mx.integer)
    if not integers:
        check_narrow_float(name, x=x)
    windows = _windows(name, x, size, stride, padding, dims)
    pool = _tuned_max if tuned() and not integers else _plain_max
    return cast(Array, pool(windows)(x))


def _avg_pool(
    name: str,
    x: Array,
    size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    count_include_pad: bool,
    dims: int,
) -> Array:
    check_narrow_float(name, x=x)
    windows = _windows(name, x, size, stride, padding, dims)
    average = (_tuned_avg if tuned() else _plain_avg)(windows, count_include_pad)
    return cast(Array, average(x))


def _plain_max(windows: Windows) -> ArrayFn:
    def run(x: Array) -> Array:
        y, *others = gather(x, windows, _least(x.dtype))
        # What is outside of the image loses even to minus infinity: no gradient there.
        held, *met = slots_inside(windows)
        for other, inside in zip(others, met, strict=True):
            better = (other > y) | mx.isnan(other)
            if not held.all():
                # Not `|`, which reads other memory if one of two is vectorized.
                better = mx.logical_or(better, mx.array(inside & ~held))
            y, held = mx.where(better, other, y), held | inside
        return y

    return run


def _least(dtype: mx.Dtype) -> float:
    return mx.iinfo(dtype).min if mx.issubdtype(dtype, mx.integer) else -math.inf


@lru_cache(maxsize=512)
def _tuned_max(windows: Windows) -> ArrayFn:
    """Max pooling whose gradient is two elementwise kernels."""

    @custom_function
    def run(x: Array) -> Array:
        x = mx.stop_gradient(x)  # or MLX's jvp would differentiate this too
        return reduce(mx.maximum, gather(x, windows, -math.inf))

    @run.vjp
    def vjp(x: Array, g: Array, y: Array) -> Array:
        def share(g: Array, winner: Array, slot: Array) -> Array:
            # Not `where`, which costs four times as much.
            return g * (winner == slot)

        def shard(x: Array, y: Array, g: Array) -> Array:
            return scatter((g, _winner(x, y, windows)), windows, share)

        # Bound by arithmetic, not by the memory: two streams take half as long.
        whole = shard if x.size < _SPLITS else partial(concat_split, shard)
        return whole(x, y, g.astype(mx.float32)).astype(x.dtype)

    @run.jvp
    def jvp(x: Array, dx: Array) -> Array:
        winner = _winner(x, cast(Array, run(x)), windows)
        slots = enumerate(gather(dx, windows, 0.0))
        return sum(((winner == i) * slot for i, slot in slots), mx.zeros((), x.dtype))

    return cast(ArrayFn, run)


def _winner(x: Array, y: Array, windows: Windows) -> Array:
    """Slot of the first number of each window that equals its maximum `y`.

    That is the number of slots before it, all of which differ; the last slot if the
    maximum is nan. Padding is nan here, which equals nothing. It has no derivative: MLX
    would look for that of its integers, and not find it.
    """
    x, y = mx.stop_gradient(x), mx.stop_gradient(y)
    dtype = slot_dtype(windows)
    slots = gather(x, windows, math.nan)
    if len(slots) == 1:
        return mx.zeros(y.shape, dtype)
    winner = None
    for index, slot in reversed(list(enumerate(slots[:-1]))):
        differs = (slot != y).astype(dtype)
        winner = differs if winner is None else differs + differs * winner
        if index % 3 == 0:  # a barrier before MLX cuts the kernel at a bad place
            winner = mx.contiguous(winner)
    return cast(Array, winner)


def _plain_avg(windows: Windows, count_include_pad: bool) -> ArrayFn:
    def run(x: Array) -> Array:
        total = reduce(mx.add, gather(x.astype(mx.float32), windows, 0.0))
        return (total / _counts(windows, count_include_pad)).astype(x.dtype)

    return run


@lru_cache(maxsize=512)
def _tuned_avg(windows: Windows, count_include_pad: bool) -> ArrayFn:
    """Average pooling whose gradient is one copy or elementwise kernel.

    It and its transpose are linear: each is the derivative of the other.
    """
    average = custom_function(_plain_avg(windows, count_include_pad))
    spread = custom_function(
        lambda g: _spread(mx.stop_gradient(g), windows, count_include_pad)
    )
    for function, transpose in ((average, spread), (spread, average)):
        function.vjp(lambda _, g, __, transpose=transpose: transpose(g))
        function.jvp(lambda _, dx, function=function: function(dx))
    return cast(ArrayFn, average)


def _spread(g: Array, windows: Windows, count_include_pad: bool) -> Array:
    """The transpose of average pooling: each number shared out to its window."""
    share = g.astype(mx.float32) / _counts(windows, count_include_pad)
    if windows.kernel == windows.stride and g.shape[-1] % 2 == 0:
        # A strided copy takes as long for a number of 64 bits as for one of 32.
        whole = scatter((mx.view(share, mx.int64),), windows, _to_all)
        return mx.view(whole, mx.float32).astype(g.dtype)
    # Then every phase of the stride is in as many windows, and a copy does.
    covered = not any(
        k % s for k, s in zip(windows.kernel, windows.stride, strict=True)
    )
    weigh = _to_all if covered else lambda share, slot: share * (slot < windows.slots)
    return scatter((share,), windows, weigh).astype(g.dtype)


def _to_all(share: Array, slot: Array) -> Array:
    return mx.broadcast_to(share, mx.broadcast_shapes(share.shape, slot.shape))


def _counts(windows: Windows, count_include_pad: bool) -> Array:
    """What the sum of each window is divided by: `(1,)` or `(*out, 1)`."""
    if count_include_pad or not any(windows.padding):
        # Not a scalar: `mx.compile` would merge those of all shards, as `distinct_shape_per_part` has it.
        return mx.array([float(windows.slots)])
    counts: np.ndarray = np.ones((), np.float32)
    for size, k, s, p in zip(*windows, strict=True):
        start = np.arange((size + 2 * p - k) // s + 1) * s - p
        inside = np.minimum(start + k, size) - np.maximum(start, 0)
        counts = counts[..., None] * inside
    return mx.array(counts[..., None], mx.float32)


def _windows(
    name: str, x: Array, size: Sizes, stride: Sizes | None, padding: Sizes, dims: int
) -> Windows:
    axes = ("N", *("D", "H", "W")[3 - dims :], "C") if dims > 1 else ("N", "L", "C")
    if x.ndim != len(axes):
        raise ValueError(
            f"{name}: x must have shape ({', '.join(axes)}), got {x.shape}"
        )
    kernel = to_sizes(name, "size", size, dims=dims, at_least=1)
    strides = kernel
    if stride is not None:
        strides = to_sizes(name, "stride", stride, dims=dims, at_least=1)
    pads = to_sizes(name, "padding", padding, dims=dims, at_least=0)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise ValueError(
            f"{name}: padding must be at most half of size, got {padding} and {size}"
        )
    windows = Windows(x.shape[1:-1], kernel, strides, pads)
    if min(windows.out) < 1:
        raise ValueError(
            f"{name}: size must be at most that of x and its padding, got {size} "
            f"for x of shape {x.shape} and padding {padding}"
        )
    return windows
