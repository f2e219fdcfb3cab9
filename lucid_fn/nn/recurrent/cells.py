"""Recurrent cells: single steps of recurrent layers, for `scan` and custom loops."""

from typing import Any

from lucid_fn.checks import check_bool, check_float, shape_error
from lucid_fn.nn.core.checks import check_activation, check_params, check_positive
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.recurrent.carry import SequenceAndCarry
from lucid_fn.nn.recurrent.recurrence import (
    GRU,
    LSTM,
    Kind,
    draw,
    pack_carry,
    rnn_kind,
    run,
    unpack_carry,
    weight_shapes,
)
from lucid_fn.ops import tanh
from lucid_fn.types import ArrayFn, Key, Params


def rnn_cell(
    input_size: int,
    hidden_size: int,
    *,
    bias: bool = True,
    activation: ArrayFn = tanh,
) -> Layer:
    """One step of `rnn`: `h = activation(W_ih x + b_ih + W_hh h + b_hh)`.

    The input is `nn.SequenceAndCarry(x, carry)`, with `x` `(N, input_size)` and the
    carry `(N, hidden_size)`, or `x` alone, with a carry of zeros. The output is
    `nn.SequenceAndCarry(y, carry)`, both of which are the new `h`. `nn.scan` runs a
    cell over a sequence.

    Params, with PyTorch's names: `weight_ih` `(hidden_size, input_size)`, `weight_hh`
    `(hidden_size, hidden_size)`, `bias_ih` and `bias_hh` `(hidden_size,)`, all uniform
    in +-1/sqrt(hidden_size).

    Args:
        input_size: features of the input.
        hidden_size: features of the carry.
        bias: whether biases are added.
        activation: activation function of the sum.

    Raises:
        ValueError: if a size is not positive; on apply, if `x` or the carry has the
            wrong shape.

    Source: names and numbers are those of `torch.nn.RNNCell`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> cell = nn.rnn_cell(4, 8)
        >>> params, state = cell.init(random.key(0))
        >>> x = nn.SequenceAndCarry(mx.ones((2, 4)), mx.zeros((2, 8)))
        >>> (y, carry), _ = cell.apply(params, state, x, train=False)
        >>> y.shape, carry.shape
        ((2, 8), (2, 8))
    """
    check_activation("rnn_cell", activation)
    return _cell("rnn_cell", rnn_kind(activation), input_size, hidden_size, bias)


def gru_cell(input_size: int, hidden_size: int, *, bias: bool = True) -> Layer:
    """One step of `gru`, with the inputs, outputs and param names of `rnn_cell`.

    Args:
        input_size: features of the input.
        hidden_size: features of the carry.
        bias: whether biases are added.

    Source: names and numbers are those of `torch.nn.GRUCell`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> cell = nn.gru_cell(4, 8)
        >>> params, state = cell.init(random.key(0))
        >>> (y, carry), _ = cell.apply(params, state, mx.ones((2, 4)), train=False)
        >>> y.shape
        (2, 8)
    """
    return _cell("gru_cell", GRU, input_size, hidden_size, bias)


def lstm_cell(input_size: int, hidden_size: int, *, bias: bool = True) -> Layer:
    """One step of `lstm`, as `rnn_cell`, with a carry `nn.LSTMCarry(hidden, cell)`.

    Args:
        input_size: features of the input.
        hidden_size: features of both arrays of the carry.
        bias: whether biases are added.

    Raises:
        TypeError: on apply, if the carry is of the wrong type.
        ValueError: as `rnn_cell`.

    Source: names and numbers are those of `torch.nn.LSTMCell`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> cell = nn.lstm_cell(4, 8)
        >>> params, state = cell.init(random.key(0))
        >>> (y, carry), _ = cell.apply(params, state, mx.ones((2, 4)), train=False)
        >>> y.shape, carry.cell.shape
        ((2, 8), (2, 8))
    """
    return _cell("lstm_cell", LSTM, input_size, hidden_size, bias)


def _cell(
    caller: str, kind: Kind, input_size: int, hidden_size: int, bias: bool
) -> Layer:
    check_bool(caller, bias=bias)
    input_size, hidden_size = check_positive(
        caller, input_size=input_size, hidden_size=hidden_size
    )
    shapes = weight_shapes(kind, input_size, hidden_size, bias, "")

    def init(key: Key) -> Params:
        return draw(key, hidden_size, shapes)

    def forward(params: Params, inputs: Any) -> SequenceAndCarry:
        carry = inputs.carry if isinstance(inputs, SequenceAndCarry) else None
        x = inputs.sequence if isinstance(inputs, SequenceAndCarry) else inputs
        check_float(caller, x=x)
        if x.ndim != 2 or x.shape[-1] != input_size:
            raise shape_error(caller, "x", x, f"(N, {input_size})")
        check_params(caller, params, **shapes)
        carry_shapes = [(len(x), hidden_size)] * kind.arrays
        before = unpack_carry(caller, kind, carry, carry_shapes, x.dtype)
        y, after = run(kind, params, "", x[:, None], before)
        return SequenceAndCarry(y[:, 0], pack_carry(after))

    return parametric(init, forward)
