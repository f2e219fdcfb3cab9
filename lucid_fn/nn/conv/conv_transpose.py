"""Transposed convolution layers, channels last."""

from lucid_fn.checks import Sizes, check_bool, to_sizes
from lucid_fn.nn import initializers
from lucid_fn.nn.conv.conv import check_channels, to_window
from lucid_fn.nn.conv.convolve import Window, transpose_convolve
from lucid_fn.nn.core.checks import check_images, check_params
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.initializers import Initializer
from lucid_fn.types import Array, Key, Params


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
    """Transposed 2D convolution: `(N, H, W, in_channels)` to `(N, H', W',
    out_channels)`.

    `H' = (H - 1) * stride - 2 * padding + dilation * (kernel_size - 1) +
    output_padding + 1`, and `W'` likewise. It is the gradient of
    `conv2d(out_channels, in_channels, ...)`, with the same arguments, in its input: it
    maps the output shape of that layer to its input shape.

    Params: `weight` `(in_channels, kernel height, kernel width, out_channels/groups)`,
    that of the convolution whose gradient this is, and PyTorch's with the channels
    last; `bias` `(out_channels,)`. Both are uniform in +-1/sqrt(fan) with
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
    window = to_window("conv_transpose2d", 2, stride, padding, dilation, groups)
    sizes = in_channels, out_channels, kernel_size
    return _transposed(2, *sizes, window, output_padding, bias, weight_init)


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
    window = to_window("conv_transpose1d", 1, stride, padding, dilation, groups)
    sizes = in_channels, out_channels, kernel_size
    return _transposed(1, *sizes, window, output_padding, bias, weight_init)


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
    window = to_window("conv_transpose3d", 3, stride, padding, dilation, groups)
    sizes = in_channels, out_channels, kernel_size
    return _transposed(3, *sizes, window, output_padding, bias, weight_init)


def _transposed(
    dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    window: Window,
    output_padding: Sizes,
    bias: bool,
    weight_init: Initializer,
) -> Layer:
    caller = f"conv_transpose{dims}d"
    check_bool(caller, bias=bias)
    in_channels, out_channels = check_channels(
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
        return transpose_convolve(
            x, params["weight"], params["bias"] if bias else None, window, extra
        )

    return parametric(init, forward, examplewise=True)
