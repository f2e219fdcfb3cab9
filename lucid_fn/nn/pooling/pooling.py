"""Pooling layers with windows of a given size, channels last."""

from collections.abc import Callable
from typing import Any

from lucid_fn import ops
from lucid_fn.checks import Sizes, check_bool, to_sizes
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.ops.pooling import MaxPoolOutput as MaxPoolOutput
from lucid_fn.types import Array


def max_pool2d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    """2D max pooling, the largest value of each window.

    See `lucid_fn.ops.max_pool2d`.

    Args:
        size: height and width of the window, in pixels; one number for both.
        stride: pixels from one window to the next; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.
        dilation: pixels from one element of a window to the next.
        ceil_mode: whether the last window may extend past the end of the padded image,
            so that the output size is rounded up instead of down.
        return_indices: whether the output is `nn.MaxPoolOutput(y, indices)`, the input
            of `nn.max_unpool2d`.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` does not have the
            shape `(N, H, W, C)` or is smaller than the window.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.max_pool2d(3, stride=2, padding=1)
        >>> pool.apply({}, {}, mx.ones((2, 7, 7, 4)), train=False)[0].shape
        (2, 4, 4, 4)
    """
    window = {"size": size, "stride": stride, "padding": padding, "dilation": dilation}
    flags = {"ceil_mode": ceil_mode, "return_indices": return_indices}
    return pool_layer(2, ops.max_pool2d, window, flags)


def max_pool1d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    """Max pooling of sequences, `(N, L, C)`.

    The arguments are those of `max_pool2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.max_pool1d(2).apply({}, {}, mx.ones((2, 8, 4)), train=False)[0].shape
        (2, 4, 4)
    """
    window = {"size": size, "stride": stride, "padding": padding, "dilation": dilation}
    flags = {"ceil_mode": ceil_mode, "return_indices": return_indices}
    return pool_layer(1, ops.max_pool1d, window, flags)


def max_pool3d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    """Max pooling of volumes, `(N, D, H, W, C)`.

    The arguments are those of `max_pool2d`, for three axes; triples are (depth,
    height, width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.max_pool3d((1, 2, 2))
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 4, 1)), train=False)[0].shape
        (2, 3, 2, 2, 1)
    """
    window = {"size": size, "stride": stride, "padding": padding, "dilation": dilation}
    flags = {"ceil_mode": ceil_mode, "return_indices": return_indices}
    return pool_layer(3, ops.max_pool3d, window, flags)


def avg_pool2d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Layer:
    """2D average pooling, the mean of each window.

    See `lucid_fn.ops.avg_pool2d`.

    Args:
        size: height and width of the window, in pixels; one number for both.
        stride: pixels from one window to the next; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean, PyTorch's default.
        ceil_mode: whether the last window may extend past the end of the padded image;
            its mean is that of the part inside.

    Raises:
        ValueError: as `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.avg_pool2d(2).apply({}, {}, mx.ones((2, 8, 8, 4)), train=False)[0].shape
        (2, 4, 4, 4)
    """
    window = {"size": size, "stride": stride, "padding": padding}
    flags = {"count_include_pad": count_include_pad, "ceil_mode": ceil_mode}
    return pool_layer(2, ops.avg_pool2d, window, flags)


def avg_pool1d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Layer:
    """Average pooling of sequences, `(N, L, C)`.

    The arguments are those of `avg_pool2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.avg_pool1d(2).apply({}, {}, mx.ones((2, 8, 4)), train=False)[0].shape
        (2, 4, 4)
    """
    window = {"size": size, "stride": stride, "padding": padding}
    flags = {"count_include_pad": count_include_pad, "ceil_mode": ceil_mode}
    return pool_layer(1, ops.avg_pool1d, window, flags)


def avg_pool3d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Layer:
    """Average pooling of volumes, `(N, D, H, W, C)`.

    The arguments are those of `avg_pool2d`, for three axes; triples are (depth,
    height, width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.avg_pool3d((1, 2, 2))
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 4, 1)), train=False)[0].shape
        (2, 3, 2, 2, 1)
    """
    window = {"size": size, "stride": stride, "padding": padding}
    flags = {"count_include_pad": count_include_pad, "ceil_mode": ceil_mode}
    return pool_layer(3, ops.avg_pool3d, window, flags)


def pool_layer(
    dims: int,
    pool: Callable[..., Array | MaxPoolOutput],
    window: dict[str, Any],
    flags: dict[str, bool],
) -> Layer:
    """The layer of a pooling function, whose arguments are checked here.

    Args:
        dims: number of spatial axes.
        pool: the function, or a `partial` of it.
        window: its `size` and `stride`, and its `padding` and `dilation`, if it has
            them.
        flags: its bools.
    """
    caller = getattr(pool, "func", pool).__name__
    check_bool(caller, **flags)
    stride = window["size"] if window["stride"] is None else window["stride"]
    options = {
        name: to_sizes(caller, name, value, dims=dims, at_least=int(name != "padding"))
        for name, value in (window | {"stride": stride}).items()
    }
    padding = options.get("padding", (0,) * dims)
    dilation = options.get("dilation", (1,) * dims)
    axes = zip(padding, dilation, options["size"], strict=True)
    if any(2 * p > d * (k - 1) + 1 for p, d, k in axes):
        raise ValueError(
            f"{caller}: padding must be at most half of size, got {window['padding']} "
            f"and {window['size']}"
        )

    def forward(x: Array) -> Array | MaxPoolOutput:
        return pool(x, **options, **flags)

    return lift(forward, examplewise=True)
