"""Pooling layers, channels last."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
    Sizes,
    check_axes,
    check_bool,
    check_float,
    check_number,
    check_size,
    check_type,
    to_sizes,
)
from lucid_fn.nn.core.examplewise import over_examples
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.ops.pooling import MaxPoolOutput as MaxPoolOutput
from lucid_fn.types import Array, Key, Params

_Pool2d: TypeAlias = Callable[[Array, Any], Array]  # from x and the output size


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
    return _pool_layer(2, ops.max_pool2d, window, flags)


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
    return _pool_layer(1, ops.max_pool1d, window, flags)


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
    return _pool_layer(3, ops.max_pool3d, window, flags)


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
    return _pool_layer(2, ops.avg_pool2d, window, flags)


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
    return _pool_layer(1, ops.avg_pool1d, window, flags)


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
    return _pool_layer(3, ops.avg_pool3d, window, flags)


def _pool_layer(
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


# ---- power-average pooling ----


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
    return _pool_layer(2, partial(ops.lp_pool2d, p=p), window, {"ceil_mode": ceil_mode})


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
    return _pool_layer(1, partial(ops.lp_pool1d, p=p), window, {"ceil_mode": ceil_mode})


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
    return _pool_layer(3, partial(ops.lp_pool3d, p=p), window, {"ceil_mode": ceil_mode})


# ---- adaptive pooling, whose output has a given size ----


def adaptive_avg_pool2d(output_size: int | tuple[int, int]) -> Layer:
    """Adaptive 2D average pooling to `output_size`.

    See `lucid_fn.ops.adaptive_avg_pool2d`.

    Args:
        output_size: height and width of the output; one number for both.

    Raises:
        ValueError: if a size is not positive; on apply, if `x` does not have the shape
            `(N, H, W, C)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool2d((1, 3))
        >>> pool.apply({}, {}, mx.ones((2, 7, 5, 4)), train=False)[0].shape
        (2, 1, 3, 4)
    """
    return _adaptive("adaptive_avg_pool2d", 2, ops.adaptive_avg_pool2d, output_size)


def adaptive_max_pool2d(output_size: int | tuple[int, int]) -> Layer:
    """Adaptive 2D max pooling to `output_size`.

    See `lucid_fn.ops.adaptive_max_pool2d`.

    Args:
        output_size: height and width of the output; one number for both.

    Raises:
        ValueError: as `adaptive_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_max_pool2d(2)
        >>> pool.apply({}, {}, mx.ones((2, 7, 5, 4)), train=False)[0].shape
        (2, 2, 2, 4)
    """
    return _adaptive("adaptive_max_pool2d", 2, ops.adaptive_max_pool2d, output_size)


def adaptive_avg_pool1d(output_size: int) -> Layer:
    """Adaptive average pooling of sequences, `(N, L, C)`, to length `output_size`.

    The arguments are those of `adaptive_avg_pool2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool1d(3)
        >>> pool.apply({}, {}, mx.ones((2, 7, 4)), train=False)[0].shape
        (2, 3, 4)
    """
    return _adaptive("adaptive_avg_pool1d", 1, ops.adaptive_avg_pool2d, output_size)


def adaptive_max_pool1d(output_size: int) -> Layer:
    """Adaptive max pooling of sequences, `(N, L, C)`, to length `output_size`.

    The arguments are those of `adaptive_max_pool2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_max_pool1d(3)
        >>> pool.apply({}, {}, mx.ones((2, 7, 4)), train=False)[0].shape
        (2, 3, 4)
    """
    return _adaptive("adaptive_max_pool1d", 1, ops.adaptive_max_pool2d, output_size)


def adaptive_avg_pool3d(output_size: int | tuple[int, int, int]) -> Layer:
    """Adaptive average pooling of volumes, `(N, D, H, W, C)`, to `output_size`.

    The arguments are those of `adaptive_avg_pool2d`, for three axes; triples are
    (depth, height, width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool3d((1, 2, 3))
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 5, 1)), train=False)[0].shape
        (2, 1, 2, 3, 1)
    """
    return _adaptive("adaptive_avg_pool3d", 3, ops.adaptive_avg_pool2d, output_size)


def adaptive_max_pool3d(output_size: int | tuple[int, int, int]) -> Layer:
    """Adaptive max pooling of volumes, `(N, D, H, W, C)`, to `output_size`.

    The arguments are those of `adaptive_max_pool2d`, for three axes; triples are
    (depth, height, width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_max_pool3d(2)
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 5, 1)), train=False)[0].shape
        (2, 2, 2, 2, 1)
    """
    return _adaptive("adaptive_max_pool3d", 3, ops.adaptive_max_pool2d, output_size)


def _adaptive(
    caller: str, dims: int, pool: _Pool2d, output_size: int | tuple[int, ...]
) -> Layer:
    """The layer that pools `dims` spatial axes by `pool(x, size)`, which pools two."""
    size = to_sizes(caller, "output_size", output_size, dims=dims, at_least=1)

    def forward(x: Array) -> Array:
        check_float(caller, x=x)
        check_axes(caller, x, dims, least=1)
        check_size(caller, "output_size", (x.shape[0], *size, x.shape[-1]))
        if dims == 1:
            return mx.squeeze(pool(x[:, None], (1, *size)), 1)
        return pool(x, size) if dims == 2 else _pool_volumes(pool, x, *size)

    return lift(forward, examplewise=True)


def _pool_volumes(
    pool: _Pool2d, x: Array, depth: int, height: int, width: int
) -> Array:
    """Pool each slice, then across the slices; half precision is rounded only once."""
    n, d, h, w, c = x.shape
    area = height * width
    slices = pool(x.astype(mx.float32).reshape(n * d, h, w, c), (height, width))
    across = pool(slices.reshape(n, d, area, c), (depth, area))
    return across.reshape(n, depth, height, width, c).astype(x.dtype)


# ---- max unpooling ----


def max_unpool2d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Layer:
    """2D max unpooling: each value goes to where max pooling found its maximum.

    The input is `nn.MaxPoolOutput(y, indices)`, as `nn.max_pool2d` returns it with
    `return_indices=True`; `y` may be replaced by any array of its shape. See
    `lucid_fn.ops.max_unpool2d`.

    Args:
        size: window size of the pooling.
        stride: of the pooling; `size` if `None`.
        padding: of the pooling.
        output_size: height and width of the output;
            `(H - 1) * stride - 2 * padding + size` if `None`.

    Raises:
        TypeError: on apply, if the input is of the wrong type.
        ValueError: if an argument is out of range; on apply, if shapes do not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> model = nn.serial(nn.max_pool2d(2, return_indices=True), nn.max_unpool2d(2))
        >>> x = mx.array([[1.0, 4.0], [3.0, 2.0]]).reshape(1, 2, 2, 1)
        >>> model.apply(*model.init(mx.random.key(0)), x, train=False)[0].squeeze()
        array([[0, 4],
               [0, 0]], dtype=float32)
    """
    return _max_unpool(2, ops.max_unpool2d, size, stride, padding, output_size)


def max_unpool1d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Layer:
    """Max unpooling of sequences, `(N, L, C)`.

    The arguments are those of `max_unpool2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pooled = nn.MaxPoolOutput(mx.ones((2, 4, 3)), mx.zeros((2, 4, 3), mx.int32))
        >>> nn.max_unpool1d(2).apply({}, {}, pooled, train=False)[0].shape
        (2, 8, 3)
    """
    return _max_unpool(1, ops.max_unpool1d, size, stride, padding, output_size)


def max_unpool3d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Layer:
    """Max unpooling of volumes, `(N, D, H, W, C)`.

    The arguments are those of `max_unpool2d`, for three axes; triples are (depth,
    height, width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> shape = (1, 2, 3, 4, 1)
        >>> pooled = nn.MaxPoolOutput(mx.ones(shape), mx.zeros(shape, mx.int32))
        >>> nn.max_unpool3d(2).apply({}, {}, pooled, train=False)[0].shape
        (1, 4, 6, 8, 1)
    """
    return _max_unpool(3, ops.max_unpool3d, size, stride, padding, output_size)


def _max_unpool(
    dims: int,
    unpool: Callable[..., Array],
    size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sizes | None,
) -> Layer:
    caller = f"max_unpool{dims}d"
    options = {
        "size": to_sizes(caller, "size", size, dims=dims, at_least=1),
        "padding": to_sizes(caller, "padding", padding, dims=dims, at_least=0),
    }
    for name, value in {"stride": stride, "output_size": output_size}.items():
        if value is not None:
            options[name] = to_sizes(caller, name, value, dims=dims, at_least=1)
    fn = partial(unpool, **options)

    def prepare(params: Params, x: Any, train: bool, key: Key | None) -> Any:
        wanted = "nn.MaxPoolOutput(y, indices)"
        fix = f"nn.max_pool{dims}d returns it with return_indices=True"
        check_type(caller, "x", x, MaxPoolOutput, wanted, fix=fix)
        return fn, list(x)

    return over_examples(prepare)
