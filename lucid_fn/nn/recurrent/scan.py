"""`scan`: a recurrent layer from any cell."""

from typing import Any

import mlx.core as mx

from lucid_fn.checks import check_array, check_bool, check_type, shape_error
from lucid_fn.nn.core.layer import Layer, as_apply, mark_wrapping
from lucid_fn.nn.recurrent.carry import RecurrentInputs, SequenceAndCarry
from lucid_fn.ops.concatenation import split_evenly
from lucid_fn.random import fold_in
from lucid_fn.types import Key, Params, State


def scan(cell: Layer, *, reverse: bool = False) -> Layer:
    """Runs `cell` over a sequence, with an explicit carry.

    The input is `nn.SequenceAndCarry(x, carry)` with `x` `(N, L, ...)`, or `x` alone if
    the cell can start without a carry. At each step the cell gets
    `nn.SequenceAndCarry(x[:, t], carry)` and returns `nn.SequenceAndCarry(y, carry)`:
    its output and the carry for the next step. The output of the layer is
    `nn.SequenceAndCarry(ys, carry)`, with `ys` `(N, L, ...)` and the carry after the
    last step.

    Any layer with such inputs and outputs is a cell: `lstm_cell`, or one of your own
    made by `compose`. Params and state are those of the cell; the state is updated at
    each step, and each step has its own key.

    In a chain of scans the second one starts from the carry of the first. To start it
    without a carry, put `lambda y: y.sequence` between them.

    Args:
        cell: the layer of one step.
        reverse: whether to run from the last step to the first; outputs stay in the
            order of the inputs.

    Raises:
        TypeError: if `cell` is not a layer; on apply, if it does not return
            `nn.SequenceAndCarry`.
        ValueError: on apply, if the sequence has no steps.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> def add(inputs):
        ...     total = inputs.carry + inputs.sequence
        ...     return nn.SequenceAndCarry(total, total)
        >>> sums = nn.scan(nn.lift(add))
        >>> x = nn.SequenceAndCarry(mx.array([[1.0, 2.0, 3.0]]), mx.array([0.0]))
        >>> (y, carry), _ = sums.apply({}, {}, x, train=False)
        >>> y, carry
        (array([[1, 3, 6]], dtype=float32), array([6], dtype=float32))
    """
    check_bool("scan", reverse=reverse)
    fix = "make a function one with nn.lift"
    check_type("scan", "cell", cell, Layer, "a layer", fix=fix)

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        if isinstance(x, RecurrentInputs):
            raise TypeError(
                "scan: x must be nn.SequenceAndCarry(x, carry) or an array, got "
                "RecurrentInputs; lengths are for nn.rnn, nn.gru and nn.lstm"
            )
        has_carry = isinstance(x, SequenceAndCarry)
        sequence, carry = x if has_carry else (x, None)
        check_array("scan", x=sequence)
        if sequence.ndim < 2 or sequence.shape[1] == 0:
            raise shape_error(
                "scan", "x", sequence, "(N, L, ...) with at least one step"
            )
        length = sequence.shape[1]
        steps = [mx.squeeze(part, 1) for part in split_evenly(sequence, length, axis=1)]
        outputs = []
        for t in reversed(range(length)) if reverse else range(length):
            inputs = SequenceAndCarry(steps[t], carry) if has_carry else steps[t]
            subkey = None if key is None else fold_in(key, t)
            out, state = cell.apply(params, state, inputs, train=train, key=subkey)
            if not isinstance(out, SequenceAndCarry):
                raise TypeError(
                    "scan: cell must return nn.SequenceAndCarry(y, carry), got "
                    f"{type(out).__name__}"
                )
            has_carry, carry = True, out.carry
            outputs.append(out.sequence)
        ys = mx.stack(outputs[::-1] if reverse else outputs, axis=1)
        return SequenceAndCarry(ys, carry), state

    return Layer(cell.init, mark_wrapping(apply, cell))
