"""The step of each recurrent cell, with features first, and its derivative.

Sigmoids are computed as `sigmoid(2z) = 1/2 + tanh(z) / 2`, so that one tanh serves all
gates of a step; the factor 2 is moved into the weights (`Cell.scales`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.ops import recurrent
from lucid_fn.types import Array, ArrayFn

Carry: TypeAlias = tuple[Array, ...]  # of arrays (H, N); the first is the output
Arrays: TypeAlias = Sequence[Array]
Step: TypeAlias = Callable[[ArrayFn, Array, Array, Array, Carry], tuple[Carry, Arrays]]
Grads: TypeAlias = tuple[Arrays, Arrays, Array | None, Carry]
Backward: TypeAlias = Callable[[Carry, Arrays, Carry], Grads]


class Cell(NamedTuple):
    """A step and its derivative.

    The overhead of an operation is about as long as its arithmetic here. So a sum and
    its tanh are one kernel, and `step` and `backward` write common subexpressions
    differently: otherwise `mx.compile` would merge them into extra kernels.
    """

    scales: tuple[float, ...]
    """Factor of the weights of each gate."""

    arrays: int
    """Number of arrays in the carry."""

    separate: int
    """Number of last gates whose `bias_hh` is not part of the sum of the biases."""

    step: Step
    """`(tanh, gates_x, gates_h, bias, carry)` to the next carry and saved arrays.

    The gates of the input, with their biases, and of the carry are `(gates * H, N)`;
    the separate bias is `(H, N)`.
    """

    backward: Backward
    """`(carry, saved, d_next_carry)` to `(d_gates_x, d_gates_h, dh, d_rest)`.

    The gradients of the gates are lists of `(H, N)`, and `dh` is the part of the
    gradient of the previous `h` that does not pass through the gates, or `None`.
    `d_rest` are the gradients of the other arrays of the previous carry.
    """


def _rnn_step(
    tanh: ArrayFn, gates_x: Array, gates_h: Array, bias: Array, carry: Carry
) -> tuple[Carry, Arrays]:
    hidden = tanh(gates_x + gates_h)
    return (hidden,), (hidden,)


def _rnn_backward(before: Carry, saved: Arrays, grads: Carry) -> Grads:
    (hidden,), (grad,) = saved, grads
    d_gates = [grad * (1.0 - hidden * hidden)]
    return d_gates, d_gates, None, ()


def _gru_step(
    tanh: ArrayFn, gates_x: Array, gates_h: Array, bias: Array, carry: Carry
) -> tuple[Carry, Arrays]:
    (hidden,) = carry
    rows = [2 * hidden.shape[-2]]
    (both_x, new_x), (both_h, new_h) = (
        mx.split(gates, rows, axis=-2) for gates in (gates_x, gates_h)
    )
    reset, update = mx.split(tanh(both_x + both_h), 2, axis=-2)
    new_h = new_h + bias
    new = tanh(new_x + (0.5 + 0.5 * reset) * new_h)
    hidden = new + (0.5 + 0.5 * update) * (hidden - new)
    return (hidden,), (reset, update, new, new_h)


def _gru_backward(before: Carry, saved: Arrays, grads: Carry) -> Grads:
    (hidden,), (reset, update, new, new_h), (grad,) = before, saved, grads
    d_new = grad * (0.5 - 0.5 * update) * (1.0 - new * new)
    d_reset = d_new * new_h * (0.5 - 0.5 * (reset * reset))
    d_update = grad * (new - hidden) * (0.5 * (update * update) - 0.5)
    d_gates_x = [d_reset, d_update, d_new]
    d_gates_h = [d_reset, d_update, d_new * (0.5 * (1.0 + reset))]
    return d_gates_x, d_gates_h, grad * (0.5 * (1.0 + update)), ()


def _lstm_step(
    tanh: ArrayFn, gates_x: Array, gates_h: Array, bias: Array, carry: Carry
) -> tuple[Carry, Arrays]:
    gates = tanh(gates_x + gates_h)
    write, forget, new, read = mx.split(gates, 4, axis=-2)
    cell = (0.5 + 0.5 * forget) * carry[1] + (0.5 + 0.5 * write) * new
    out = tanh(cell)
    return ((0.5 + 0.5 * read) * out, cell), (write, forget, new, read, out)


def _lstm_backward(before: Carry, saved: Arrays, grads: Carry) -> Grads:
    write, forget, new, read, out = saved  # gates as tanh, before the sigmoid
    d_hidden, d_cell = grads
    d_read = d_hidden * out * (0.5 - 0.5 * (read * read))
    d_cell = d_cell + d_hidden * (0.5 * (1.0 + read)) * (1.0 - out * out)
    d_write = d_cell * new * (0.5 - 0.5 * (write * write))
    d_forget = d_cell * before[1] * (0.5 - 0.5 * (forget * forget))
    d_new = d_cell * (0.5 * (1.0 + write)) * (1.0 - new * new)
    d_gates = [d_write, d_forget, d_new, d_read]
    d_before = d_cell * (0.5 * (1.0 + forget))
    return d_gates, d_gates, None, (d_before,)


RNN = Cell((1.0,), 1, 0, _rnn_step, _rnn_backward)
GRU = Cell((0.5, 0.5, 1.0), 1, 1, _gru_step, _gru_backward)
LSTM = Cell((0.5, 0.5, 1.0, 0.5), 2, 0, _lstm_step, _lstm_backward)

CELLS: dict[Callable[..., Any], Cell] = {
    recurrent.rnn_step: RNN,
    recurrent.gru_step: GRU,
    recurrent.lstm_step: LSTM,
}
"""The tuned cells by their plain steps."""
