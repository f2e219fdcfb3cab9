"""Recurrences over a sequence, with one product for all steps wherever one can be.

A step has a product of its own, `weight_hh @ hidden`, and a few small kernels, each of
which costs 5 to 15 microseconds however little it computes. So the tuned formulation

- has features first, `(gates * H, N)`: the gates of a step are pieces of memory;
- has one quotient for all gates of a step, tanh and sigmoid alike;
- has its own derivative, with one kernel and one product a step, and the gradient of
  each weight in a single product over all steps.

Derivatives of the derivative, and those in a direction, are the plain formulation's.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.ops.custom_derivative import given_derivative
from lucid_fn.ops.elementary import sigmoid, tanh
from lucid_fn.ops.recurrent_cells import GRU, LSTM, RNN, Cell
from lucid_fn.ops.seam import tuned
from lucid_fn.types import Array, ArrayFn

Carry: TypeAlias = tuple[Array, ...]  # of arrays (N, H); the first is put out
Step: TypeAlias = Callable[[Array, Array, Carry], Carry]
Arrays: TypeAlias = Sequence[Array]


class RecurrentWeights(NamedTuple):
    """Weights of a recurrence, in which the rows of its gates follow each other."""

    weight_ih: Array  # (gates * H, D)
    weight_hh: Array  # (gates * H, H)
    bias_ih: Array | None = None  # (gates * H,)
    bias_hh: Array | None = None  # (gates * H,)


def rnn(
    x: Array, weights: RecurrentWeights, carry: Carry, activation: ArrayFn = tanh
) -> tuple[Array, Carry]:
    """`h = activation(W_ih x + b_ih + W_hh h + b_hh)`, from step to step.

    Args:
        x: float, shape `(N, L, D)`.
        weights: of one gate.
        carry: `(h,)` before the first step, float, shape `(N, H)`.
        activation: function of the sum.

    Returns:
        The `h` of all steps, `(N, L, H)`, and the carry after the last; of the dtype of
        `x`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> weights = ops.RecurrentWeights(mx.ones((1, 1)), mx.ones((1, 1)))
        >>> x, start = mx.array([[[0.5], [0.0]]]), (mx.zeros((1, 1)),)
        >>> ops.rnn(x, weights, start)[0]
        array([[[0.462117],
                [0.431808]]], dtype=float32)
    """
    if tuned() and activation is tanh:
        return _tuned(RNN, x, weights, carry)

    def step(gates_x: Array, gates_h: Array, carry: Carry) -> Carry:
        return (activation(gates_x + gates_h),)

    return _plain(step, x, weights, carry)


def gru(x: Array, weights: RecurrentWeights, carry: Carry) -> tuple[Array, Carry]:
    """`h = (1 - z) * n + z * h`, where `r`, `z` and `n` are the gates, in this order.

    `r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)`, `z` alike, and
    `n = tanh(W_in x + b_in + r * (W_hn h + b_hn))`. See `rnn`.

    Args:
        x: float, shape `(N, L, D)`.
        weights: of three gates, one after the other.
        carry: `(h,)` before the first step, float, shape `(N, H)`.

    Returns:
        As `rnn`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> weights = ops.RecurrentWeights(mx.ones((3, 1)), mx.ones((3, 1)))
        >>> ops.gru(mx.array([[[0.5]]]), weights, (mx.zeros((1, 1)),))[0]
        array([[[0.174468]]], dtype=float32)
    """
    if tuned():
        return _tuned(GRU, x, weights, carry)

    def step(gates_x: Array, gates_h: Array, carry: Carry) -> Carry:
        (hidden,) = carry
        reset_x, update_x, new_x = mx.split(gates_x, 3, axis=-1)
        reset_h, update_h, new_h = mx.split(gates_h, 3, axis=-1)
        reset, update = sigmoid(reset_x + reset_h), sigmoid(update_x + update_h)
        new = tanh(new_x + reset * new_h)
        return (new + update * (hidden - new),)

    return _plain(step, x, weights, carry)


def lstm(x: Array, weights: RecurrentWeights, carry: Carry) -> tuple[Array, Carry]:
    """`c = f * c + i * g`, `h = o * tanh(c)`, where the gates are `i`, `f`, `g`, `o`.

    `i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)`, `f` and `o` alike, and `g` with tanh.
    See `rnn`; the carry is `(h, c)`.

    Args:
        x: float, shape `(N, L, D)`.
        weights: of four gates, one after the other.
        carry: `(h, c)` before the first step, float, both of shape `(N, H)`.

    Returns:
        As `rnn`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> weights = ops.RecurrentWeights(mx.ones((4, 1)), mx.ones((4, 1)))
        >>> ops.lstm(mx.array([[[0.5]]]), weights, (mx.zeros((1, 1)),) * 2)[0]
        array([[[0.17427]]], dtype=float32)
    """
    if tuned():
        return _tuned(LSTM, x, weights, carry)

    def step(gates_x: Array, gates_h: Array, carry: Carry) -> Carry:
        write, forget, new, read = mx.split(gates_x + gates_h, 4, axis=-1)
        cell = sigmoid(forget) * carry[1] + sigmoid(write) * tanh(new)
        return sigmoid(read) * tanh(cell), cell

    return _plain(step, x, weights, carry)


def _plain(
    step: Step, x: Array, weights: RecurrentWeights, carry: Carry
) -> tuple[Array, Carry]:
    """`carry = step(W_ih x + b_ih, W_hh h + b_hh, carry)`, where `h` is `carry[0]`."""
    # All steps at once, and time first, so that what a step reads lies together.
    gates_x = x.swapaxes(0, 1) @ weights.weight_ih.T  # (L, N, gates * H)
    if weights.bias_ih is not None:
        gates_x = gates_x + weights.bias_ih
    outputs = []
    for gates in mx.split(gates_x, len(gates_x)):  # `unstack` has a slower gradient
        gates_h = carry[0] @ weights.weight_hh.T
        if weights.bias_hh is not None:
            gates_h = gates_h + weights.bias_hh
        carry = step(mx.squeeze(gates, 0), gates_h, carry)
        outputs.append(carry[0])
    return mx.stack(outputs, axis=1), carry


# ---- the tuned formulation ----

# x * P(x^2) / Q(x^2) is tanh to 5 ulp up to the edge: Eigen's. At the edge, which is
# ours, it is the float before 1, and the slope of what is beyond is 1e-7.
_EDGE = 7.957153797149658
_P = (
    4.89352455891786e-03,
    6.37261928875436e-04,
    1.48572235717979e-05,
    5.12229709037114e-08,
    -8.60467152213735e-11,
    2.00018790482477e-13,
    -2.76076847742355e-16,
)
_Q = (
    4.89352518554385e-03,
    2.26843463243900e-03,
    1.18534705686654e-04,
    1.19825839466702e-06,
)


def _quotient(x: Array) -> Array:
    """tanh in two kernels, where the more exact `ops.tanh` has three."""
    x = mx.contiguous(mx.where(x > _EDGE, _EDGE, mx.where(x < -_EDGE, -_EDGE, x)))
    s = x * x
    t = s * s
    p = (_P[0] + _P[1] * s) + t * (_P[2] + _P[3] * s)
    p = p + (t * t) * ((_P[4] + _P[5] * s) + t * _P[6])
    q = (_Q[0] + _Q[1] * s) + t * (_Q[2] + _Q[3] * s)
    return (x * p) / q


def _tuned(
    cell: Cell, x: Array, weights: RecurrentWeights, carry: Carry
) -> tuple[Array, Carry]:
    """`_plain` of the cell's step; half precision is computed in float32."""
    dtype = x.dtype
    n, length, features = x.shape
    hidden_size = carry[0].shape[-1]
    rows = len(cell.scales) * hidden_size
    scales = mx.repeat(mx.array(cell.scales), hidden_size)[:, None]

    def scaled(weight: Array | None) -> Array:
        if weight is None:
            return mx.zeros((rows, 1))
        return weight.reshape(rows, -1).astype(mx.float32) * scales

    weight_ih, weight_hh, bias_ih, bias_hh = map(scaled, weights)
    flat = x.swapaxes(0, 1).reshape(length * n, features).astype(mx.float32)
    gates_x = (weight_ih @ flat.T + bias_ih).reshape(rows, length, n)
    start = [array.T.astype(mx.float32) for array in carry]
    y, *end = _recurrence(cell)(gates_x, weight_hh, bias_hh, *start)  # (H, L, N)
    return y.T.astype(dtype), tuple(array.T.astype(dtype) for array in end)


@lru_cache
def _recurrence(cell: Cell) -> Callable[..., Arrays]:
    """`(gates_x, weight, bias, *carry) -> (y, *carry)`, all with features first.

    `gates_x` is `(gates * H, L, N)`, `weight` `(gates * H, H)`, `bias` `(gates * H,
    1)`, an array of the carry `(H, N)`, and `y` `(H, L, N)`.
    """

    def plain(*args: Array) -> Arrays:
        return _run(cell, mx.tanh, args)[0]

    def plain_vjp(args: Arrays, grads: Arrays) -> Arrays:
        return mx.vjp(plain, list(args), list(grads))[1]

    def plain_jvp(args: Arrays, tangents: Arrays) -> Arrays:
        return mx.jvp(plain, list(args), list(tangents))[1]

    def vjp(args: Arrays, values: Arrays, saved: Arrays, grads: Arrays) -> Arrays:
        inputs, (y, *_) = (*args, *grads), values
        fixed = [mx.stop_gradient(array) for array in (*inputs, y, *saved)]
        a, b = len(args), len(inputs)
        found = _run_back(cell, fixed[:a], fixed[a:b], fixed[b], fixed[b + 1 :])

        def again(*inputs: Array) -> Arrays:
            return plain_vjp(inputs[:a], inputs[a:])

        return given_derivative(
            inputs,
            found,
            [],
            vjp=lambda inputs, _values, _saved, grads: mx.vjp(
                again, list(inputs), list(grads)
            )[1],
            jvp=lambda inputs, tangents: mx.jvp(again, list(inputs), list(tangents))[1],
        )

    def recurrence(*args: Array) -> Arrays:
        fixed = [mx.stop_gradient(array) for array in args]
        values, saved = _run(cell, _quotient, fixed)
        return given_derivative(args, values, saved, vjp=vjp, jvp=plain_jvp)

    return recurrence


def _run(cell: Cell, tanh: ArrayFn, args: Arrays) -> tuple[Arrays, Arrays]:
    """All steps; also what `_run_back` reads, of one step after the other."""
    gates_x, weight, bias, *start = args
    rows, length, n = gates_x.shape
    by_step = mx.split(gates_x.swapaxes(0, 1).reshape(length * rows, n), length)
    bias = mx.contiguous(mx.broadcast_to(bias, (rows, n)))
    carry: Carry = tuple(start)
    outputs, saved = [], []
    for gates in by_step:
        before = carry
        gates_h = weight @ carry[0] + bias  # `addmm` cannot be mapped over bias alone
        carry, kept = cell.step(tanh, gates, gates_h, carry)
        outputs.append(carry[0])
        saved += [*before, *kept]
    y = mx.concatenate(outputs, axis=1).reshape(-1, length, n)
    return (y, *carry), saved


def _run_back(
    cell: Cell, args: Arrays, grads: Arrays, y: Array, saved: Arrays
) -> Arrays:
    """The gradients of `args`, from the last step to the first."""
    gates_x, weight, _, *start = args
    rows, length, n = gates_x.shape
    size, carried, held = len(start[0]), len(start), len(saved) // length
    dy = mx.split(grads[0].swapaxes(0, 1).reshape(length * size, n), length)
    d_hidden, d_others = grads[1], tuple(grads[2:])
    d_gates_x, d_gates_h = [], []
    for t in reversed(range(length)):
        kept = saved[t * held : (t + 1) * held]
        d_carry = (d_hidden + dy[t], *d_others)
        dx, dh, direct, d_others = cell.pull(
            tuple(kept[:carried]), kept[carried:], d_carry
        )
        d_gates_x.append(mx.concatenate(list(dx)))
        d_gates_h.append(d_gates_x[-1] if dh is dx else mx.concatenate(list(dh)))
        through_gates = weight.T @ d_gates_h[-1]
        d_hidden = through_gates if direct is None else direct + through_gates
    d_x = mx.concatenate(d_gates_x[::-1], axis=1)  # (gates * H, L * N)
    d_h = d_x if dh is dx else mx.concatenate(d_gates_h[::-1], axis=1)
    before = mx.concatenate([start[0], y.reshape(size, -1)[:, :-n]], axis=1)
    d_bias = mx.sum(d_h, axis=1, keepdims=True)
    return d_x.reshape(rows, length, n), d_h @ before.T, d_bias, d_hidden, *d_others
