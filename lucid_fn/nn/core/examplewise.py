"""Layers that draw random numbers for the whole batch, then divide it among cores."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from lucid_fn.nn.core.layer import InitFn, Layer, as_apply, no_params
from lucid_fn.ops.seam import accepts_divided, divide, is_divided, join, map_examples
from lucid_fn.types import Key, Params, State

Prepare: TypeAlias = Callable[
    [Params, Any, bool, Key | None], tuple[Callable[..., Any], Sequence[Any]]
]


def over_examples(
    prepare: Prepare,
    *,
    init: InitFn = no_params,
    divides: Callable[[Any], bool] | None = None,
    pack: Callable[..., Any] = tuple,
) -> Layer:
    """A layer that computes `fn(*arrays)`, for `fn, arrays = prepare(params, x, ...)`.

    `prepare` gets the whole batch: it checks the input, and draws the random numbers of
    all examples, so that they do not depend on the number of cores. `fn` may be called
    once for each part of a divided batch, each on its own core.

    Args:
        prepare: from `(params, x, train, key)` to `fn` and its arguments. The first is
            an array with the examples on axis 0; the others are such arrays or `None`.
        init: the `init` of the layer.
        divides: from the first argument to whether to divide its examples among the
            cores; if `None`, the batch is divided only if the input is.
        pack: from the arrays that `fn` returns, if there are several, to the output.
    """

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        fn, (first, *others) = prepare(params, x, train, key)
        examples = first
        if divides is not None:
            examples = divide(first) if divides(first) else join(first)
        # An array that is given twice is divided once.
        others = [examples if other is first else other for other in others]
        y = map_examples(fn, examples, *others)
        if isinstance(y, tuple):
            return pack(*map(join, y)), state
        return y if is_divided(first) else join(y), state

    return Layer(init, accepts_divided(apply))
