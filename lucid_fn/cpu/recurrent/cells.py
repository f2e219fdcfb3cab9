"""One step of the recurrences, with features first, and its derivative.

Sigmoids are written with tanh, `sigmoid(2z) = 1/2 + tanh(z) / 2`, so that all gates of
a step go through one function; the factor of `z` is in the weights (`Cell.scales`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.ops import recurrent
from lucid_fn.types import Array, ArrayFn

Carry: TypeAlias = tuple[Array, ...]  # of arrays (H, N); the first is put out
Arrays: TypeAlias = Sequence[Array]
Step: TypeAlias = Callable[[ArrayFn, Array, Array, Carry], tuple[Carry, Arrays]]
Pulled: TypeAlias = tuple[Arrays, Arrays, Array | None, Carry]
Pull: TypeAlias = Callable[[Carry, Arrays, Carry], Pulled]


class Cell(NamedTuple):
    """A step and its derivative.

    `scales` are what the rows of each gate's weights are multiplied by, and `arrays` is
    the number of arrays in the carry. `step` is from
    tanh, the gates of the input and of the carry, both `(gates * H, N)`, and the carry
    to the next carry and what `pull` needs. `pull` is from the carry before, that, and
    the gradient of the next carry to those of both kinds of gates, in pieces `(H, N)`,
    of `h` before, as far as it does not come through the gates (`None`: it all does),
    and of the rest of the carry before.
    """

    scales: tuple[float, ...]
    arrays: int
    step: Step
    pull: Pull


def _rnn_step(
    tanh: ArrayFn, gates_x: Array, gates_h: Array, carry: Carry
) -> tuple[Carry, Arrays]:
    hidden = tanh(gates_x + gates_h)
    return (hidden,), (hidden,)


def _rnn_pull(before: Carry, saved: Arrays, grads: Carry) -> Pulled:
    (hidden,), (grad,) = saved, grads
    d_gates = [grad * (1.0 - hidden * hidden)]
    return d_gates, d_gates, None, ()


def _gru_step(
    tanh: ArrayFn, gates_x: Array, gates_h: Array, carry: Carry
) -> tuple[Carry, Arrays]:
    (hidden,) = carry
    rows = 2 * len(hidden)
    gates = 0.5 + 0.5 * tanh(gates_x[:rows] + gates_h[:rows])
    reset, update = mx.split(gates, 2)
    new_h = gates_h[rows:]
    new = tanh(gates_x[rows:] + reset * new_h)
    return (new + update * (hidden - new),), (reset, update, new, new_h)


def _gru_pull(before: Carry, saved: Arrays, grads: Carry) -> Pulled:
    (hidden,), (reset, update, new, new_h), (grad,) = before, saved, grads
    d_new = grad * (1.0 - update) * (1.0 - new * new)
    # sigmoid's slope is y * (1 - y), twice that in terms of the halved gate.
    d_reset = 2.0 * d_new * new_h * (reset * (1.0 - reset))
    d_update = 2.0 * grad * (hidden - new) * (update * (1.0 - update))
    d_gates_x = [d_reset, d_update, d_new]
    return d_gates_x, [d_reset, d_update, d_new * reset], grad * update, ()


def _lstm_step(
    tanh: ArrayFn, gates_x: Array, gates_h: Array, carry: Carry
) -> tuple[Carry, Arrays]:
    gates = tanh(gates_x + gates_h)
    write, forget, new, read = mx.split(gates, 4)
    cell = (0.5 + 0.5 * forget) * carry[1] + (0.5 + 0.5 * write) * new
    # The barrier: with what follows in one kernel, g++ gives up on vectors.
    cell = mx.contiguous(cell)
    out = tanh(cell)
    return ((0.5 + 0.5 * read) * out, cell), (write, forget, new, read, out)


def _lstm_pull(before: Carry, saved: Arrays, grads: Carry) -> Pulled:
    write, forget, new, read, out = saved  # of the gates, tanh and not the sigmoid
    d_hidden, d_cell = grads
    d_read = d_hidden * out * (0.5 - 0.5 * (read * read))
    d_cell = d_cell + d_hidden * (0.5 + 0.5 * read) * (1.0 - out * out)
    d_write = d_cell * new * (0.5 - 0.5 * (write * write))
    d_forget = d_cell * before[1] * (0.5 - 0.5 * (forget * forget))
    d_new = d_cell * (0.5 + 0.5 * write) * (1.0 - new * new)
    d_gates = [d_write, d_forget, d_new, d_read]
    d_before = d_cell * (0.5 + 0.5 * forget)
    return d_gates, d_gates, None, (d_before,)


RNN = Cell((1.0,), 1, _rnn_step, _rnn_pull)
GRU = Cell((0.5, 0.5, 1.0), 1, _gru_step, _gru_pull)
LSTM = Cell((0.5, 0.5, 1.0, 0.5), 2, _lstm_step, _lstm_pull)

CELLS: dict[Callable[..., Any], Cell] = {
    recurrent.rnn_step: RNN,
    recurrent.gru_step: GRU,
    recurrent.lstm_step: LSTM,
}
"""The cells of the plain steps that have one."""
