"""Cross-entropy of labels on CPUs: rows of exponentials that both passes share."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import multiply, subtract
from lucid_fn.cpu.memory.row_reductions import row_max, row_sum
from lucid_fn.cpu.softmax import is_small
from lucid_fn.ops.cross_entropy import cross_entropy_of_labels, tangent
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.elementary import exp_of_negative
from lucid_fn.ops.seam import plain
from lucid_fn.types import Array


def cross_entropy(logits: Array, labels: Array) -> Array:
    """`ops.cross_entropy.cross_entropy_of_labels`."""
    if is_small(logits) or logits.dtype == mx.float64:
        with plain():
            return cross_entropy_of_labels(logits, labels)
    return cast(Array, _cross_entropy(logits, labels))


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
def _cross_entropy(logits: Array, labels: Array) -> Array:
    rows, column = _rows(logits), labels.reshape(-1, 1)
    largest, _, total = _exponentials(rows)
    at_label = mx.take_along_axis(rows, column, axis=1)
    loss = mx.log(total) - (at_label - largest)
    return loss.reshape(labels.shape).astype(logits.dtype)


@_cross_entropy.vjp
def _vjp(primals: Sequence[Array], g: Array, _: Array) -> tuple[Array, Array]:
    logits, labels = primals
    column = labels.reshape(-1, 1)
    _, e, total = _exponentials(_rows(logits))
    # The label's one, times the total, is taken off before the division: one number a
    # row changes, and the row is not compared with all labels.
    at_label = mx.take_along_axis(e, column, axis=1) - total
    e = mx.put_along_axis(e, column, at_label, axis=1)
    dlogits = multiply(e, g.astype(mx.float32).reshape(-1, 1) / total)
    return dlogits.reshape(logits.shape).astype(logits.dtype), mx.zeros_like(labels)


_cross_entropy.jvp(tangent)


def _rows(logits: Array) -> Array:
    """`(..., C)` to float32 `(R, C)`."""
    return logits.astype(mx.float32).reshape(-1, logits.shape[-1])
