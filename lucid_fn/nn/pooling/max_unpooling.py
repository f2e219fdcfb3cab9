"""Max unpooling layers, channels last."""

from collections.abc import Callable
from functools import partial
from typing import Any

from lucid_fn.checks import Sizes, check_type, to_sizes
from lucid_fn.nn.core.examplewise import over_examples
from lucid_fn.nn.core.layer import Layer
from lucid_fn.ops.pooling import (
    MaxPoolOutput,
    max_unpool1d as unpool1d,
    max_unpool2d as unpool2d,
    max_unpool3d as unpool3d,
)
from lucid_fn.types import Array, Key, Params


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
    return _max_unpool(2, unpool2d, size, stride, padding, output_size)


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
    return _max_unpool(1, unpool1d, size, stride, padding, output_size)


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
    return _max_unpool(3, unpool3d, size, stride, padding, output_size)


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
