"""Power-average pooling over one, two or three spatial axes, channels last."""

import math

import mlx.core as mx

from lucid_fn.checks import (
    Sizes,
    check_bool,
    check_narrow_float,
    check_number,
    to_sizes,
)
from lucid_fn.ops.pooling import average
from lucid_fn.ops.seam import examplewise
from lucid_fn.ops.vectors import power_from_zero
from lucid_fn.types import Array


@examplewise
def lp_pool2d(
    x: Array,
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of an image, channel by channel.

    `sum(x ** p) ** (1 / p)`. The limit of large `p` is max pooling, and `p = 1` is sum
    pooling. Where the sum is 0 the gradient is 0.

    Args:
        x: float, shape `(N, H, W, C)`; the root of a sum
            below 0 is nan.
        p: the exponent, positive.
        size: of the window, positive; a pair is (vertical, horizontal).
        stride: pixels from one window to the next, positive; `size` by default.
        ceil_mode: whether windows may reach over the end, as in `avg_pool2d`.

    Returns:
        Array of shape `(N, OH, OW, C)` and of the dtype of `x`, with
        `OH = (H - size) // stride + 1`.

    Raises:
        TypeError: if `x` is not float32, float16 or bfloat16.
        ValueError: if `x` does not have 4 axes, `p` is not positive, or `size` or
            `stride` is out of range.

    Source: `torch.nn.functional.lp_pool2d`. As there, windows that reach over the end
    are weighted as if they were whole.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([3.0, 4.0, 0.0, 5.0]).reshape(1, 2, 2, 1)
        >>> ops.lp_pool2d(x, 2, (1, 2)).flatten()
        array([5, 5], dtype=float32)
    """
    return _lp_pool("lp_pool2d", x, p, size, stride, ceil_mode, dims=2)


@examplewise
def lp_pool1d(
    x: Array,
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of a sequence: see `lp_pool2d`.

    Args:
        x: float, shape `(N, L, C)`; the root of a sum
            below 0 is nan.
        p: the exponent, positive.
        size: of the window, positive.
        stride: places from one window to the next, positive; `size` by default.
        ceil_mode: whether windows may reach over the end, as in `avg_pool1d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.lp_pool1d(mx.ones((2, 8, 4)), 2, 2).shape
        (2, 4, 4)
    """
    return _lp_pool("lp_pool1d", x, p, size, stride, ceil_mode, dims=1)


@examplewise
def lp_pool3d(
    x: Array,
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of a volume: see `lp_pool2d`.

    Args:
        x: float, shape `(N, D, H, W, C)`; the root of a sum
            below 0 is nan.
        p: the exponent, positive.
        size: of the window, positive; a triple is (depth, height, width).
        stride: voxels from one window to the next, positive; `size` by default.
        ceil_mode: whether windows may reach over the end, as in `avg_pool3d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.lp_pool3d(mx.ones((1, 4, 4, 4, 2)), 2, 2).shape
        (1, 2, 2, 2, 2)
    """
    return _lp_pool("lp_pool3d", x, p, size, stride, ceil_mode, dims=3)


def _lp_pool(
    name: str,
    x: Array,
    p: float,
    size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
    dims: int,
) -> Array:
    check_bool(name, ceil_mode=ceil_mode)
    p = check_number(name, "p", p, above=0)
    check_narrow_float(name, x=x)
    window = to_sizes(name, "size", size, dims=dims, at_least=1)
    x32 = x.astype(mx.float32)
    powers = x32 if p == 1 else mx.power(x32, p)  # whose second slope is nan at 0
    mean = average(name, powers, window, stride, 0, True, ceil_mode, dims)
    return power_from_zero(mean * math.prod(window), 1 / p).astype(x.dtype)
