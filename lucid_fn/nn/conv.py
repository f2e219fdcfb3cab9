"""Convolutions and transposed convolutions, channels last."""

import operator
from functools import reduce
from typing import Literal, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
    Sizes,
    check_bool,
    check_choice,
    check_count,
    check_size,
    to_sizes,
)
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import check_images, check_params, check_positive
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.initializers import Initializer
from lucid_fn.nn.shape.padding import BORDER_INDICES, add_border
from lucid_fn.ops import mlx_transforms
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.concatenation import split_evenly
from lucid_fn.ops.conv import NamedPadding, named_padding
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.types import Array, Key, Params

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
"""The values that padding adds: zeros, or values of the image itself."""

_MANY_CHANNELS = 16  # from which one 2D convolution is faster than a sum of several


class _Window(NamedTuple):
    """The options of a convolution; all but `groups` have a number for each axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    *,
    stride: Sizes = 1,
    padding: Sizes | NamedPadding = 0,
    padding_mode: PaddingMode = "zeros",
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
    bias_init: Initializer | None = None,
) -> Layer:
    """2D convolution: `(N, H, W, in_channels)` to `(N, H', W', out_channels)`.

    `H' = (H + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1`, and `W'`
    likewise. As everywhere in deep learning it is a cross-correlation.

    Params: `weight` `(out_channels, kernel height, kernel width, in_channels/groups)`
    and `bias` `(out_channels,)`. By default both are uniform in +-1/sqrt(fan_in), as in
    PyTorch, with `fan_in = in_channels / groups * kernel height * kernel width`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernel; one number for both.
        stride: pixels from one window to the next.
        padding: pixels added on each side. `"same"` keeps the size of the image, for a
            stride of 1: it adds `dilation * (kernel_size - 1)` pixels in all, one more
            after than before if that is odd. `"valid"` is 0.
        padding_mode: the values added: `"zeros"`, or values of the image: `"reflect"`,
            `"replicate"` or `"circular"`, as `nn.reflect_pad` and its siblings.
        dilation: pixels from one tap of the kernel to the next.
        groups: number of groups that the channels are divided into; each output channel
            sees one of them. `groups=in_channels` is a depthwise convolution.
        bias: whether to add a bias.
        weight_init: initializer of the weight.
        bias_init: initializer of the bias; by default as above.

    Raises:
        ValueError: if a size is out of range, or `groups` does not divide both channel
            counts; on apply, if `x` has the wrong shape, or is too small for
            `padding_mode`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.conv2d(1, 6, 5)
        >>> params, state = layer.init(random.key(0))
        >>> y, _ = layer.apply(params, state, mx.ones((2, 28, 28, 1)), train=False)
        >>> y.shape
        (2, 24, 24, 6)
    """
    sizes = in_channels, out_channels, kernel_size
    window = _to_window("conv2d", 2, stride, 0, dilation, groups)
    border, inits = (padding, padding_mode), (weight_init, bias_init)
    return _conv_layer(2, *sizes, window, *border, bias, *inits)


def conv1d(
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    *,
    stride: Sizes = 1,
    padding: Sizes | NamedPadding = 0,
    padding_mode: PaddingMode = "zeros",
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
    bias_init: Initializer | None = None,
) -> Layer:
    """1D convolution: `(N, L, in_channels)` to `(N, L', out_channels)`.

    The arguments are those of `conv2d`, for one axis. Params: `weight`
    `(out_channels, kernel_size, in_channels/groups)` and `bias` `(out_channels,)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.conv1d(4, 8, 3, stride=2)
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.ones((2, 9, 4)), train=False)[0].shape
        (2, 4, 8)
    """
    sizes = in_channels, out_channels, kernel_size
    window = _to_window("conv1d", 1, stride, 0, dilation, groups)
    border, inits = (padding, padding_mode), (weight_init, bias_init)
    return _conv_layer(1, *sizes, window, *border, bias, *inits)


def conv3d(
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    *,
    stride: Sizes = 1,
    padding: Sizes | NamedPadding = 0,
    padding_mode: PaddingMode = "zeros",
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
    bias_init: Initializer | None = None,
) -> Layer:
    """3D convolution: `(N, D, H, W, in_channels)` to `(N, D', H', W', out_channels)`.

    The arguments are those of `conv2d`, for three axes; triples are (depth, height,
    width). Params: `weight`
    `(out_channels, kernel depth, height, width, in_channels/groups)` and `bias`
    `(out_channels,)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.conv3d(2, 3, (1, 3, 3), padding=(0, 1, 1))
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.ones((1, 4, 6, 6, 2)), train=False)[0].shape
        (1, 4, 6, 6, 3)
    """
    sizes = in_channels, out_channels, kernel_size
    window = _to_window("conv3d", 3, stride, 0, dilation, groups)
    border, inits = (padding, padding_mode), (weight_init, bias_init)
    return _conv_layer(3, *sizes, window, *border, bias, *inits)


def _conv_layer(
    dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    window: _Window,
    padding: Sizes | NamedPadding,
    padding_mode: PaddingMode,
    bias: bool,
    weight_init: Initializer,
    bias_init: Initializer | None,
) -> Layer:
    caller = f"conv{dims}d"
    check_bool(caller, bias=bias)
    in_channels, out_channels = _check_channels(
        caller, in_channels, out_channels, window.groups
    )
    kernel = to_sizes(caller, "kernel_size", kernel_size, dims=dims, at_least=1)
    shape = (out_channels, *kernel, in_channels // window.groups)
    bias_shape = (out_channels,) if bias else None
    pads = _to_pads(caller, padding, kernel, window)
    check_choice(caller, "padding_mode", padding_mode, ("zeros", *BORDER_INDICES))
    # `_conv` itself adds zeros only, and as many before an axis as after it.
    pads_first = padding_mode != "zeros" or any(
        before != after for before, after in pads
    )
    if not pads_first:
        window = window._replace(padding=tuple(before for before, _ in pads))

    def init(key: Key) -> Params:
        return initializers.weight_and_bias(key, shape, bias, weight_init, bias_init)

    def forward(params: Params, x: Array) -> Array:
        check_images(caller, x, in_channels, dims=dims)
        check_params(caller, params, weight=shape, bias=bias_shape)
        if pads_first:
            padded = (n + sum(p) for n, p in zip(x.shape[1:-1], pads, strict=True))
            check_size(caller, "padding", (x.shape[0], *padded, x.shape[-1]))
            x = add_border(caller, padding_mode, x, pads)
        return _conv(x, params["weight"], params.get("bias"), window)

    return parametric(init, forward, examplewise=True)


def _to_pads(
    caller: str, padding: Sizes | NamedPadding, kernel: tuple[int, ...], window: _Window
) -> list[tuple[int, int]]:
    """The padding before and after each spatial axis."""
    if isinstance(padding, str):
        return named_padding(caller, padding, kernel, window.stride, window.dilation)
    sides = to_sizes(caller, "padding", padding, dims=len(kernel), at_least=0)
    return [(side, side) for side in sides]


def _to_window(
    caller: str,
    dims: int,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> _Window:
    """Check the arguments of a `_Window` and give each spatial axis its numbers."""
    groups = check_count(caller, "groups", groups)
    return _Window(
        stride=to_sizes(caller, "stride", stride, dims=dims, at_least=1),
        padding=to_sizes(caller, "padding", padding, dims=dims, at_least=0),
        dilation=to_sizes(caller, "dilation", dilation, dims=dims, at_least=1),
        groups=groups,
    )


def _check_channels(
    caller: str, in_channels: int, out_channels: int, groups: int
) -> tuple[int, int]:
    """The numbers of channels; raise unless `groups` divides both."""
    in_channels, out_channels = check_positive(
        caller, in_channels=in_channels, out_channels=out_channels
    )
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{caller}: groups must divide in_channels and out_channels, got "
            f"{groups}, {in_channels} and {out_channels}"
        )
    return in_channels, out_channels


# ---- transposed convolutions ----


def conv_transpose2d(
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
) -> Layer:
    """Transposed 2D convolution: `(N, H, W, in_channels)` to a larger image.

    The result has the shape `(N, H', W', out_channels)`, with
    `H' = (H - 1) * stride - 2 * padding + dilation * (kernel_size - 1) +
    output_padding + 1`, and `W'` likewise. The layer computes the vector-Jacobian
    product of `conv2d(out_channels, in_channels, ...)`, with the same arguments, with
    respect to its input: it maps the output shape of that layer to its input shape.

    Params: `weight` `(in_channels, kernel height, kernel width, out_channels/groups)`,
    that of this `conv2d`, and PyTorch's with the channels last, and `bias`
    `(out_channels,)`. Both are uniform in +-1/sqrt(fan) with
    `fan = out_channels / groups * kernel height * kernel width`, PyTorch's default.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernel; one number for both.
        stride: pixels of the output from one window to the next.
        padding: pixels cut from each side of the output.
        output_padding: pixels added to the end of the output, less than `stride` or
            `dilation`: a convolution maps several input sizes to the same output size,
            and this chooses among them.
        dilation: pixels from one tap of the kernel to the next.
        groups: number of groups that the channels are divided into.
        bias: whether to add a bias.
        weight_init: initializer of the weight.

    Raises:
        ValueError: if a size is out of range, or `groups` does not divide both channel
            counts; on apply, if `x` has the wrong shape.

    Source: Dumoulin & Visin, 2016, https://arxiv.org/abs/1603.07285, chapter 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.conv_transpose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.ones((2, 7, 7, 8)), train=False)[0].shape
        (2, 14, 14, 4)
    """
    window = _to_window("conv_transpose2d", 2, stride, padding, dilation, groups)
    sizes = in_channels, out_channels, kernel_size
    return _conv_transpose_layer(2, *sizes, window, output_padding, bias, weight_init)


def conv_transpose1d(
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
) -> Layer:
    """Transposed 1D convolution: `(N, L, in_channels)` to `(N, L', out_channels)`.

    The arguments are those of `conv_transpose2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.conv_transpose1d(3, 2, 4, stride=2, padding=1)
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.ones((2, 5, 3)), train=False)[0].shape
        (2, 10, 2)
    """
    window = _to_window("conv_transpose1d", 1, stride, padding, dilation, groups)
    sizes = in_channels, out_channels, kernel_size
    return _conv_transpose_layer(1, *sizes, window, output_padding, bias, weight_init)


def conv_transpose3d(
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
) -> Layer:
    """Transposed 3D convolution: `(N, D, H, W, in_channels)` to a larger volume.

    The arguments are those of `conv_transpose2d`, for three axes; triples are (depth,
    height, width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.conv_transpose3d(3, 2, 2, stride=2)
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.ones((1, 2, 3, 3, 3)), train=False)[0].shape
        (1, 4, 6, 6, 2)
    """
    window = _to_window("conv_transpose3d", 3, stride, padding, dilation, groups)
    sizes = in_channels, out_channels, kernel_size
    return _conv_transpose_layer(3, *sizes, window, output_padding, bias, weight_init)


def _conv_transpose_layer(
    dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    window: _Window,
    output_padding: Sizes,
    bias: bool,
    weight_init: Initializer,
) -> Layer:
    caller = f"conv_transpose{dims}d"
    check_bool(caller, bias=bias)
    in_channels, out_channels = _check_channels(
        caller, in_channels, out_channels, window.groups
    )
    kernel = to_sizes(caller, "kernel_size", kernel_size, dims=dims, at_least=1)
    extra = to_sizes(caller, "output_padding", output_padding, dims=dims, at_least=0)
    steps = zip(extra, window.stride, window.dilation, strict=True)
    if any(added >= max(stride, dilation) for added, stride, dilation in steps):
        raise ValueError(
            f"{caller}: output_padding must be less than stride or dilation, got "
            f"{output_padding}, {window.stride} and {window.dilation}"
        )
    shape = (in_channels, *kernel, out_channels // window.groups)
    bias_shape = (out_channels,) if bias else None

    def init(key: Key) -> Params:
        params = initializers.weight_and_bias(key, shape, False, weight_init)
        if bias:
            params["bias"] = initializers.bias_by_fan_in(key, shape, out_channels)
        return params

    def forward(params: Params, x: Array) -> Array:
        check_images(caller, x, in_channels, dims=dims)
        check_params(caller, params, weight=shape, bias=bias_shape)
        return _conv_transpose(x, params["weight"], params.get("bias"), window, extra)

    return parametric(init, forward, examplewise=True)


# ---- convolutions of arrays, in one to three dimensions, by `ops.conv2d` ----


def _conv(x: Array, weight: Array, bias: Array | None, window: _Window) -> Array:
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
    y = _conv_nd(x, weight, window)
    count_multiply_adds(y.size * (weight.size // weight.shape[0]))
    return y if bias is None else add_bias(y, bias)


def _conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: _Window,
    output_padding: tuple[int, ...],
) -> Array:
    """Transposed convolution: `(N, ..., I)`, `(I, ..., O / groups)` to `(N, ..., O)`.

    It is the vjp of `_conv` with respect to its input. `_conv` is linear, so the point
    does not matter, and nothing but the vjp is computed.
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
    _, (y,) = mlx_transforms.vjp(lambda z: _conv_nd(z, weight, window), [point], [x])
    count_multiply_adds(x.size * (weight.size // weight.shape[0]))
    return y if bias is None else add_bias(y, bias)


def _conv_nd(x: Array, weight: Array, window: _Window) -> Array:
    return _CONV_BY_DIMS[x.ndim - 2](x, weight, window)


def _conv1d(x: Array, weight: Array, window: _Window) -> Array:
    """1D convolution, as a 2D convolution of images with one row."""
    stride, padding, dilation, groups = window
    rows = _Window((1, *stride), (0, *padding), (1, *dilation), groups)
    return mx.squeeze(_conv2d(x[:, None], weight[:, None], rows), 1)


def _conv2d(x: Array, weight: Array, window: _Window) -> Array:
    (sv, sh), (pv, ph), (dv, dh), groups = window
    return ops.conv2d(
        x,
        weight,
        stride=(sv, sh),
        padding=(pv, ph),
        dilation=(dv, dh),
        groups=groups,
    )


def _conv3d(x: Array, weight: Array, window: _Window) -> Array:
    """3D convolution, as a sum of 2D convolutions over the depth of the kernel.

    Slices with many channels are concatenated along them, for a single convolution.
    """
    (stride, *strides), (padding, *paddings), (dilation, *dilations), groups = window
    plane = _Window(tuple(strides), tuple(paddings), tuple(dilations), groups)
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
    y = reduce(operator.add, (_conv2d(x, tap, plane) for x, tap in pairs))
    return mx.unflatten(y, 0, (x.shape[0], depth))


_CONV_BY_DIMS = {1: _conv1d, 2: _conv2d, 3: _conv3d}
