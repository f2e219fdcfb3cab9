"""`flatten` and `unflatten`."""

import math

from lucid_fn.checks import check_array
from lucid_fn.nn.core.checks import check_positive
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.ops.input_checks import takes_array
from lucid_fn.ops.seam import examplewise
from lucid_fn.types import Array


@examplewise
@takes_array
def flatten(x: Array) -> Array:
    """Flatten all axes but the first: `(N, ...)` to `(N, size of an example)`.

    Channels are last, so the features of an image are in the order `(H, W, C)`, where
    PyTorch has `(C, H, W)`.

    Args:
        x: any dtype, shape `(N, ...)`.

    Returns:
        Array of the same dtype, shape `(N, size of an example)`.

    Raises:
        TypeError: if `x` is not an array.
        ValueError: if `x` has no axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.flatten(mx.zeros((2, 4, 4, 16))).shape
        (2, 256)
    """
    if x.ndim == 0:
        raise ValueError("flatten: x must have shape (N, ...), got ()")
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def unflatten(*shape: int) -> Layer:
    """Split the last axis into several: `(..., size)` to `(..., *shape)`.

    In a decoder, it makes images of the output of a `linear` layer: `(N, features)` to
    `(N, H, W, C)`.

    Args:
        shape: the new axes, whose product is the size of the old one.

    Raises:
        ValueError: if `shape` is empty or a size is not positive; on apply, if the last
            axis of `x` does not have the product of `shape` as its size.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> layer = nn.unflatten(7, 7, 64)
        >>> layer.apply({}, {}, mx.ones((2, 3136)), train=False)[0].shape
        (2, 7, 7, 64)
    """
    if not shape:
        raise ValueError("unflatten: shape must have at least one axis, got none")
    for size in shape:
        check_positive("unflatten", shape=size)

    def forward(x: Array) -> Array:
        check_array("unflatten", x=x)
        if x.ndim == 0 or x.shape[-1] != math.prod(shape):
            raise ValueError(
                f"unflatten: the last axis of x must have size {math.prod(shape)}, the "
                f"product of {shape}, got x of shape {x.shape}"
            )
        return x.reshape(*x.shape[:-1], *shape)

    return lift(forward, examplewise=True)
