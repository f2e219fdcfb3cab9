"""Connectionist temporal classification (CTC)."""

from typing import cast

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
    check_bool,
    check_count,
    check_float,
    check_integer,
    shape_error,
)
from lucid_fn.losses.base import Reduction, reduce
from lucid_fn.numerics import is_valid_label, widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.types import Array

# The logarithm of 0, but finite: the difference of two infinities would be NaN.
_LOG_ZERO = -1e30


def ctc(
    logits: Array,
    labels: Array,
    *,
    logit_lengths: Array,
    label_lengths: Array,
    blank: int = 0,
    zero_infinity: bool = False,
    reduction: Reduction = "none",
) -> Array:
    """CTC loss: the negative log-probability of unaligned labels, in nats.

    An alignment assigns a class to each frame, and gives the labels once its repeats
    are merged and then its blanks dropped. The loss is
    `-log(sum over alignments of prod_t softmax(logits_t)[class_t])`, computed by the
    forward algorithm in log space.

    The loop over the frames is in Python: the graph has about ten small operations per
    frame, and ten more for the gradient.

    Args:
        logits: unnormalized log-probabilities, float, shape `(N, T, num_classes)`: `T`
            frames of each of `N` sequences. They may be log-probabilities too. Frames
            beyond the length of a sequence are ignored, even if they are NaN.
        labels: class indices, integer, shape `(N, S)`; those beyond the length of a row
            are ignored. A label outside the classes, or equal to `blank`, gives NaN.
        logit_lengths: frames of each sequence, integer, shape `(N,)`, in [0, T]; any
            other gives NaN.
        label_lengths: labels of each sequence, integer, shape `(N,)`, in [0, S]; any
            other gives NaN.
        blank: the class that stands for no label.
        zero_infinity: whether to replace an infinite loss by 0.
        reduction: `"none"`, `"sum"`, or `"mean"`, which is the mean of
            `loss / max(label_length, 1)`, as in PyTorch.

    Returns:
        Float array of shape `(N,)`, or `()` if reduced, computed in float32 at least;
        at least 0, and infinite, with a gradient of 0, where there are too few frames
        for the labels.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape is wrong, `blank` is not a class, or `reduction` is none
            of the three.

    Source: Graves et al., 2006, "Connectionist temporal classification", section 4.1;
    `torch.nn.functional.ctc_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> logits = mx.zeros((1, 2, 3))  # labels [1] in 2 frames: 11, 1-, -1 of 9
        >>> one, two = mx.array([1]), mx.array([2])
        >>> losses.ctc(logits, mx.array([[1]]), logit_lengths=two, label_lengths=one)
        array([1.09861], dtype=float32)
    """
    check_bool("ctc", zero_infinity=zero_infinity)
    _check(logits, labels, logit_lengths, label_lengths)
    frames, num_classes = logits.shape[1:]
    blank = check_count("ctc", "blank", blank, at_least=0, below=num_classes)
    valid = is_valid_label(logit_lengths, frames + 1)
    valid = mx.logical_and(valid, is_valid_label(label_lengths, labels.shape[1] + 1))
    present = mx.arange(frames) < logit_lengths[:, None]  # (N, T)
    # Zeros for absent frames: a NaN there would come back in the gradient.
    log_probs = ops.log_softmax(mx.where(present[..., None], widen(logits), 0))
    last = 2 * label_lengths.astype(mx.int32)[:, None]  # (N, 1), the last state

    # The states of an alignment: blank, label, blank, ..., label, blank.
    known = is_valid_label(labels, num_classes)
    labels = mx.where(known, labels.astype(mx.int32), -1)
    labels = mx.where(labels == blank, -1, labels)
    classes = _interleave(labels, blank)  # (N, L), L = 2 S + 1
    states = mx.arange(classes.shape[1])
    classes = mx.where(states <= last, classes, blank)
    two_before = mx.pad(classes, [(0, 0), (2, 0)], constant_values=blank)[:, :-2]
    skips = _log(mx.logical_and(classes != blank, classes != two_before))

    inside = is_valid_label(classes, num_classes)
    index = mx.broadcast_to(
        mx.where(inside, classes, 0)[:, None], (classes.shape[0], frames, states.size)
    )
    emitted = mx.take_along_axis(log_probs, index, axis=-1)  # (N, T, L)
    emitted = mx.maximum(emitted, _LOG_ZERO) + _log(states <= last)[:, None]
    emitted = mx.where(inside[:, None], emitted, mx.nan)
    active = present.T[..., None]  # (T, N, 1)
    end = _log(states == last)
    emitted = mx.moveaxis(emitted, 0, 1)  # (T, N, L)
    outputs = _likelihood(emitted, active, skips, end)
    likelihood, _ = cast(tuple[Array, Array], outputs)
    impossible = 0.0 if zero_infinity else mx.inf
    losses = mx.where(likelihood < _LOG_ZERO / 2, impossible, -likelihood)
    losses = mx.where(valid, losses, mx.nan)
    if reduction == "mean":
        losses = losses / mx.maximum(label_lengths, 1)
    return reduce("ctc", losses, reduction, losses.dtype)


def _forward(
    emitted: Array, active: Array, skips: Array, end: Array
) -> tuple[Array, Array]:
    """The log-likelihood `(N,)` of all paths, and the forward variables `(T, N, L)`.

    Its derivative is the posterior of the states, from a backward sweep. The derivative
    of the loop itself would keep an array of shape `(T, N, L)` for each frame.
    """
    start = mx.broadcast_to(_log(mx.arange(end.shape[1]) == 0), end.shape)
    forward, log_scale = _sweep(emitted, active, skips, start)
    label_before = mx.pad(end[:, 1:], [(0, 0), (0, 1)], constant_values=_LOG_ZERO)
    paths = forward[-1] + mx.maximum(end, label_before)
    return mx.logsumexp(paths, axis=-1) + log_scale, forward


_likelihood = custom_function(_forward)


@_likelihood.vjp
def _backward(
    primals: tuple[Array, ...],
    cotangents: tuple[Array, ...],
    outputs: tuple[Array, ...],
) -> tuple[Array, ...]:
    emitted, active, skips, end = primals
    likelihood, forward = outputs
    # The same sweep from the end, with time and states reversed.
    back = mx.pad(skips[:, ::-1], [(0, 0), (2, 0)], constant_values=_LOG_ZERO)
    backward, _ = _sweep(
        emitted[::-1, :, ::-1], active[::-1], back[:, :-2], end[:, ::-1]
    )
    paths = forward + backward[::-1, :, ::-1] - emitted
    counts = mx.logical_and(active, (likelihood >= _LOG_ZERO / 2)[:, None])
    posterior = mx.where(counts, mx.softmax(paths, axis=-1), 0)
    rest = (mx.zeros_like(x) for x in primals[1:])
    return cotangents[0][:, None] * posterior, *rest


def _sweep(
    emitted: Array, active: Array, skips: Array, start: Array
) -> tuple[Array, Array]:
    """Forward variables in log space `(T, N, L)`, and the log-scale of the last `(N,)`.

    They are relative to the largest of each frame, so that float32 keeps its digits
    over long sequences; the log-scale is the sum of what was subtracted.
    """
    state, log_scale = start, mx.zeros(start.shape[:1])
    sweep = []
    for frame, is_active in zip(emitted, active, strict=True):
        before = mx.pad(state, [(0, 0), (2, 0)], constant_values=_LOG_ZERO)
        stay_or_move = mx.logaddexp(state, before[:, 1:-1])
        moved = mx.logaddexp(stay_or_move, before[:, :-2] + skips) + frame
        moved = mx.where(is_active, moved, state)
        largest = mx.stop_gradient(mx.max(moved, axis=-1, keepdims=True))
        state = moved - largest
        log_scale = log_scale + largest[:, 0]
        sweep.append(state)
    return mx.stack(sweep), log_scale


def _interleave(labels: Array, blank: int) -> Array:
    """`(N, S)` labels with blanks around each: `(N, 2 S + 1)`."""
    pairs = mx.stack([mx.full(labels.shape, blank, mx.int32), labels], axis=-1)
    joined = pairs.reshape(labels.shape[0], 2 * labels.shape[1])
    return mx.pad(joined, [(0, 0), (0, 1)], constant_values=blank)


def _log(possible: Array) -> Array:
    """0 where `possible` is true, else the logarithm of 0."""
    return mx.where(possible, 0.0, _LOG_ZERO)


def _check(
    logits: Array,
    labels: Array,
    logit_lengths: Array,
    label_lengths: Array,
) -> None:
    check_float("ctc", logits=logits)
    check_integer(
        "ctc", labels=labels, logit_lengths=logit_lengths, label_lengths=label_lengths
    )
    if logits.ndim != 3 or 0 in logits.shape:
        shape = "(N, T, num_classes), of which none is 0"
        raise shape_error("ctc", "logits", logits, shape, axes=3)
    n = logits.shape[0]
    if labels.ndim != 2 or labels.shape[0] != n:
        raise shape_error("ctc", "labels", labels, f"({n}, S)")
    for name, lengths in (
        ("logit_lengths", logit_lengths),
        ("label_lengths", label_lengths),
    ):
        if lengths.shape != (n,):
            raise ValueError(f"ctc: {name} must have shape ({n},), got {lengths.shape}")
