"""Convolutions on channels-last arrays."""

from lucid_fn import ops
from lucid_fn.nn import initializers
from lucid_fn.nn.checks import check_positive, pair
from lucid_fn.nn.initializers import Initializer
from lucid_fn.nn.layer import Layer, parametric
from lucid_fn.types import Array, Key, Params


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
) -> Layer:
    """Convolution of images: `(N, H, W, in_channels)` to `(N, H', W', out_channels)`.

    `H' = (H + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1`, and `W'`
    alike. As everywhere in deep learning it is a cross-correlation.

    Params: `weight` `(out_channels, kernel height, kernel width, in_channels/groups)`,
    `bias` `(out_channels,)`; both uniform in +-1/sqrt(fan_in) unless given otherwise,
    PyTorch's default, with
    `fan_in = in_channels / groups * kernel height * kernel width`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the window, in pixels; one number for both.
        stride: pixels between windows.
        padding: zeros added on each side.
        dilation: pixels between the taps of a window.
        groups: parts the channels are divided into; each output sees one of them.
        bias: whether a bias is added.
        weight_init: draws the weight from a key and a shape.

    Raises:
        ValueError: if a size is out of range, or `groups` does not divide both channel
            counts; on apply, if `x` has another shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.conv2d(1, 6, 5)
        >>> params, state = layer.init(random.key(0))
        >>> y, _ = layer.apply(params, state, mx.ones((2, 28, 28, 1)), train=False)
        >>> y.shape
        (2, 24, 24, 6)
    """
    check_positive(
        "conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups
    )
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            "conv2d: groups must divide in_channels and out_channels, got "
            f"{groups}, {in_channels} and {out_channels}"
        )
    height, width = pair("conv2d", "kernel_size", kernel_size, least=1)
    options = {
        "stride": pair("conv2d", "stride", stride, least=1),
        "padding": pair("conv2d", "padding", padding, least=0),
        "dilation": pair("conv2d", "dilation", dilation, least=1),
    }
    per_group = in_channels // groups
    shape = (out_channels, height, width, per_group)

    def init(key: Key) -> Params:
        return initializers.weight_and_bias(key, shape, bias, weight_init)

    def forward(params: Params, x: Array) -> Array:
        if x.ndim != 4 or x.shape[-1] != in_channels:
            raise ValueError(
                f"conv2d: x must have shape (N, H, W, {in_channels}), got {x.shape}"
                + _hint(x.shape, in_channels)
            )
        return ops.conv2d(
            x, params["weight"], params.get("bias"), groups=groups, **options
        )

    return parametric(init, forward)


def _hint(shape: tuple[int, ...], in_channels: int) -> str:
    """What is probably wrong with an input of this shape."""
    if len(shape) == 4 and shape[1] == in_channels:
        return "; channels are last here: x.transpose(0, 2, 3, 1)"
    if len(shape) == 3 and shape[-1] == in_channels:
        return "; a single image needs a batch axis: x[None]"
    if len(shape) == 3 and in_channels == 1:
        return "; grey images need a channel axis: x[..., None]"
    return ""
