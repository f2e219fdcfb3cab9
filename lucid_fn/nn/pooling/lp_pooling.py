"""Power-average pooling layers, channels last."""

from functools import partial

from lucid_fn import ops
from lucid_fn.checks import Sizes, check_number
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
        size: height and width of the window, in pixels; one number for both.
        stride: pixels from one window to the next; `size` if `None`.
        ceil_mode: whether the last window may extend past the end of the image.

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
    p = check_number("lp_pool2d", "p", p, above=0)
    window = {"size": size, "stride": stride}
    return pool_layer(2, partial(ops.lp_pool2d, p=p), window, {"ceil_mode": ceil_mode})


def lp_pool1d(
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Layer:
    """Power-average pooling of sequences, `(N, L, C)`.

    The arguments are those of `lp_pool2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.lp_pool1d(2, 2)
        >>> pool.apply({}, {}, mx.ones((2, 8, 4)), train=False)[0].shape
        (2, 4, 4)
    """
    p = check_number("lp_pool1d", "p", p, above=0)
    window = {"size": size, "stride": stride}
    return pool_layer(1, partial(ops.lp_pool1d, p=p), window, {"ceil_mode": ceil_mode})


def lp_pool3d(
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Layer:
    """Power-average pooling of volumes, `(N, D, H, W, C)`.

    The arguments are those of `lp_pool2d`, for three axes; triples are (depth, height,
    width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.lp_pool3d(2, 2)
        >>> pool.apply({}, {}, mx.ones((1, 4, 4, 4, 2)), train=False)[0].shape
        (1, 2, 2, 2, 2)
    """
    p = check_number("lp_pool3d", "p", p, above=0)
    window = {"size": size, "stride": stride}
    return pool_layer(3, partial(ops.lp_pool3d, p=p), window, {"ceil_mode": ceil_mode})
