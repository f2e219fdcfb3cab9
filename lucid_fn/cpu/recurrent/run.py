"""Recurrences on CPUs.

A step is one product, `weight_hh @ hidden`, and a few small kernels, each of which
costs 5 to 15 microseconds however little it computes. So the tuned formulation

- puts features first, `(gates * H, N)`, so that gates are contiguous;
- computes all gates of a step, tanh and sigmoid alike, by one rational function;
- has its own vjp, with one kernel and one product for each step, and the gradient of
  each weight in a single product over all steps.

Second derivatives and jvps are those of the plain formulation.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn.cpu import runtime
from lucid_fn.cpu.memory.rows import transpose_rows
from lucid_fn.cpu.recurrent.cells import CELLS, Arrays, Carry, Cell
from lucid_fn.cpu.small_products import piece_rows
from lucid_fn.numerics import sum_rows
from lucid_fn.ops.custom_derivative import given_derivative
from lucid_fn.ops.recurrent import RecurrentWeights, Step, choose, step_by_step
from lucid_fn.ops.seam import current_part
from lucid_fn.types import Array, ArrayFn

# Eigen's x * P(x^2) / Q(x^2) is tanh to 5 ulp. At our bound it is the largest float
# below 1, where the slope of tanh is 1e-7.
_BOUND = 7.957153797149658
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


_MIN_ROWS = 16  # of a piece of the recurrent weight


def _fused_tanh(x: Array) -> Array:
    """tanh that fuses with the sum it is applied to; `ops.tanh` takes three kernels.

    11 operations deep, the most that `mx.compile` fuses.
    """
    x = mx.minimum(mx.maximum(x, -_BOUND), _BOUND)
    s = x * x
    t = s * s
    p = (_P[0] + _P[1] * s) + t * (_P[2] + _P[3] * s)
    p = p + (t * t) * ((_P[4] + _P[5] * s) + t * _P[6])
    q = (_Q[0] + _Q[1] * s) + t * (_Q[2] + _Q[3] * s)
    return (x * p) / q


def run_steps(
    step: Step,
    x: Array,
    steps: Array | None,
    weights: RecurrentWeights,
    carry: Carry,
) -> tuple[Array, Carry]:
    """`ops.recurrent.run_steps`, tuned for float32 and the steps in `CELLS`."""
    cell = CELLS.get(step)
    if cell is None or x.dtype != mx.float32:
        return step_by_step(step, x, steps, weights, carry)
    hidden_size = carry[0].shape[-1]
    scales = _scales(cell, hidden_size)

    def scaled(weight: Array | None) -> Array:
        if weight is None:
            return mx.zeros_like(scales)
        return weight.reshape(len(scales), -1) * scales

    weight_ih, weight_hh, bias_ih, bias_hh = map(scaled, weights[:4])
    by_step = mx.contiguous(x.transpose(1, 2, 0))  # (L, D, N)
    start = [array.T for array in carry]
    # Float, since gradients of custom functions are float.
    masks = [] if steps is None else [steps.T.astype(mx.float32)]  # (L, N)
    run = _recurrence(cell)
    y, *end = run(by_step, weight_ih, bias_ih, weight_hh, bias_hh, *start, *masks)
    return y.transpose(2, 0, 1), tuple(array.T for array in end)


@lru_cache(maxsize=64)
def _scales(cell: Cell, hidden_size: int) -> Array:
    """`(gates * H, 1)`, cached so that `mx.compile` can merge equal products."""
    scales = np.array(cell.scales, np.float32)
    return mx.array(np.repeat(scales, hidden_size)[:, None])


def _in_pieces(weight: Array, n: int) -> Array:
    """`(R, K)` to `(P, R / P, K)`, whose products with n columns need no packing.

    Packing the weight takes as long as a product with the few columns of a step: 83
    instead of 123 us for 1024 x 256 and 16 columns, 172 instead of 205 for 256 x 1024
    and 32.
    """
    rows, k = weight.shape
    whole = runtime.packs_small_products()
    return weight.reshape(-1, rows if whole else piece_rows(rows, k * n, _MIN_ROWS), k)


def _product(pieces: Array, x: Array) -> Array:
    """Multiply a weight in pieces by `(..., 1, K, N)`: `(..., 1, R, N)`."""
    count, rows, _ = pieces.shape
    return (pieces @ x).reshape(*x.shape[:-2], count * rows, x.shape[-1])


def _products(weight: Array, x: Array, by_feature: Array) -> Array:
    """`weight @ x[t]` for each step, `(L, R, N)`.

    Args:
        weight: `(R, K)`.
        x: `(L, K, N)`.
        by_feature: `x` as `(K, L * N)`; only one of the two is evaluated.
    """
    if not runtime.packs_small_products():
        return _product(_in_pieces(weight, x.shape[2]), x[:, None])[:, 0]
    # One product over all steps, for which the BLAS packs the weight only once.
    y = (weight @ by_feature).reshape(len(weight), len(x), -1)
    return mx.contiguous(y.swapaxes(0, 1))


def _features_first(x: Array) -> Array:
    """`(L, F, N)` to `(F, L * N)`."""
    return transpose_rows(x, (1, 0)).reshape(x.shape[1], -1)


@lru_cache
def _recurrence(cell: Cell) -> Callable[..., Arrays]:
    """`(x, weight_ih, bias_ih, weight_hh, bias_hh, *carry[, mask]) -> (y, *carry)`.

    Features come before the batch, and time before both: `x` is `(L, D, N)`, a weight
    `(gates * H, ...)`, a bias `(gates * H, 1)`, an array of the carry `(H, N)`, and `y`
    `(L, H, N)`. Where `mask` `(L, N)` is 0 the carry stays as it is.
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
        values, saved = _run(cell, _fused_tanh, fixed)
        return given_derivative(args, values, saved, vjp=vjp, jvp=plain_jvp)

    return recurrence


def _run(cell: Cell, tanh: ArrayFn, args: Arrays) -> tuple[Arrays, Arrays]:
    """Run all steps; also return the arrays that each saves for `_run_back`."""
    (x, weight_ih, bias_ih, weight, bias, *start), masks = _arguments(cell, args)
    length, _, n = x.shape
    rows, size, own = len(weight), len(start[0]), _own_axes()
    separate = mx.arange(rows)[:, None] >= rows - cell.separate * size
    bias_ih = mx.contiguous(bias_ih + mx.where(separate, 0.0, bias))
    by_feature = x.swapaxes(0, 1).reshape(x.shape[1], -1)
    by_step = _steps(_products(weight_ih, x, by_feature) + bias_ih)
    pieces = _in_pieces(weight, n)
    bias = mx.contiguous(mx.broadcast_to(bias[-size:], (*own, size, n)))
    carry: Carry = tuple(array.reshape(*own, size, n) for array in start)
    outputs, saved = [], []
    for gates, mask in zip(by_step, masks, strict=True):
        before = carry
        gates_h = _product(pieces, carry[0])
        carry, kept = cell.step(tanh, gates, gates_h, bias, carry)
        if mask is not None:
            carry = choose(mask, carry, before)
        outputs.append(carry[0])
        saved += [*before, *kept]
    y = mx.concatenate(outputs, axis=-2).reshape(length, size, n)
    return (y, *(array.reshape(size, n) for array in carry)), saved


def _run_back(
    cell: Cell, args: Arrays, grads: Arrays, y: Array, saved: Arrays
) -> Arrays:
    """The gradients of `args`, from the last step to the first."""
    (x, weight_ih, _, weight, _, *start), masks = _arguments(cell, args)
    length, _, n = x.shape
    size, carried, held = len(start[0]), len(start), len(saved) // length
    # The BLAS is faster with a contiguous weight; one copy serves all steps.
    back = _in_pieces(mx.contiguous(weight.T), n)
    dy, own = _steps(grads[0]), _own_axes()
    d_carry = tuple(grad.reshape(*own, size, n) for grad in grads[1:])
    d_gates_x, d_gates_h = [], []  # of each step from the last one, in pieces
    for t in reversed(range(length)):
        kept, mask, past = saved[t * held : (t + 1) * held], masks[t], None
        d_carry = (d_carry[0] + dy[t], *d_carry[1:])
        if mask is not None:  # where the carry skipped the step
            none = tuple(map(mx.zeros_like, d_carry))
            past = choose(mask, none, d_carry)
            d_carry = choose(mask, d_carry, none)
        dx, dh, direct, d_others = cell.backward(
            tuple(kept[:carried]), kept[carried:], d_carry
        )
        joined = mx.concatenate(list(dh), axis=-2)
        d_gates_h.append([joined])
        d_gates_x.append([joined] if dx is dh else dx)
        through_gates = _product(back, joined)
        d_hidden = through_gates if direct is None else direct + through_gates
        d_carry = (d_hidden, *d_others)
        if past is not None:
            d_carry = tuple(a + b for a, b in zip(d_carry, past, strict=True))
    before = mx.concatenate([start[0][None], y[:-1]])  # (L, H, N)
    of_x = of_h = _by_time(d_gates_x, length)  # (L, gates * H, N)
    rows_x = rows_h = _features_first(of_x)  # (gates * H, L * N)
    if cell.separate:
        of_h = _by_time(d_gates_h, length)
        rows_h = _features_first(of_h)
    found = [
        _products(mx.contiguous(weight_ih.T), of_x, rows_x),
        *_weight_grads(rows_x, x),
        *_weight_grads(rows_h, before),
        *(grad.reshape(size, n) for grad in d_carry),
    ]
    return *found, *map(mx.zeros_like, args[len(found) :])


def _weight_grads(rows: Array, x: Array) -> tuple[Array, Array]:
    """Gradients of a weight, in one product over all steps, and of its bias."""
    # `sum_rows`: one running sum over millions of steps would lose digits.
    return rows @ _features_first(x).T, sum_rows(rows[..., None])


def _own_axes() -> tuple[int, ...]:
    """Leading axes of length 1 of the arrays of a step, a distinct number per part.

    See `distinct_shape_per_part`. Reshaping once is cheaper than in each kernel, and a
    product with a weight in pieces needs one such axis.
    """
    return (1,) * (1 + (current_part() or 0))


def _steps(x: Array) -> list[Array]:
    """`(L, F, N)` to a list of `(..., F, N)` for each step."""
    length, features, n = x.shape
    by_step = x.reshape(*_own_axes(), length * features, n)
    return list(mx.split(by_step, length, axis=-2))


def _by_time(steps: Sequence[Arrays], length: int) -> Array:
    """Pieces `(..., F, N)` of each step, last step first, to `(L, F, N)`."""
    pieces = [piece for step in reversed(steps) for piece in step]
    joined = mx.concatenate(pieces, axis=-2)
    return joined.reshape(length, -1, joined.shape[-1])


def _arguments(cell: Cell, args: Arrays) -> tuple[Arrays, Sequence[Array | None]]:
    """The arguments without the mask, and the mask of each step, `(1, N)` or `None`."""
    others = 5 + cell.arrays
    length = len(args[0])
    if len(args) == others:
        return args, [None] * length
    # Slices, since MLX cannot compile the gradient with `mx.split` in both passes.
    steps = args[others] > 0
    return args[:others], [steps[t : t + 1] for t in range(length)]
