"""Pixel shuffle, pixel unshuffle and channel shuffle, channels last."""

import mlx.core as mx

from lucid_fn.checks import check_array, check_axes, check_count
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.types import Array


def pixel_shuffle(factor: int) -> Layer:
    """Pixel shuffle, channels to pixels: `(N, H, W, C * r * r)` to
    `(N, H * r, W * r, C)`.

    Networks for super-resolution end with it, so that they convolve small images.
    Channel `(c * r + i) * r + j` goes to row `i` and column `j` of its block, as in
    PyTorch.

    Args:
        factor: `r`, the factor by which height and width grow.

    Raises:
        ValueError: if `factor` is not positive; on apply, if `x` has the wrong number
            of axes, or its channels are not a multiple of `r * r`.

    Source: Shi et al., 2016, https://arxiv.org/abs/1609.05158, eq. 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> layer = nn.pixel_shuffle(2)
        >>> layer.apply({}, {}, mx.ones((1, 3, 5, 8)), train=False)[0].shape
        (1, 6, 10, 2)
    """
    factor = check_count("pixel_shuffle", "factor", factor)

    def forward(x: Array) -> Array:
        n, h, w, c = _image_shape("pixel_shuffle", x)
        if c % factor**2:
            raise ValueError(
                f"pixel_shuffle: channels must be a multiple of {factor**2}, got {c}"
            )
        blocks = x.reshape(n, h, w, c // factor**2, factor, factor)
        # (N, H, r, W, r, C)
        pixels = blocks.transpose(0, 1, 4, 2, 5, 3)
        return pixels.reshape(n, h * factor, w * factor, c // factor**2)

    return lift(forward, examplewise=True)


def pixel_unshuffle(factor: int) -> Layer:
    """The inverse of `pixel_shuffle`: `(N, H * r, W * r, C)` to `(N, H, W, C * r * r)`.

    Args:
        factor: `r`, the factor by which height and width shrink.

    Raises:
        ValueError: if `factor` is not positive; on apply, if `x` has the wrong number
            of axes, or height or width are not multiples of `r`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> layer = nn.pixel_unshuffle(2)
        >>> layer.apply({}, {}, mx.ones((1, 6, 10, 2)), train=False)[0].shape
        (1, 3, 5, 8)
    """
    factor = check_count("pixel_unshuffle", "factor", factor)

    def forward(x: Array) -> Array:
        n, h, w, c = _image_shape("pixel_unshuffle", x)
        if h % factor or w % factor:
            raise ValueError(
                f"pixel_unshuffle: height and width must be multiples of {factor}, got "
                f"{h} and {w}"
            )
        h, w = h // factor, w // factor
        blocks = x.reshape(n, h, factor, w, factor, c)
        # (N, H, W, C, r, r)
        channels = blocks.transpose(0, 1, 3, 5, 2, 4)
        return channels.reshape(n, h, w, c * factor**2)

    return lift(forward, examplewise=True)


def channel_shuffle(groups: int) -> Layer:
    """Channel shuffle: interleaves the channels of `groups` groups of `(..., C)`.

    Between two grouped convolutions, it lets information flow from group to group.

    Args:
        groups: number of groups that the channels are divided into.

    Raises:
        ValueError: if `groups` is not positive; on apply, if it does not divide the
            channels.

    Source: Zhang et al., 2017, https://arxiv.org/abs/1707.01083, section 3.1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.arange(6.0)[None]
        >>> nn.channel_shuffle(2).apply({}, {}, x, train=False)[0].tolist()
        [[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]]
    """
    groups = check_count("channel_shuffle", "groups", groups)

    def forward(x: Array) -> Array:
        check_array("channel_shuffle", x=x)
        if x.ndim == 0 or x.shape[-1] % groups:
            raise ValueError(
                f"channel_shuffle: groups must divide the channels, got {groups} for x "
                f"of shape {x.shape}"
            )
        parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
        return mx.swapaxes(parts, -1, -2).reshape(x.shape)

    return lift(forward, examplewise=True)


def _image_shape(caller: str, x: Array) -> tuple[int, int, int, int]:
    check_array(caller, x=x)
    check_axes(caller, x, 2)
    n, h, w, c = x.shape
    return n, h, w, c
