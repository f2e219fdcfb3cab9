"""Functions that change the shape and no value."""

from lucid_fn.types import Array


def identity(x: Array) -> Array:
    """`x` itself: a place for a layer that a variant of a model leaves out."""
    return x


def flatten(x: Array) -> Array:
    """All axes but the first as one: `(N, ...)` to `(N, size of an example)`.

    Channels are last: a `linear` after it expects the features in the order
    `(H, W, C)`, where PyTorch has `(C, H, W)`.

    Raises:
        ValueError: if `x` has no axis.

    Example:
        >>> import mlx.core as mx
        >>> flatten(mx.zeros((2, 4, 4, 16))).shape
        (2, 256)
    """
    if x.ndim == 0:
        raise ValueError("flatten: x must have shape (N, ...), got ()")
    return x.reshape(x.shape[0], -1)
