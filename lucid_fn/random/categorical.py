"""Draws of classes, and the Gumbel noise that makes them."""

from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.evaluation import started
from lucid_fn.random.checks import (
    check_axis,
    check_dtype,
    check_key,
    to_shape,
)
from lucid_fn.types import Array, Key


def categorical(key: Key, logits: Array, *, axis: int = -1) -> Array:
    """Draws class indices with the probabilities `softmax(logits)` along `axis`.

    Args:
        key: a key.
        logits: unnormalised log-probabilities.
        axis: the axis of the classes, which the result has no more.

    Returns:
        Indices, uint32.

    Raises:
        TypeError: if `key` is not a key, or `logits` not an array of real numbers.
        ValueError: if `logits` has no such axis, or no classes.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> random.categorical(random.key(0), mx.array([[0.0, -1e9], [-1e9, 0.0]]))
        array([0, 1], dtype=uint32)
    """
    check_key("categorical", key)
    if not isinstance(logits, mx.array):
        raise TypeError(
            f"random.categorical: logits must be an array, got {type(logits).__name__}"
        )
    if mx.issubdtype(logits.dtype, mx.complexfloating):
        raise TypeError(f"random.categorical: logits must be real, got {logits.dtype}")
    axis = check_axis("categorical", axis, logits.ndim)
    if logits.shape[axis] == 0:
        raise ValueError(
            "random.categorical: logits must have at least one class, got shape "
            f"{logits.shape}"
        )
    if logits.size == 0:
        batch = list(logits.shape)
        del batch[axis]
        return started(mx.zeros(batch, mx.uint32))
    return started(mx.random.categorical(logits, axis, key=key))


def gumbel(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the standard Gumbel distribution, `-log(-log(u))` of uniform `u`.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> from lucid_fn import random
        >>> random.gumbel(random.key(0), (2, 3)).shape
        (2, 3)
    """
    check_key("gumbel", key)
    size = to_shape("gumbel", shape)
    check_dtype("gumbel", dtype, mx.floating, "a float dtype")
    # In 16 bits the largest uniform number is far from 1, and all tails end there.
    u = mx.random.uniform(shape=size, key=key)
    return started(-mx.log(-mx.log(mx.maximum(u, 2.0**-33))).astype(dtype))
