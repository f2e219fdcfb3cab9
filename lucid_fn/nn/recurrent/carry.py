"""The inputs and outputs of recurrent layers and cells."""

from typing import Any, NamedTuple

from lucid_fn.types import Array


class SequenceAndCarry(NamedTuple):
    """The output of recurrent layers, and both the input and the output of cells.

    A layer returns the outputs of all steps and the carry after the last one. The carry
    of `rnn` and `gru` has shape `(N, num_layers * directions, hidden_size)`; that of
    `lstm` is an `LSTMCarry` of two such arrays.

    A cell takes the input of one step, `(N, ...)`, and the carry before it, and returns
    the output and the carry after it. The carry is `(N, hidden_size)` for `rnn_cell`
    and `gru_cell`, an `LSTMCarry` of two such arrays for `lstm_cell`, and anything for
    a cell of your own.
    """

    sequence: Any
    carry: Any


class RecurrentInputs(NamedTuple):
    """Sequences, the carry that they start from, and their lengths.

    The input of `rnn`, `gru` and `lstm` that start from a given carry, or whose
    sequences differ in length, for which PyTorch has `pack_padded_sequence`.
    """

    sequence: Array  # (N, L, input_size)
    carry: Any = None  # as in SequenceAndCarry; zeros if None
    lengths: Array | None = None  # (N,), integers in [0, L]; all L if None


class LSTMCarry(NamedTuple):
    """The carry of an LSTM, from step to step: hidden state and cell state."""

    hidden: Array
    cell: Array
