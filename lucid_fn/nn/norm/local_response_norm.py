"""Local response normalization, over neighbouring channels."""

import math

import mlx.core as mx

from lucid_fn.checks import check_count, check_float, check_number, shape_error
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.ops import avg_pool1d
from lucid_fn.types import Array


def local_response_norm(
    size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Layer:
    """Local response normalization, `x / (k + alpha * mean)^beta`.

    `mean` is that of `x^2` over a window of `size` channels centred at the channel.
    Channels beyond the ends count as zeros; with an even `size`, the window has one
    more channel before its centre than after it.

    Args:
        size: number of channels, positive.
        alpha: weight of the mean.
        beta: exponent.
        k: added to the mean; positive.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` has fewer than two
            axes.

    Source: Krizhevsky et al., 2012, "ImageNet classification with deep convolutional
    neural networks", section 3.3, with the mean in place of the sum, as in
    `torch.nn.LocalResponseNorm`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> layer = nn.local_response_norm(3, alpha=3.0, beta=1.0)
        >>> layer.apply({}, {}, mx.array([[1.0, 1.0, 1.0]]), train=False)[0]
        array([[0.333333, 0.25, 0.333333]], dtype=float32)
    """
    size = check_count("local_response_norm", "size", size)
    alpha = check_number("local_response_norm", "alpha", alpha)
    beta = check_number("local_response_norm", "beta", beta)
    k = check_number("local_response_norm", "k", k, above=0)

    def forward(x: Array) -> Array:
        check_float("local_response_norm", x=x)
        if x.ndim < 2:
            raise shape_error("local_response_norm", "x", x, "(N, ..., C)")
        wide = x.astype(mx.float32)
        rows = math.prod(x.shape[:-1])
        squares = (wide * wide).reshape(rows, x.shape[-1], 1)
        padded = mx.pad(squares, [(0, 0), (size // 2, (size - 1) // 2), (0, 0)])
        mean = avg_pool1d(padded, size, stride=1).reshape(x.shape)
        return (wide * (k + alpha * mean) ** -beta).astype(x.dtype)

    return lift(forward, examplewise=True)
