"""U-Net.

Ronneberger et al., 2015, "U-Net: convolutional networks for biomedical image
segmentation", https://arxiv.org/abs/1505.04597, figure 1, in the form that is common
today: with padding, so that the output has the size of the image, and with batch norm.
"""

from itertools import pairwise
from typing import Any

import mlx.core as mx

from lucid_fn import nn, ops
from lucid_fn.nn.core.checks import check_images, check_positive
from lucid_fn.types import Array, ArrayFn


def unet(
    num_classes: int = 1, *, in_channels: int = 3, width: int = 64, depth: int = 4
) -> nn.Layer:
    """U-Net: images `(N, H, W, in_channels)` to logits `(N, H, W, num_classes)`.

    The encoder halves the resolution `depth` times and doubles the channels each time;
    the decoder upsamples again, and concatenates each map with the encoder's map of its
    size (skip connections). With the defaults it has 31,037,633 parameters. The names
    are those of the PyTorch implementation at
    https://github.com/milesial/Pytorch-UNet: `inc`, `down1`, ..., `up1`, ..., `outc`.

    Args:
        num_classes: output channels: one for each class, or 1 for the logit of the
            foreground.
        in_channels: channels of the images.
        width: channels at full resolution.
        depth: number of halvings; images need at least `2**depth` pixels a side.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if an argument is below 1; on apply, if an image is too small.

    Source: Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597, figure 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import models, random
        >>> model = models.unet(3, in_channels=1, width=8, depth=2)
        >>> params, state = model.init(random.key(0))
        >>> model.apply(params, state, mx.zeros((1, 28, 28, 1)), train=False)[0].shape
        (1, 28, 28, 3)
    """
    num_classes, in_channels, width, depth = check_positive(
        "unet",
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        depth=depth,
    )
    widths = [width * 2**level for level in range(depth + 1)]
    downs: dict[str, Any] = {
        f"down{i + 1}": _down(narrow, wide)
        for i, (narrow, wide) in enumerate(pairwise(widths))
    }
    ups: dict[str, Any] = {
        f"up{i + 1}": _up(wide, narrow)
        for i, (narrow, wide) in enumerate(reversed(list(pairwise(widths))))
    }

    def forward(x: Array, /, inc: ArrayFn, outc: ArrayFn, **levels: ArrayFn) -> Any:
        check_images("unet", x, in_channels, dims=2)
        if min(x.shape[1:3]) < 2**depth:
            raise ValueError(
                f"unet: x must have at least {2**depth} rows and columns, got {x.shape}"
            )
        maps = [inc(x)]
        for name in downs:
            maps.append(levels[name](maps[-1]))
        y = maps.pop()
        for name in ups:
            y = levels[name]((y, maps.pop()))
        return outc(y)

    return nn.compose(
        forward,
        inc=_double_conv(in_channels, width),
        **downs,
        **ups,
        outc=nn.serial(conv=nn.conv2d(width, num_classes, 1)),
    )


def _double_conv(in_channels: int, channels: int) -> nn.Layer:
    """Two 3x3 convolutions, each with batch norm and ReLU."""
    return nn.serial(
        double_conv=nn.serial(
            nn.conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.batch_norm(channels),
            nn.relu,
            nn.conv2d(channels, channels, 3, padding=1, bias=False),
            nn.batch_norm(channels),
            nn.relu,
        )
    )


def _down(in_channels: int, channels: int) -> nn.Layer:
    """Max pooling, then a double convolution: to `(N, H/2, W/2, channels)`."""
    return nn.serial(
        maxpool_conv=nn.serial(nn.max_pool2d(2), _double_conv(in_channels, channels))
    )


def _up(in_channels: int, channels: int) -> nn.Layer:
    """Upsampling, concatenation with the skip connection, then a double convolution."""

    def forward(inputs: tuple[Array, Array], up: ArrayFn, conv: ArrayFn) -> Any:
        x, skip = inputs  # (N, H, W, in_channels), (N, 2H or 2H + 1, ..., channels)
        x = up(x)  # (N, 2H, 2W, channels)
        rows = skip.shape[1] - x.shape[1]
        columns = skip.shape[2] - x.shape[2]
        x = mx.pad(x, [(0, 0), _halves(rows), _halves(columns), (0, 0)])
        return conv(ops.concatenate([skip, x], axis=-1))

    return nn.compose(
        forward,
        up=nn.conv_transpose2d(in_channels, channels, 2, stride=2),
        conv=_double_conv(2 * channels, channels),
    )


def _halves(gap: int) -> tuple[int, int]:
    """Padding before and after, for a side that was odd before it was halved."""
    return gap // 2, gap - gap // 2
