"""Convolution layers, channels last."""

from typing import Literal, TypeAlias

from lucid_fn.checks import (
    Sizes,
    check_bool,
    check_choice,
    check_count,
    check_size,
    to_sizes,
)
from lucid_fn.nn import initializers
from lucid_fn.nn.conv.convolve import Window, convolve
from lucid_fn.nn.core.checks import check_images, check_params, check_positive
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.initializers import Initializer
from lucid_fn.nn.shape.padding import BORDER_INDICES, add_border
from lucid_fn.ops.conv import NamedPadding, named_padding
from lucid_fn.types import Array, Key, Params

PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
"""The values that padding adds: zeros, or values of the image itself."""


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
    window = to_window("conv2d", 2, stride, 0, dilation, groups)
    border, inits = (padding, padding_mode), (weight_init, bias_init)
    return _convolution(2, *sizes, window, *border, bias, *inits)


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
    window = to_window("conv1d", 1, stride, 0, dilation, groups)
    border, inits = (padding, padding_mode), (weight_init, bias_init)
    return _convolution(1, *sizes, window, *border, bias, *inits)


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
    width). Params: `weight` `(out_channels, kernel depth, height, width,
    in_channels/groups)` and `bias` `(out_channels,)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.conv3d(2, 3, (1, 3, 3), padding=(0, 1, 1))
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.ones((1, 4, 6, 6, 2)), train=False)[0].shape
        (1, 4, 6, 6, 3)
    """
    sizes = in_channels, out_channels, kernel_size
    window = to_window("conv3d", 3, stride, 0, dilation, groups)
    border, inits = (padding, padding_mode), (weight_init, bias_init)
    return _convolution(3, *sizes, window, *border, bias, *inits)


def _convolution(
    dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Sizes,
    window: Window,
    padding: Sizes | NamedPadding,
    padding_mode: PaddingMode,
    bias: bool,
    weight_init: Initializer,
    bias_init: Initializer | None,
) -> Layer:
    caller = f"conv{dims}d"
    check_bool(caller, bias=bias)
    in_channels, out_channels = check_channels(
        caller, in_channels, out_channels, window.groups
    )
    kernel = to_sizes(caller, "kernel_size", kernel_size, dims=dims, at_least=1)
    shape = (out_channels, *kernel, in_channels // window.groups)
    bias_shape = (out_channels,) if bias else None
    pads = _to_pads(caller, padding, kernel, window)
    check_choice(caller, "padding_mode", padding_mode, ("zeros", *BORDER_INDICES))
    # `convolve` itself adds zeros only, and as many before an axis as after it.
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
        return convolve(x, params["weight"], params["bias"] if bias else None, window)

    return parametric(init, forward, examplewise=True)


def _to_pads(
    caller: str, padding: Sizes | NamedPadding, kernel: tuple[int, ...], window: Window
) -> list[tuple[int, int]]:
    """The padding before and after each spatial axis."""
    if isinstance(padding, str):
        return named_padding(caller, padding, kernel, window.stride, window.dilation)
    sides = to_sizes(caller, "padding", padding, dims=len(kernel), at_least=0)
    return [(side, side) for side in sides]


def to_window(
    caller: str,
    dims: int,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Window:
    """Check the arguments of a `Window` and give each spatial axis its numbers."""
    groups = check_count(caller, "groups", groups)
    return Window(
        stride=to_sizes(caller, "stride", stride, dims=dims, at_least=1),
        padding=to_sizes(caller, "padding", padding, dims=dims, at_least=0),
        dilation=to_sizes(caller, "dilation", dilation, dims=dims, at_least=1),
        groups=groups,
    )


def check_channels(
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
