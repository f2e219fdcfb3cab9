"""Cross-entropy of logits, with its gradient in closed form."""

from collections.abc import Sequence
from typing import cast

import mlx.core as mx

from lucid_fn.checks import check_float, check_integer
from lucid_fn.numerics import widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.seam import replaceable
from lucid_fn.ops.softmax import softmax
from lucid_fn.types import Array


def softmax_cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy of integer labels and `softmax(logits)`, in nats.

    The negative log-probability of the label, `-log(softmax(logits)[label])`, computed
    as `log(sum over c of exp(logits[c] - m)) - (logits[label] - m)` with the largest
    logit `m`, so that no logit overflows. Its gradient is `softmax(logits)` less one at
    the label.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`.
            Half-precision logits are computed in float32.
        labels: class indices in `[0, num_classes)`, integer, shape `(...)`. The range
            is not checked, since values are lazy.

    Returns:
        Array of shape `(...)`, at least 0, and of the dtype of `logits` (as in
        PyTorch: convert half-precision logits to float32 for a float32 loss).

    Raises:
        TypeError: if `labels` is not of an integer dtype, or `logits` not of a float
            dtype.
        ValueError: if `labels.shape != logits.shape[:-1]`, or there are no classes.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softmax_cross_entropy(mx.array([[0.0, 0.0]]), mx.array([1]))
        array([0.693147], dtype=float32)
    """
    check_float("softmax_cross_entropy", logits=logits)
    check_integer("softmax_cross_entropy", labels=labels)
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            "softmax_cross_entropy: labels must have shape "
            f"{logits.shape[:-1]} (that of logits without the classes), "
            f"got {labels.shape}"
        )
    if logits.shape[-1] == 0:
        raise ValueError(
            "softmax_cross_entropy: logits must have at least one class, got shape "
            f"{logits.shape}"
        )
    if logits.size == 0:
        return mx.zeros(labels.shape, logits.dtype)
    return cross_entropy_of_labels(logits, labels)


@replaceable
def cross_entropy_of_labels(logits: Array, labels: Array) -> Array:
    """`softmax_cross_entropy` of arrays that are not empty."""
    return cast(Array, _cross_entropy(logits, labels))


@custom_function
def _cross_entropy(logits: Array, labels: Array) -> Array:
    wide = widen(logits)
    shifted = wide - mx.stop_gradient(mx.max(wide, axis=-1, keepdims=True))
    at_label = mx.take_along_axis(shifted, labels[..., None], axis=-1).squeeze(-1)
    return (mx.logsumexp(shifted, axis=-1) - at_label).astype(logits.dtype)


@_cross_entropy.vjp
def _vjp(primals: Sequence[Array], g: Array, _: Array) -> tuple[Array, Array]:
    logits, labels = primals
    p = mx.softmax(widen(logits), axis=-1)
    at_label = labels[..., None] == mx.arange(logits.shape[-1])
    dlogits = (p - at_label) * widen(g)[..., None]
    return dlogits.astype(logits.dtype), mx.zeros_like(labels)


@_cross_entropy.jvp
def tangent(primals: Sequence[Array], tangents: Sequence[Array | None]) -> Array:
    """The Jacobian-vector product of `softmax_cross_entropy`."""
    logits, labels = primals
    if tangents[0] is None:
        return mx.zeros(labels.shape, logits.dtype)
    dlogits = widen(tangents[0])
    mean = mx.sum(softmax(widen(logits)) * dlogits, axis=-1)
    at_label = mx.take_along_axis(dlogits, labels[..., None], axis=-1).squeeze(-1)
    return (mean - at_label).astype(logits.dtype)
