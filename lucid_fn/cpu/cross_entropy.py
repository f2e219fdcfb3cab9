"""Cross-entropy with integer labels on CPUs; both passes share their exponentials."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import multiply, subtract
from lucid_fn.cpu.memory.row_reductions import row_max, row_sum
from lucid_fn.cpu.parallel.streams import concat, map_large
from lucid_fn.cpu.softmax import is_small
from lucid_fn.ops.cross_entropy import cross_entropy_of_labels, tangent
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.elementwise import exp_of_negative
from lucid_fn.ops.seam import plain
from lucid_fn.types import Array


def cross_entropy(logits: Array, labels: Array) -> Array:
    """`ops.cross_entropy.cross_entropy_of_labels`."""
    if is_small(logits) or logits.dtype == mx.float64:
        with plain():
            return cross_entropy_of_labels(logits, labels)
    return cast(Array, _cross_entropy(logits, labels))


class _Exponentials(NamedTuple):
    """`exp(logits - largest)` and its sum for each row."""

    largest: Array  # (R, 1)
    e: Array  # (R, C)
    total: Array  # (R, 1)


def _exponentials(logits: Array) -> _Exponentials:
    # The loss does not depend on what is subtracted, so no gradient flows through it.
    largest = mx.stop_gradient(row_max(logits))
    e = exp_of_negative(subtract(logits, largest))
    return _Exponentials(largest, e, row_sum(e))


@custom_function
def _cross_entropy(logits: Array, labels: Array) -> Array:
    def part(logits: Array, column: Array) -> Array:
        largest, _, total = _exponentials(logits.astype(mx.float32))
        at_label = mx.take_along_axis(logits, column, axis=1).astype(mx.float32)
        return mx.log(total) - (at_label - largest)

    loss = concat(map_large(part, *_rows(logits, labels)))
    return loss.reshape(labels.shape).astype(logits.dtype)


@_cross_entropy.vjp
def _vjp(primals: Sequence[Array], g: Array, _: Array) -> tuple[Array, Array]:
    logits, labels = primals

    def part(logits: Array, column: Array, g: Array) -> Array:
        _, e, total = _exponentials(logits.astype(mx.float32))
        # (e - total * one_hot(label)) / total, without the one-hot array: subtracting
        # changes only one number in each row.
        at_label = mx.take_along_axis(e, column, axis=1) - total
        e = mx.put_along_axis(e, column, at_label, axis=1)
        return multiply(e, g.astype(mx.float32) / total).astype(logits.dtype)

    dlogits = concat(map_large(part, *_rows(logits, labels), g.reshape(-1, 1)))
    return dlogits.reshape(logits.shape), mx.zeros_like(labels)


_cross_entropy.jvp(tangent)


def _rows(logits: Array, labels: Array) -> tuple[Array, Array]:
    """`(..., C)` to `(R, C)`, and the labels to `(R, 1)`."""
    return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1, 1)
