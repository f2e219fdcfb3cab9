"""What recurrent layers and cells take and return."""

from typing import Any, NamedTuple

from lucid_fn.types import Array


class SequenceAndCarry(NamedTuple):
    """What recurrent layers return, and what cells take and return.

    Of a layer, the outputs of all steps and the carry after the last one. The carry of
    `rnn` and `gru` has shape `(N, num_layers * directions, hidden_size)`; that of
    `lstm` is an `LSTMCarry` of two such arrays.

    Of a cell, the input or the output of one step, `(N, ...)`, and the carry before or
    after it: `(N, hidden_size)` for `rnn_cell` and `gru_cell`, an `LSTMCarry` of two of
    these for `lstm_cell`, and whatever a cell of your own passes on.
    """

    sequence: Any
    carry: Any


class RecurrentInputs(NamedTuple):
    """Sequences, the carry that they start from, and their lengths.

    The input of `rnn`, `gru` and `lstm` that go on from a carry, or whose sequences
    have different lengths, which PyTorch does with `pack_padded_sequence`.
    """

    sequence: Array  # (N, L, input_size)
    carry: Any = None  # as in SequenceAndCarry; None is a carry of zeros
    lengths: Array | None = None  # (N,), integers in [0, L]; None is L for all


class LSTMCarry(NamedTuple):
    """What an LSTM passes from step to step."""

    hidden: Array
    cell: Array
