"""Recurrent layers: Elman networks, GRU and LSTM."""

from lucid_fn.nn.core.checks import check_activation
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.recurrent.recurrence import GRU, LSTM, recurrent, rnn_kind
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
    """Elman recurrent layer: `h = activation(W_ih x + b_ih + W_hh h + b_hh)`.

    The input is an array `(N, L, input_size)`, with a carry of zeros, or
    `nn.RecurrentInputs(x, carry, lengths)`, with a given carry or as a padded batch.
    The output is always `nn.SequenceAndCarry(y, carry)`, with `y`
    `(N, L, hidden_size)` and the carry after the last step, from which the next part of
    the sequence can continue. To chain layers, pass on the sequence alone:
    `nn.serial(nn.rnn(3, 4), lambda y: y.sequence, nn.rnn(4, 4))`.

    With `lengths`, integers `(N,)` in [0, L], the steps of a sequence after its length
    are padding, which is never read: `y` is 0 there, the carry is that of the last step
    before the padding, and the backward direction starts at that step, as with
    PyTorch's `pack_padded_sequence`. A length out of range gives NaN.

    The dtype of the output is the promoted dtype of input and params.

    Params, with PyTorch's names: `weight_ih_l0` `(hidden_size, input_size)`,
    `weight_hh_l0` `(hidden_size, hidden_size)`, `bias_ih_l0` and `bias_hh_l0`
    `(hidden_size,)`, and so on for `l1`, ..., all uniform in +-1/sqrt(hidden_size).

    Args:
        input_size: features of the input.
        hidden_size: features of the carry.
        num_layers: number of stacked layers; each takes the output of the one before.
        bidirectional: whether each layer also runs backwards, with params whose names
            end in `_reverse`; the outputs of both directions are concatenated, `(N, L,
            2 * hidden_size)`. In the carry, the two directions of a layer are adjacent.
        bias: whether biases are added.
        rate: probability of dropping an output between two layers in train mode; in
            [0, 1).
        activation: activation function of the sum.

    Raises:
        TypeError: on apply, if `x` is not of a float dtype, `lengths` is not of an
            integer dtype, or the input is the whole output of a recurrent layer.
        ValueError: if a size is not positive or `rate` out of range; on apply, if `x`,
            the carry or `lengths` has the wrong shape, or if dropout has no key.

    Source: Elman, 1990, "Finding structure in time"; names and numbers are those of
    `torch.nn.RNN` with `batch_first`, but the batch axis of the carry is first too.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.rnn(4, 8)
        >>> params, state = layer.init(random.key(0))
        >>> (y, carry), _ = layer.apply(params, state, mx.ones((2, 5, 4)), train=False)
        >>> y.shape, carry.shape
        ((2, 5, 8), (2, 1, 8))
        >>> more = nn.RecurrentInputs(mx.ones((2, 3, 4)), carry)
        >>> (y, carry), _ = layer.apply(params, state, more, train=False)
        >>> padded = nn.RecurrentInputs(mx.ones((2, 5, 4)), lengths=mx.array([5, 3]))
        >>> (y, carry), _ = layer.apply(params, state, padded, train=False)
        >>> mx.array_equal(y[1, 2], carry[1, 0]).item(), y[1, 3:].any().item()
        (True, False)
    """
    check_activation("rnn", activation)
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
    """Gated recurrent unit: `h = (1 - z) * n + z * h`.

    `r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)`, `z` likewise, and
    `n = tanh(W_in x + b_in + r * (W_hn h + b_hn))`.

    Inputs, outputs and arguments are those of `rnn`; the rows of weights and biases are
    those of `r`, `z` and `n`, in this order.

    Args:
        input_size: features of the input.
        hidden_size: features of the carry.
        num_layers: as in `rnn`.
        bidirectional: as in `rnn`.
        bias: whether biases are added.
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
    proj_size: int = 0,
) -> Layer:
    """Long short-term memory: `c = f * c + i * g`, `h = o * tanh(c)`.

    `i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)`, `f` and `o` likewise, and `g` with
    tanh.

    Inputs, outputs and arguments are those of `rnn`, except that the carry is
    `nn.LSTMCarry(hidden, cell)`; the rows of weights and biases are those of `i`, `f`,
    `g` and `o`, in this order.

    Args:
        input_size: features of the input.
        hidden_size: features of the carry.
        num_layers: as in `rnn`.
        bidirectional: as in `rnn`.
        bias: whether biases are added.
        rate: as in `rnn`.
        proj_size: features of output and hidden state after a projection,
            `h = W_hr (o * tanh(c))`, with params `weight_hr_l0`
            `(proj_size, hidden_size)`, ...; less than `hidden_size`, which the cell
            state keeps. No projection if 0.

    Raises:
        ValueError: as `rnn`.

    Source: Hochreiter & Schmidhuber, 1997, "Long short-term memory", with the forget
    gate of Gers et al., 2000; `proj_size`: Sak et al., 2014,
    https://arxiv.org/abs/1402.1128. Names and numbers are those of `torch.nn.LSTM`.

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
        proj_size=proj_size,
    )
