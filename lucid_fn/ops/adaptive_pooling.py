"""Pooling to an output of a given size: windows as even as they can be."""

import math

import mlx.core as mx
import numpy as np

from lucid_fn.checks import check_axes, check_narrow_float, check_size, to_sizes
from lucid_fn.ops.interpolate import take_places
from lucid_fn.ops.pooling import avg_pool2d, max_pool2d
from lucid_fn.ops.seam import examplewise
from lucid_fn.types import Array


@examplewise
def adaptive_avg_pool2d(x: Array, output_size: int | tuple[int, int]) -> Array:
    """Average pooling to an output of a given size.

    The windows cover the image evenly: window `i` of `n` along an axis of length `H`
    starts at `floor(i * H / n)` and ends before `ceil((i + 1) * H / n)`. They overlap
    where `n` does not divide `H`.

    Args:
        x: float, shape `(N, H, W, C)`; half-precision sums are accumulated in float32.
        output_size: windows along both axes, or a pair (vertical, horizontal);
            positive.

    Returns:
        Array of shape `(N, *output_size, C)` and of the dtype of `x`.

    Raises:
        TypeError: if `x` is not float32, float16 or bfloat16.
        ValueError: if `x` does not have 4 axes, or has no pixels, or `output_size` is
            not positive.

    Source: PyTorch's `AdaptiveAvgPool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(5, dtype=mx.float32).reshape(1, 1, 5, 1)
        >>> ops.adaptive_avg_pool2d(x, (1, 2)).squeeze()
        array([1, 3], dtype=float32)
    """
    size = _output_size("adaptive_avg_pool2d", x, output_size)
    even, window, counts = _even_windows(x.astype(mx.float32), size, fill=0.0)
    return (avg_pool2d(even, window) * (math.prod(window) / counts)).astype(x.dtype)


@examplewise
def adaptive_max_pool2d(x: Array, output_size: int | tuple[int, int]) -> Array:
    """Max pooling to an output of a given size.

    The windows are those of `adaptive_avg_pool2d`. The gradient goes to the first
    maximum of a window in row-major order; a window with a nan gives nan.

    Args:
        x: float, shape `(N, H, W, C)`.
        output_size: windows along both axes, or a pair (vertical, horizontal);
            positive.

    Returns:
        Array of shape `(N, *output_size, C)` and of the dtype of `x`.

    Raises:
        TypeError: if `x` is not float32, float16 or bfloat16.
        ValueError: if `x` does not have 4 axes, or has no pixels, or `output_size` is
            not positive.

    Source: PyTorch's `AdaptiveMaxPool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(5, dtype=mx.float32).reshape(1, 1, 5, 1)
        >>> ops.adaptive_max_pool2d(x, (1, 2)).squeeze()
        array([2, 4], dtype=float32)
    """
    size = _output_size("adaptive_max_pool2d", x, output_size)
    even, window, _ = _even_windows(x, size, fill=-math.inf)
    return max_pool2d(even, window)


def _even_windows(
    x: Array, output_size: tuple[int, int], fill: float
) -> tuple[Array, tuple[int, int], Array]:
    """The windows side by side, all of one size: short ones end in `fill`.

    Returns `(N, OH * KH, OW * KW, C)`, the size `(KH, KW)`, and the pixels of `x` in
    each window, `(OH, OW, 1)`.
    """
    counts: np.ndarray = np.ones((), np.float32)
    window = []
    for axis, outputs in enumerate(output_size, start=1):
        length = x.shape[axis]
        places = np.arange(outputs)
        start, end = places * length // outputs, -(-(places + 1) * length // outputs)
        longest = int((end - start).max())
        window.append(longest)
        counts = counts[..., None] * (end - start)
        if length % outputs == 0:
            continue
        width = [(0, 0)] * x.ndim
        width[axis] = (0, 1)
        x = mx.pad(x, width, constant_values=mx.array(fill, x.dtype))
        at = start[:, None] + np.arange(longest)
        x = take_places(x, np.where(at < end[:, None], at, length).ravel(), axis)
    return x, (window[0], window[1]), mx.array(counts[..., None], mx.float32)


def _output_size(
    name: str, x: Array, output_size: int | tuple[int, int]
) -> tuple[int, int]:
    check_narrow_float(name, x=x)
    check_axes(name, x, 2, least=1)
    rows, columns = to_sizes(name, "output_size", output_size, dims=2, at_least=1)
    check_size(name, "output_size", (x.shape[0], rows, columns, x.shape[-1]))
    return rows, columns
