"""Pooling layers for images, channels last."""

from lucid_fn import ops
from lucid_fn.nn.checks import pair
from lucid_fn.nn.layer import Layer, lift
from lucid_fn.ops import global_avg_pool2d as global_avg_pool2d


def max_pool2d(
    size: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> Layer:
    """The largest value of each window: see `lucid_fn.ops.max_pool2d`.

    Args:
        size: height and width of the window, in pixels; one number for both.
        stride: pixels between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` has not the shape
            `(N, H, W, C)` or is smaller than the window.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.max_pool2d(3, stride=2, padding=1)
        >>> pool.apply({}, {}, mx.ones((2, 7, 7, 4)), train=False)[0].shape
        (2, 4, 4, 4)
    """
    _check("max_pool2d", size, stride, padding)
    return lift(lambda x: ops.max_pool2d(x, size, stride=stride, padding=padding))


def avg_pool2d(
    size: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> Layer:
    """The mean of each window, padding counted: see `lucid_fn.ops.avg_pool2d`.

    Args:
        size: height and width of the window, in pixels; one number for both.
        stride: pixels between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.

    Raises:
        ValueError: as `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.avg_pool2d(2).apply({}, {}, mx.ones((2, 8, 8, 4)), train=False)[0].shape
        (2, 4, 4, 4)
    """
    _check("avg_pool2d", size, stride, padding)
    return lift(lambda x: ops.avg_pool2d(x, size, stride=stride, padding=padding))


def _check(
    caller: str,
    size: int | tuple[int, int],
    stride: int | tuple[int, int] | None,
    padding: int | tuple[int, int],
) -> None:
    window = pair(caller, "size", size, least=1)
    if stride is not None:
        pair(caller, "stride", stride, least=1)
    added = pair(caller, "padding", padding, least=0)
    if any(2 * p > s for p, s in zip(added, window, strict=True)):
        raise ValueError(
            f"{caller}: padding must be at most half of size, got {padding} and {size}"
        )
