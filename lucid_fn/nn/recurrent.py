"""Recurrent layers: a carry goes through a sequence, step by step."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import ops, random
from lucid_fn.checks import check_float
from lucid_fn.nn.checks import check_positive
from lucid_fn.nn.layer import Layer, parametric
from lucid_fn.nn.recording import count_multiply_adds
from lucid_fn.ops import RecurrentWeights, tanh
from lucid_fn.types import Array, ArrayFn, Key, Params


class Carried(NamedTuple):
    """A sequence with the carry before it, if it goes in, or after it, if it comes out.

    The carry has the shape `(N, num_layers * directions, hidden_size)`; that of `lstm`
    is an `LSTMCarry` of two such arrays.
    """

    sequence: Array
    carry: Any


class LSTMCarry(NamedTuple):
    """What an LSTM hands from step to step."""

    hidden: Array
    cell: Array


Carry: TypeAlias = tuple[Array, ...]  # of arrays (N, hidden_size); the first is put out
Recurrence: TypeAlias = Callable[[Array, RecurrentWeights, Carry], tuple[Array, Carry]]


def rnn(
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    activation: ArrayFn = tanh,
) -> Layer:
    """`h = activation(W_ih x + b_ih + W_hh h + b_hh)`, from step to step.

    The input is an array `(N, L, input_size)`, which starts from a carry of zeros, or
    `nn.Carried(x, carry)`. The output is always `nn.Carried(y, carry)`, with `y` `(N,
    L, hidden_size)` and the carry after the last step, from which the next piece of a
    sequence goes on.

    Params, with PyTorch's names: `weight_ih_l0` `(hidden_size, input_size)`,
    `weight_hh_l0` `(hidden_size, hidden_size)`, `bias_ih_l0` and `bias_hh_l0`
    `(hidden_size,)`, and so on for `l1`, ..., all uniform in +-1/sqrt(hidden_size).

    Args:
        input_size: features of the input.
        hidden_size: features of the carry.
        num_layers: layers, each of which takes the output of the one before.
        bidirectional: whether each layer goes through the sequence backwards as well,
            with params of the names' suffix `_reverse`; outputs of both directions
            stand side by side, `(N, L, 2 * hidden_size)`. In the carry a layer's two
            directions are neighbours.
        bias: whether biases are added.
        activation: function of the sum.

    Raises:
        ValueError: if a size is not positive; on apply, if `x` or the carry has another
            shape.

    Source: Elman, 1990, "Finding structure in time"; names and numbers are those of
    `torch.nn.RNN` with `batch_first`, but for the carry, whose batch axis is first.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.rnn(4, 8)
        >>> params, state = layer.init(random.key(0))
        >>> (y, carry), _ = layer.apply(params, state, mx.ones((2, 5, 4)), train=False)
        >>> y.shape, carry.shape
        ((2, 5, 8), (2, 1, 8))
        >>> more = nn.Carried(mx.ones((2, 3, 4)), carry)
        >>> (y, carry), _ = layer.apply(params, state, more, train=False)
    """

    def run(x: Array, weights: RecurrentWeights, carry: Carry) -> tuple[Array, Carry]:
        return ops.rnn(x, weights, carry, activation)

    sizes = _Sizes("rnn", input_size, hidden_size, 1, num_layers, bidirectional, bias)
    return _recurrent(sizes, run, lambda carry: (carry,), lambda arrays: arrays[0])


def gru(
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
) -> Layer:
    """A carry that gates let through: `h = (1 - z) * n + z * h`.

    `r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)`, `z` alike, and
    `n = tanh(W_in x + b_in + r * (W_hn h + b_hn))`.

    Inputs, outputs and arguments are those of `rnn`; the rows of weights and biases are
    those of `r`, `z` and `n` one after the other.

    Source: Cho et al., 2014, https://arxiv.org/abs/1406.1078, with the reset gate after
    the product with `W_hn`, as in `torch.nn.GRU`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.gru(4, 8, bidirectional=True)
        >>> params, state = layer.init(random.key(0))
        >>> (y, carry), _ = layer.apply(params, state, mx.ones((2, 5, 4)), train=False)
        >>> y.shape, carry.shape
        ((2, 5, 16), (2, 2, 8))
    """

    sizes = _Sizes("gru", input_size, hidden_size, 3, num_layers, bidirectional, bias)
    return _recurrent(sizes, ops.gru, lambda carry: (carry,), lambda arrays: arrays[0])


def lstm(
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
) -> Layer:
    """A cell that gates write to and read from: `c = f * c + i * g`, `h = o * tanh(c)`.

    `i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)`, `f` and `o` alike, and `g` with tanh.

    Inputs, outputs and arguments are those of `rnn`, but the carry is
    `nn.LSTMCarry(hidden, cell)`; the rows of weights and biases are those of `i`, `f`,
    `g` and `o` one after the other.

    Source: Hochreiter & Schmidhuber, 1997, "Long short-term memory", with the forget
    gate of Gers et al., 2000; names and numbers are those of `torch.nn.LSTM`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.lstm(4, 8, num_layers=2)
        >>> params, state = layer.init(random.key(0))
        >>> (y, carry), _ = layer.apply(params, state, mx.ones((2, 5, 4)), train=False)
        >>> y.shape, carry.hidden.shape, carry.cell.shape
        ((2, 5, 8), (2, 2, 8), (2, 2, 8))
    """

    sizes = _Sizes("lstm", input_size, hidden_size, 4, num_layers, bidirectional, bias)
    return _recurrent(sizes, ops.lstm, _open_lstm, lambda arrays: LSTMCarry(*arrays))


def _open_lstm(carry: Any) -> Carry:
    if not isinstance(carry, LSTMCarry):
        raise TypeError(
            "lstm: carry must be nn.LSTMCarry(hidden, cell), got "
            f"{type(carry).__name__}"
        )
    return tuple(carry)


class _Sizes(NamedTuple):
    """Sizes of a recurrent layer."""

    caller: str
    input_size: int
    hidden_size: int
    gates: int
    num_layers: int
    bidirectional: bool
    bias: bool

    @property
    def suffixes(self) -> list[list[str]]:
        """Ends of the names of the params, by layer and direction."""
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [[f"_l{i}{end}" for end in ends] for i in range(self.num_layers)]


def _recurrent(
    sizes: _Sizes,
    run: Recurrence,
    opened: Callable[[Any], Carry],
    closed: Callable[[Carry], Any],
) -> Layer:
    """The layer; `opened` and `closed` are to and from the user's carry."""
    caller, hidden_size = sizes.caller, sizes.hidden_size
    check_positive(
        caller,
        input_size=sizes.input_size,
        hidden_size=hidden_size,
        num_layers=sizes.num_layers,
    )
    rows = sizes.gates * hidden_size
    directions = 2 if sizes.bidirectional else 1
    carries = 2 if caller == "lstm" else 1

    def init(key: Key) -> Params:
        bound = 1 / math.sqrt(hidden_size)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, suffixes in enumerate(sizes.suffixes):
            columns = directions * hidden_size if layer else sizes.input_size
            for suffix in suffixes:
                shapes[f"weight_ih{suffix}"] = (rows, columns)
                shapes[f"weight_hh{suffix}"] = (rows, hidden_size)
                if sizes.bias:
                    shapes[f"bias_ih{suffix}"] = (rows,)
                    shapes[f"bias_hh{suffix}"] = (rows,)
        return {
            name: random.uniform(
                random.fold_in(key, name), shape, low=-bound, high=bound
            )
            for name, shape in shapes.items()
        }

    def forward(params: Params, inputs: Any) -> Carried:
        x = inputs.sequence if isinstance(inputs, Carried) else inputs
        check_float(caller, x=x)
        if x.ndim != 3 or x.shape[-1] != sizes.input_size or x.shape[1] == 0:
            raise ValueError(
                f"{caller}: x must have shape (N, L, {sizes.input_size}) with at least "
                f"one step, got {x.shape}"
            )
        shape = (x.shape[0], sizes.num_layers * directions, hidden_size)
        if isinstance(inputs, Carried):
            before = opened(inputs.carry)
            for array in before:
                if array.shape != shape:
                    raise ValueError(
                        f"{caller}: carry must have shape {shape}, got {array.shape}"
                    )
        else:
            before = (mx.zeros(shape, x.dtype),) * carries
        after: list[Carry] = []
        for suffixes in sizes.suffixes:
            outputs = []
            for suffix in suffixes:
                start = tuple(array[:, len(after)] for array in before)
                y, end = _pass(run, params, suffix, x, start)
                outputs.append(y)
                after.append(end)
            x = mx.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
        ends = tuple(
            mx.stack(list(arrays), axis=1) for arrays in zip(*after, strict=True)
        )
        return Carried(x, closed(ends))

    return parametric(init, forward)


def _pass(
    run: Recurrence, params: Params, suffix: str, x: Array, carry: Carry
) -> tuple[Array, Carry]:
    """The outputs and last carry of one layer in one direction."""
    weights = RecurrentWeights(
        params[f"weight_ih{suffix}"],
        params[f"weight_hh{suffix}"],
        params.get(f"bias_ih{suffix}"),
        params.get(f"bias_hh{suffix}"),
    )
    backwards = suffix.endswith("_reverse")
    y, carry = run(x[:, ::-1] if backwards else x, weights, carry)
    products = weights.weight_ih.size + weights.weight_hh.size
    count_multiply_adds(x.shape[0] * x.shape[1] * products)
    return y[:, ::-1] if backwards else y, carry
