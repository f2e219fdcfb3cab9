"""Power-average pooling layers, channels last."""

from functools import partial

from lucid_fn import ops
from lucid_fn.checks import Sizes, check_bool, check_number
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.pooling.pooling import pool_layer


def lp_pool2d(
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Layer:
    """2D power-average pooling, `sum(x ** p) ** (1 / p)` of each window.

    See `lucid_fn.ops.lp_pool2d`.

    Args:
        p: the exponent, positive.
        size: of the window, in pixels; a pair is (vertical, horizontal).
        stride: pixels between windows; `size` if `None`.
        ceil_mode: whether windows may reach over the end.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` does not have the
            shape `(N, H, W, C)` or is smaller than the window.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.lp_pool2d(2, 2)
        >>> pool.apply({}, {}, mx.ones((2, 8, 8, 4)), train=False)[0].shape
        (2, 4, 4, 4)
    """
    check_bool("lp_pool2d", ceil_mode=ceil_mode)
    p = check_number("lp_pool2d", "p", p, above=0)
    pool = partial(ops.lp_pool2d, p=p, ceil_mode=ceil_mode)
    return pool_layer(2, pool, size, stride)


def lp_pool1d(
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Layer:
    """`lp_pool2d` for sequences `(N, L, C)`.

    Args:
        p: the exponent, positive.
        size: of the window, in places.
        stride: places between windows; `size` if `None`.
        ceil_mode: whether windows may reach over the end.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.lp_pool1d(2, 2)
        >>> pool.apply({}, {}, mx.ones((2, 8, 4)), train=False)[0].shape
        (2, 4, 4)
    """
    check_bool("lp_pool1d", ceil_mode=ceil_mode)
    p = check_number("lp_pool1d", "p", p, above=0)
    pool = partial(ops.lp_pool1d, p=p, ceil_mode=ceil_mode)
    return pool_layer(1, pool, size, stride)


def lp_pool3d(
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Layer:
    """`lp_pool2d` for volumes `(N, D, H, W, C)`.

    Args:
        p: the exponent, positive.
        size: of the window, in voxels; a triple is (depth, height, width).
        stride: voxels between windows; `size` if `None`.
        ceil_mode: whether windows may reach over the end.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.lp_pool3d(2, 2)
        >>> pool.apply({}, {}, mx.ones((1, 4, 4, 4, 2)), train=False)[0].shape
        (1, 2, 2, 2, 2)
    """
    check_bool("lp_pool3d", ceil_mode=ceil_mode)
    p = check_number("lp_pool3d", "p", p, above=0)
    pool = partial(ops.lp_pool3d, p=p, ceil_mode=ceil_mode)
    return pool_layer(3, pool, size, stride)
