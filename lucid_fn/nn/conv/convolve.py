"""1D and 3D convolutions, and transposed ones, computed by `ops.conv2d`."""

import operator
from functools import reduce
from typing import NamedTuple

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_size
from lucid_fn.ops import mlx_transforms
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.concatenation import split_evenly
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.types import Array

_MANY_CHANNELS = 16  # from which one 2D convolution is faster than a sum of several


class Window(NamedTuple):
    """The options of a convolution; all but `groups` have a number for each axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def convolve(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """Convolution: `(N, ..., C)` and `(O, ..., C / groups)` to `(N, ..., O)`."""
    caller = f"conv{x.ndim - 2}d"
    axes = zip(x.shape[1:-1], window.padding, strict=True)
    padded = tuple(length + 2 * padding for length, padding in axes)
    check_size(caller, "padding", (x.shape[0], *padded, x.shape[-1]))
    axes = zip(weight.shape[1:-1], window.dilation, strict=True)
    spans = tuple(dilation * (taps - 1) + 1 for taps, dilation in axes)
    if any(map(operator.gt, spans, padded)):
        raise ValueError(
            f"{caller}: kernel must fit into the padded input, got a kernel that spans "
            f"{spans} and an input of {padded}; raise padding, or lower dilation or "
            "the kernel's size"
        )
    y = _convolve(x, weight, window)
    count_multiply_adds(y.size * (weight.size // weight.shape[0]))
    return y if bias is None else add_bias(y, bias)


def transpose_convolve(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    output_padding: tuple[int, ...],
) -> Array:
    """Transposed convolution: `(N, ..., I)`, `(I, ..., O / groups)` to `(N, ..., O)`.

    It is the vjp of `convolve` with respect to its input. `convolve` is linear, so it
    does not matter at which point, and nothing but the vjp is computed.
    """
    sizes = tuple(
        (length - 1) * stride - 2 * padding + dilation * (taps - 1) + extra + 1
        for length, taps, stride, padding, dilation, extra in zip(
            x.shape[1:-1], weight.shape[1:-1], *window[:3], output_padding, strict=True
        )
    )
    caller = f"conv_transpose{len(sizes)}d"
    if min(sizes) < 1:
        raise ValueError(
            f"{caller}: padding must leave an output, got one of "
            f"size {sizes} from x of shape {x.shape}"
        )
    # If output_padding >= stride, a convolution of the result has more outputs than x.
    missing = [
        (0, p // stride)
        for p, stride in zip(output_padding, window.stride, strict=True)
    ]
    x = mx.pad(x, [(0, 0), *missing, (0, 0)])
    channels = weight.shape[-1] * window.groups
    check_size(caller, "stride and dilation", (x.shape[0], *sizes, channels))
    dtype = mx.result_type(x, weight)
    point = mx.zeros((x.shape[0], *sizes, channels), dtype)
    weight = weight.astype(dtype)
    x = x.astype(dtype)
    _, (y,) = mlx_transforms.vjp(lambda z: _convolve(z, weight, window), [point], [x])
    count_multiply_adds(x.size * (weight.size // weight.shape[0]))
    return y if bias is None else add_bias(y, bias)


def _convolve(x: Array, weight: Array, window: Window) -> Array:
    return _BY_DIMS[x.ndim - 2](x, weight, window)


def _convolve1d(x: Array, weight: Array, window: Window) -> Array:
    """1D convolution, as a 2D convolution of images with one row."""
    stride, padding, dilation, groups = window
    rows = Window((1, *stride), (0, *padding), (1, *dilation), groups)
    return mx.squeeze(_convolve2d(x[:, None], weight[:, None], rows), 1)


def _convolve2d(x: Array, weight: Array, window: Window) -> Array:
    (sv, sh), (pv, ph), (dv, dh), groups = window
    return ops.conv2d(
        x,
        weight,
        stride=(sv, sh),
        padding=(pv, ph),
        dilation=(dv, dh),
        groups=groups,
    )


def _convolve3d(x: Array, weight: Array, window: Window) -> Array:
    """3D convolution, as a sum of 2D convolutions over the depth of the kernel.

    Slices with many channels are concatenated along them, for a single convolution.
    """
    (stride, *strides), (padding, *paddings), (dilation, *dilations), groups = window
    plane = Window(tuple(strides), tuple(paddings), tuple(dilations), groups)
    x = mx.pad(x, [(0, 0), (padding, padding), (0, 0), (0, 0), (0, 0)])
    extent = dilation * (weight.shape[1] - 1) + 1
    depth = (x.shape[1] - extent) // stride + 1
    reach = (depth - 1) * stride + 1
    slices = [
        x[:, start : start + reach : stride].flatten(0, 1)
        for start in range(0, extent, dilation)
    ]
    taps = [mx.squeeze(tap, 1) for tap in split_evenly(weight, weight.shape[1], axis=1)]
    if groups == 1 and x.shape[-1] >= _MANY_CHANNELS:
        slices, taps = [[ops.concatenate(x, axis=-1)] for x in (slices, taps)]
    pairs = zip(slices, taps, strict=True)
    y = reduce(operator.add, (_convolve2d(x, tap, plane) for x, tap in pairs))
    return mx.unflatten(y, 0, (x.shape[0], depth))


_BY_DIMS = {1: _convolve1d, 2: _convolve2d, 3: _convolve3d}
