"""What goes from step to step, as recurrent layers and cells take and return it."""

from typing import Any, NamedTuple

from lucid_fn.types import Array


class Carried(NamedTuple):
    """A sequence with the carry before it, if it goes in, or after it, if it comes out.

    The carry of `rnn` and `gru` has the shape `(N, num_layers * directions,
    hidden_size)`; that of `lstm` is an `LSTMCarry` of two such arrays. For a cell, the
    sequence is the input or output of one step, `(N, ...)`, and the carry whatever the
    cell hands on: `(N, hidden_size)` for `rnn_cell` and `gru_cell`, an `LSTMCarry` of
    two of these for `lstm_cell`.
    """

    sequence: Any
    carry: Any


class LSTMCarry(NamedTuple):
    """What an LSTM hands from step to step."""

    hidden: Array
    cell: Array
