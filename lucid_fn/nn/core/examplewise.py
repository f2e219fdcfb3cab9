"""Layers that draw or check for the whole batch, then divide it among the cores."""

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
    """The layer of `fn(*arrays)`, where `fn, arrays = prepare(params, x, train, key)`.

    `prepare` sees the whole batch: it checks, and draws what is random for all of the
    examples, so that no draw depends on the number of cores. `fn` may be called for
    some of the examples at a time, on a core of their own.

    Args:
        prepare: returns `fn` and its arguments. The first is an array with the examples
            on axis 0, and so is each of the others, or `None`.
        init: that of the layer.
        divides: from the first argument to whether its examples are to be divided
            among the cores; `None` to leave that to the layers around this one.
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
        # What was one argument, given twice, still is one.
        others = [examples if other is first else other for other in others]
        y = map_examples(fn, examples, *others)
        if isinstance(y, tuple):
            return pack(*map(join, y)), state
        return y if is_divided(first) else join(y), state

    return Layer(init, accepts_divided(apply))
