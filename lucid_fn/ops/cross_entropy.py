"""Cross-entropy of logits, with its gradient in closed form."""

from typing import cast

import mlx.core as mx

from lucid_fn.ops.custom import custom_function
from lucid_fn.ops.formulation import tuned
from lucid_fn.ops.softmax import log_sum_of_shifted, softmax
from lucid_fn.types import Array


def softmax_cross_entropy(logits: Array, labels: Array) -> Array:
    """Minus the log-probability of the label under `softmax(logits)`, in nats.

    `log(sum over c of exp(logits[c] - m)) - (logits[label] - m)` with the largest logit
    `m`, so that no logit overflows. The gradient is `softmax(logits)`, less one at the
    label.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`.
            Half-precision logits are computed in float32.
        labels: class indices in `[0, num_classes)`, integer, shape `(...)`. The range
            is not checked: it is a value, and values are lazy.

    Returns:
        Array of shape `(...)`, at least 0, and of the dtype of `logits` (as in
        PyTorch: convert half-precision logits to float32 for a float32 loss).

    Raises:
        TypeError: if `labels` is not of an integer dtype, or `logits` of a float one.
        ValueError: if `labels.shape != logits.shape[:-1]`.

    Example:
        >>> softmax_cross_entropy(mx.array([[0.0, 0.0]]), mx.array([1]))
        array([0.693147], dtype=float32)
    """
    if not mx.issubdtype(logits.dtype, mx.floating):
        raise TypeError(
            f"softmax_cross_entropy: logits must be floats, got {logits.dtype}"
        )
    if not mx.issubdtype(labels.dtype, mx.integer):
        raise TypeError(
            f"softmax_cross_entropy: labels must be integers, got {labels.dtype}"
        )
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            "softmax_cross_entropy: labels must have shape "
            f"{logits.shape[:-1]} (that of logits, less the classes), "
            f"got {labels.shape}"
        )
    return cast(Array, (_fused if tuned() else _plain)(logits, labels))


def _plain(logits: Array, labels: Array) -> Array:
    logits32 = logits.astype(mx.float32)
    shifted = logits32 - mx.stop_gradient(mx.max(logits32, axis=-1, keepdims=True))
    at_label = mx.take_along_axis(shifted, labels[..., None], axis=-1).squeeze(-1)
    return (mx.logsumexp(shifted, axis=-1) - at_label).astype(logits.dtype)


@custom_function
def _fused(logits: Array, labels: Array) -> Array:
    # MLX's jvp would differentiate the forward too, for nothing.
    logits32 = mx.stop_gradient(logits).astype(mx.float32)
    shifted = logits32 - mx.max(logits32, axis=-1, keepdims=True)
    at_label = mx.take_along_axis(shifted, labels[..., None], axis=-1).squeeze(-1)
    return (log_sum_of_shifted(shifted, -1).squeeze(-1) - at_label).astype(logits.dtype)


def _slope(logits: Array, labels: Array) -> Array:
    """Derivative in the logits: probabilities, less one at the label; float32."""
    classes = mx.arange(logits.shape[-1])
    return softmax(logits.astype(mx.float32)) - (labels[..., None] == classes)


@_fused.vjp
def _fused_vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
    logits, labels = primals
    dlogits = g.astype(mx.float32)[..., None] * _slope(logits, labels)
    return dlogits.astype(logits.dtype), mx.zeros_like(labels)


@_fused.jvp
def _fused_jvp(primals: tuple[Array, Array], tangents: tuple[Array, None]) -> Array:
    logits, labels = primals
    y = mx.sum(tangents[0].astype(mx.float32) * _slope(logits, labels), axis=-1)
    return y.astype(logits.dtype)
