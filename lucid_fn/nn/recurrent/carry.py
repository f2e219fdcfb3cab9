"""What recurrent layers and cells take and return."""

from typing import Any, NamedTuple

from lucid_fn.types import Array


class SequenceAndCarry(NamedTuple):
    """A sequence, and the carry before it (as an input) or after it (as an output).

    The carry of `rnn` and `gru` has shape `(N, num_layers * directions, hidden_size)`;
    that of `lstm` is an `LSTMCarry` of two such arrays. For a cell, the sequence is the
    input or output of one step, `(N, ...)`, and the carry is whatever the cell passes
    on: `(N, hidden_size)` for `rnn_cell` and `gru_cell`, an `LSTMCarry` of two of these
    for `lstm_cell`.
    """

    sequence: Any
    carry: Any


class RecurrentInputs(NamedTuple):
    """A padded batch of sequences, the carry to start from, and the sequences' lengths.

    The input of `rnn`, `gru` and `lstm` where sequences have different lengths; what
    PyTorch does with `pack_padded_sequence`.
    """

    sequence: Array  # (N, L, input_size)
    carry: Any = None  # as in SequenceAndCarry; None is a carry of zeros
    lengths: Array | None = None  # (N,), integers in [0, L]; None is L for all


class LSTMCarry(NamedTuple):
    """What an LSTM passes from step to step."""

    hidden: Array
    cell: Array
