"""Recurrences over a sequence: Elman network, GRU and LSTM."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.checks import check_bool
from lucid_fn.numerics import is_valid_label
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.concatenation import split_evenly
from lucid_fn.ops.elementwise import sigmoid, tanh
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array, ArrayFn

Carry: TypeAlias = tuple[Array, ...]  # arrays (N, H); the first is the output
Step: TypeAlias = Callable[[Array, Array, Carry], Carry]
"""From `W_ih x + b_ih`, `W_hh h + b_hh` and the carry to the next carry."""


class RecurrentWeights(NamedTuple):
    """Weights of a recurrence; the rows of its gates are stacked."""

    weight_ih: Array  # (gates * H, D)
    weight_hh: Array  # (gates * H, H), or (gates * H, P) with a projection
    bias_ih: Array | None = None  # (gates * H,)
    bias_hh: Array | None = None  # (gates * H,)
    weight_hr: Array | None = None  # (P, H), the projection of an LSTM's output


def rnn(
    x: Array,
    weights: RecurrentWeights,
    carry: Carry,
    activation: ArrayFn = tanh,
    *,
    lengths: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, Carry]:
    """Elman recurrence: `h = activation(W_ih x + b_ih + W_hh h + b_hh)` at each step.

    Args:
        x: float, shape `(N, L, D)`.
        weights: of one gate.
        carry: `(h,)` before the first step, float, shape `(N, H)`.
        activation: function of the sum.
        lengths: number of steps of each sequence, integers in [0, L], shape `(N,)`. The
            rest is padding, which is never read: its outputs are 0, and the carry is
            that of the last step of the sequence. A length out of range gives NaN.
            `None`: all sequences have `L` steps.
        reverse: whether to run from the last step of each sequence to the first.

    Returns:
        The `h` of all steps, `(N, L, H)`, and the carry after the last one. Their dtype
        is the promoted dtype of all arrays; half precision is computed in float32.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> weights = ops.RecurrentWeights(mx.ones((1, 1)), mx.ones((1, 1)))
        >>> x, start = mx.array([[[0.5], [0.0]]]), (mx.zeros((1, 1)),)
        >>> ops.rnn(x, weights, start)[0]
        array([[[0.462117],
                [0.431808]]], dtype=float32)
        >>> ops.rnn(x, weights, start, lengths=mx.array([1]))[0]
        array([[[0.462117],
                [0]]], dtype=float32)
    """
    check_bool("rnn", reverse=reverse)
    step = rnn_step if activation is tanh else partial(_activated, activation)
    return _over_time(step, x, weights, carry, lengths, reverse)


def gru(
    x: Array,
    weights: RecurrentWeights,
    carry: Carry,
    *,
    lengths: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, Carry]:
    """Gated recurrent unit: `h = (1 - z) * n + z * h`.

    `r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)`, `z` likewise, and
    `n = tanh(W_in x + b_in + r * (W_hn h + b_hn))`. See `rnn`.

    Args:
        x: float, shape `(N, L, D)`.
        weights: of the three gates `r`, `z` and `n`, in this order.
        carry: `(h,)` before the first step, float, shape `(N, H)`.
        lengths: as in `rnn`.
        reverse: as in `rnn`.

    Returns:
        As `rnn`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> weights = ops.RecurrentWeights(mx.ones((3, 1)), mx.ones((3, 1)))
        >>> ops.gru(mx.array([[[0.5]]]), weights, (mx.zeros((1, 1)),))[0]
        array([[[0.174468]]], dtype=float32)
    """
    check_bool("gru", reverse=reverse)
    return _over_time(gru_step, x, weights, carry, lengths, reverse)


def lstm(
    x: Array,
    weights: RecurrentWeights,
    carry: Carry,
    *,
    lengths: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, Carry]:
    """Long short-term memory: `c = f * c + i * g`, `h = o * tanh(c)`.

    `i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)`, `f` and `o` likewise, and `g` with
    tanh. See `rnn`; the carry is `(h, c)`. With `weight_hr`, `h = W_hr (o * tanh(c))`.

    Args:
        x: float, shape `(N, L, D)`.
        weights: of the four gates `i`, `f`, `g` and `o`, in this order.
        carry: `(h, c)` before the first step, float, shape `(N, H)`; `h` has shape
            `(N, P)` if it is projected.
        lengths: as in `rnn`.
        reverse: as in `rnn`.

    Returns:
        As `rnn`.

    Source: the projection: Sak et al., 2014, https://arxiv.org/abs/1402.1128.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> weights = ops.RecurrentWeights(mx.ones((4, 1)), mx.ones((4, 1)))
        >>> ops.lstm(mx.array([[[0.5]]]), weights, (mx.zeros((1, 1)),) * 2)[0]
        array([[[0.17427]]], dtype=float32)
    """
    check_bool("lstm", reverse=reverse)
    projection = weights.weight_hr
    step = lstm_step if projection is None else partial(_projected, projection)
    return _over_time(step, x, weights, carry, lengths, reverse)


def rnn_step(gates_x: Array, gates_h: Array, carry: Carry) -> Carry:
    """One step of `rnn` with tanh."""
    return (tanh(gates_x + gates_h),)


def gru_step(gates_x: Array, gates_h: Array, carry: Carry) -> Carry:
    """One step of `gru`."""
    (hidden,) = carry
    reset_x, update_x, new_x = split_evenly(gates_x, 3)
    reset_h, update_h, new_h = split_evenly(gates_h, 3)
    reset, update = sigmoid(reset_x + reset_h), sigmoid(update_x + update_h)
    new = tanh(new_x + reset * new_h)
    return (new + update * (hidden - new),)


def lstm_step(gates_x: Array, gates_h: Array, carry: Carry) -> Carry:
    """One step of `lstm` without a projection."""
    i, f, g, o = split_evenly(gates_x + gates_h, 4)
    cell = sigmoid(f) * carry[1] + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(cell), cell


def _activated(
    activation: ArrayFn, gates_x: Array, gates_h: Array, carry: Carry
) -> Carry:
    return (activation(gates_x + gates_h),)


def _projected(
    projection: Array, gates_x: Array, gates_h: Array, carry: Carry
) -> Carry:
    hidden, cell = lstm_step(gates_x, gates_h, carry)
    return hidden @ projection.astype(hidden.dtype).T, cell


def _over_time(
    step: Step,
    x: Array,
    weights: RecurrentWeights,
    carry: Carry,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Carry]:
    """`run_steps` in either direction, over sequences of equal or given lengths."""
    n, length, _ = x.shape
    arrays = x, *carry, *(weight for weight in weights if weight is not None)
    dtype = mx.result_type(*arrays)
    if n == 0 or length == 0:
        y = mx.zeros((n, length, carry[0].shape[-1]), dtype)
        return y, tuple(array.astype(dtype) for array in carry)
    # Half precision is rounded once, at the end.
    wide = mx.float32 if dtype.size < 4 else dtype
    x, carry = x.astype(wide), tuple(array.astype(wide) for array in carry)
    weights = RecurrentWeights._make(
        w if w is None else w.astype(wide) for w in weights
    )

    def flipped(array: Array) -> Array:
        return array[:, ::-1] if reverse else array

    if lengths is None:
        y, carry = run_steps(step, flipped(x), None, weights, carry)
        y = flipped(y)
    else:
        valid = is_valid_label(lengths, length + 1)[:, None]  # (N, 1)
        steps = valid & (mx.arange(length) < lengths[:, None])  # (N, L)
        x = mx.where(steps[..., None], x, mx.zeros_like(x))
        # The carry may be NaN: an earlier chunk had a length out of range.
        carry = tuple(mx.where(valid, array, mx.zeros_like(array)) for array in carry)
        y, carry = run_steps(step, flipped(x), flipped(steps), weights, carry)
        padding = mx.where(valid, 0.0, mx.nan).astype(wide)
        y = mx.where(steps[..., None], flipped(y), padding[..., None])
        carry = tuple(mx.where(valid, array, padding) for array in carry)
    return y.astype(dtype), tuple(array.astype(dtype) for array in carry)


def step_by_step(
    step: Step,
    x: Array,
    steps: Array | None,
    weights: RecurrentWeights,
    carry: Carry,
) -> tuple[Array, Carry]:
    """The `h` of all steps, `(N, L, H)`, and the carry after the last one.

    The carry stays as it is where `steps` `(N, L)` is false.
    """
    # For all steps at once, with time first, so that each step reads contiguous rows.
    gates_x = x.swapaxes(0, 1) @ weights.weight_ih.T  # (L, N, gates * H)
    if weights.bias_ih is not None:
        gates_x = add_bias(gates_x, weights.bias_ih)
    outputs = []
    for t, gates in enumerate(split_evenly(gates_x, len(gates_x), axis=0)):
        gates_h = carry[0] @ weights.weight_hh.T
        if weights.bias_hh is not None:
            gates_h = add_bias(gates_h, weights.bias_hh)
        after = step(mx.squeeze(gates, 0), gates_h, carry)
        carry = after if steps is None else choose(steps[:, t : t + 1], after, carry)
        outputs.append(carry[0])
    return mx.stack(outputs, axis=1), carry


run_steps = replaceable(step_by_step)
"""The recurrence over a whole sequence."""


def choose(where: Array, new: Carry, old: Carry) -> Carry:
    """Selects the new arrays where `where` is true, and the old ones elsewhere."""
    return tuple(mx.where(where, a, b) for a, b in zip(new, old, strict=True))
