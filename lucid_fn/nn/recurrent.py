"""Recurrent layers: a carry goes through a sequence, step by step."""

from lucid_fn.nn.layer import Layer
from lucid_fn.nn.recurrence import GRU, LSTM, recurrent, rnn_kind
from lucid_fn.ops import tanh
from lucid_fn.types import ArrayFn


def rnn(
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    rate: float = 0.0,
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
        rate: probability of dropping a value between two layers, while training; in
            [0, 1).
        activation: function of the sum.

    Raises:
        ValueError: if a size is not positive or `rate` out of range; on apply, if `x`
            or the carry has another shape, or if dropout has no key.

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
    return recurrent(
        "rnn",
        rnn_kind(activation),
        input_size,
        hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        bias=bias,
        rate=rate,
    )


def gru(
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    rate: float = 0.0,
) -> Layer:
    """A carry that gates let through: `h = (1 - z) * n + z * h`.

    `r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)`, `z` alike, and
    `n = tanh(W_in x + b_in + r * (W_hn h + b_hn))`.

    Inputs, outputs and arguments are those of `rnn`; the rows of weights and biases are
    those of `r`, `z` and `n` one after the other.

    Args:
        input_size: features of the input.
        hidden_size: features of the carry.
        num_layers: as in `rnn`.
        bidirectional: as in `rnn`.
        bias: whether there are biases.
        rate: as in `rnn`.

    Raises:
        ValueError: as `rnn`.

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
    return recurrent(
        "gru",
        GRU,
        input_size,
        hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        bias=bias,
        rate=rate,
    )


def lstm(
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    rate: float = 0.0,
) -> Layer:
    """A cell that gates write to and read from: `c = f * c + i * g`, `h = o * tanh(c)`.

    `i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)`, `f` and `o` alike, and `g` with tanh.

    Inputs, outputs and arguments are those of `rnn`, but the carry is
    `nn.LSTMCarry(hidden, cell)`; the rows of weights and biases are those of `i`, `f`,
    `g` and `o` one after the other.

    Args:
        input_size: features of the input.
        hidden_size: features of the carry.
        num_layers: as in `rnn`.
        bidirectional: as in `rnn`.
        bias: whether there are biases.
        rate: as in `rnn`.

    Raises:
        ValueError: as `rnn`.

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
    return recurrent(
        "lstm",
        LSTM,
        input_size,
        hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        bias=bias,
        rate=rate,
    )
