"""Cross-entropy of logits, with its gradient in closed form."""

from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import multiply, subtract
from lucid_fn.cpu.memory.row_reductions import row_max, row_sum
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.elementary import exp_of_negative
from lucid_fn.ops.seam import tuned
from lucid_fn.ops.softmax import is_small, softmax
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
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softmax_cross_entropy(mx.array([[0.0, 0.0]]), mx.array([1]))
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
    return cast(Array, (_tuned if tuned() else _plain)(logits, labels))


def _plain(logits: Array, labels: Array) -> Array:
    logits32 = logits.astype(mx.float32)
    shifted = logits32 - mx.stop_gradient(mx.max(logits32, axis=-1, keepdims=True))
    at_label = mx.take_along_axis(shifted, labels[..., None], axis=-1).squeeze(-1)
    return (mx.logsumexp(shifted, axis=-1) - at_label).astype(logits.dtype)


class _Exponentials(NamedTuple):
    """Of rows of logits, less the largest of a row; the gradient needs them again."""

    largest: Array  # (R, 1)
    e: Array  # (R, C)
    total: Array  # (R, 1)


def _exponentials(logits: Array) -> _Exponentials:
    # No gradient: it is the same whatever is subtracted.
    largest = mx.stop_gradient(row_max(logits))
    e = exp_of_negative(subtract(logits, largest))
    return _Exponentials(largest, e, row_sum(e))


@custom_function
def _tuned(logits: Array, labels: Array) -> Array:
    if is_small(logits):
        return _plain(logits, labels)
    rows, column = _rows(logits), labels.reshape(-1, 1)
    largest, _, total = _exponentials(rows)
    at_label = mx.take_along_axis(rows, column, axis=1)
    loss = mx.log(total) - (at_label - largest)
    return loss.reshape(labels.shape).astype(logits.dtype)


@_tuned.vjp
def _tuned_vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
    logits, labels = primals
    if is_small(logits):
        p = mx.softmax(logits.astype(mx.float32), axis=-1)
        at_label = labels[..., None] == mx.arange(logits.shape[-1])
        dlogits = (p - at_label) * g.astype(mx.float32)[..., None]
        return dlogits.astype(logits.dtype), mx.zeros_like(labels)
    column = labels.reshape(-1, 1)
    _, e, total = _exponentials(_rows(logits))
    # The label's one, times the total, is taken off before the division: one number a
    # row changes, and the row is not compared with all labels.
    at_label = mx.take_along_axis(e, column, axis=1) - total
    e = mx.put_along_axis(e, column, at_label, axis=1)
    dlogits = multiply(e, g.astype(mx.float32).reshape(-1, 1) / total)
    return dlogits.reshape(logits.shape).astype(logits.dtype), mx.zeros_like(labels)


@_tuned.jvp
def _tuned_jvp(primals: tuple[Array, Array], tangents: tuple[Array, None]) -> Array:
    logits, labels = primals
    dlogits = tangents[0].astype(mx.float32)
    mean = mx.sum(softmax(logits.astype(mx.float32)) * dlogits, axis=-1)
    at_label = mx.take_along_axis(dlogits, labels[..., None], axis=-1).squeeze(-1)
    return (mean - at_label).astype(logits.dtype)


def _rows(logits: Array) -> Array:
    """`(..., C)` to float32 `(R, C)`."""
    return logits.astype(mx.float32).reshape(-1, logits.shape[-1])
