"""Any cell, over a sequence."""

from typing import Any

import mlx.core as mx

from lucid_fn.checks import check_array
from lucid_fn.nn.carry import Carried
from lucid_fn.nn.layer import NOT_GIVEN, Layer, check_train, to_input
from lucid_fn.random import fold_in
from lucid_fn.types import Key, Params, State


def scan(cell: Layer, *, reverse: bool = False) -> Layer:
    """`cell`, from step to step of a sequence, with an explicit carry.

    The input is `nn.Carried(x, carry)` with `x` `(N, L, ...)`, or `x` alone if the cell
    can start by itself. At each step the cell gets `nn.Carried(x[:, t], carry)`, and
    returns `nn.Carried(y, carry)`: what is put out, and what goes on. The output is
    `nn.Carried(ys, carry)`, with `ys` `(N, L, ...)` and the carry after the last step.

    Any layer with such inputs and outputs is a cell: `lstm_cell`, or one of your own
    made by `compose`. Params and state are those of the cell; the state moves at each
    step, and each step has a key of its own.

    Args:
        cell: the layer of one step.
        reverse: whether it goes from the last step to the first; outputs stand where
            their inputs do.

    Raises:
        TypeError: if `cell` is not a layer; on apply, if it does not return
            `nn.Carried`.
        ValueError: on apply, if the sequence has no steps.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> def add(inputs):
        ...     total = inputs.carry + inputs.sequence
        ...     return nn.Carried(total, total)
        >>> sums = nn.scan(nn.lift(add))
        >>> x = nn.Carried(mx.array([[1.0, 2.0, 3.0]]), mx.array([0.0]))
        >>> (y, carry), _ = sums.apply({}, {}, x, train=False)
        >>> y, carry
        (array([[1, 3, 6]], dtype=float32), array([6], dtype=float32))
    """
    if not isinstance(cell, Layer):
        raise TypeError(
            f"scan: cell must be a layer, got {type(cell).__name__}; make a function "
            "one with nn.lift"
        )

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool = NOT_GIVEN,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        check_train(train)
        sequence = to_input(x.sequence if isinstance(x, Carried) else x)
        check_array("scan", x=sequence)
        if sequence.ndim < 2 or sequence.shape[1] == 0:
            raise ValueError(
                "scan: x must have shape (N, L, ...) with at least one step, got "
                f"{sequence.shape}"
            )
        length = sequence.shape[1]
        steps = [mx.squeeze(part, 1) for part in mx.split(sequence, length, axis=1)]
        begun = isinstance(x, Carried)
        carry = x.carry if isinstance(x, Carried) else None
        outputs = []
        for t in reversed(range(length)) if reverse else range(length):
            inputs = Carried(steps[t], carry) if begun else steps[t]
            subkey = None if key is None else fold_in(key, t)
            out, state = cell.apply(params, state, inputs, train=train, key=subkey)
            if not isinstance(out, Carried):
                raise TypeError(
                    "scan: cell must return nn.Carried(y, carry), got "
                    f"{type(out).__name__}"
                )
            begun, carry = True, out.carry
            outputs.append(out.sequence)
        ys = mx.stack(outputs[::-1] if reverse else outputs, axis=1)
        return Carried(ys, carry), state

    return Layer(cell.init, apply)
