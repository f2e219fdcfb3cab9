"""Layers made from plain functions: `lift` and `parametric`."""

import reprlib
from collections.abc import Callable
from typing import Any

from lucid_fn.checks import check_bool, signature_of
from lucid_fn.nn.core.layer import Layer, as_apply, no_params, require_names
from lucid_fn.ops import seam
from lucid_fn.tracing import started
from lucid_fn.types import ArrayFn, Key, Params, State


def lift(fn: ArrayFn, *, examplewise: bool = False) -> Layer:
    """A layer with neither params nor state, from a plain function.

    Combinators lift their children themselves.

    Args:
        fn: pure function from an array, or a tuple of arrays, to the same.
        examplewise: whether `fn` treats the entries of axis 0 of an array
            independently. A large batch may then be computed in parts, one per core.
            The functions of `lucid_fn` are marked as such already.

    Raises:
        TypeError: if `fn` is not callable, or is a constructor of layers that was not
            called, such as `nn.dropout`; on apply, if it returns a layer.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> square = nn.lift(lambda x: x * x)
        >>> square.apply({}, {}, mx.array(3.0), train=False)
        (array(9, dtype=float32), {})
    """
    check_bool("lift", examplewise=examplewise)
    check_plain("lift: fn", fn)
    if examplewise:
        fn = seam.examplewise(fn)

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        y = fn(x)
        if isinstance(y, Layer):
            raise _constructor_error("lift: fn", fn)
        return y, state

    return Layer(no_params, seam.marked_like(apply, fn))


def check_plain(what: str, fn: Any) -> None:
    """Raises unless `fn` is a function on arrays, as far as its signature tells."""
    if isinstance(fn, Layer):
        raise TypeError(f"{what} is a layer already; pass it on without nn.lift")
    if not callable(fn):
        raise TypeError(
            f"{what} must be a layer or a function on arrays, got "
            f"{type(fn).__name__} {reprlib.repr(fn)}"
        )
    library = _library_of_module(fn)
    if library:
        name = type(fn).__name__
        raise TypeError(
            f"{what} must be a layer or a function on arrays, got {library}'s {name}, "
            "whose parameters would never be trained; build it from the layers of nn: "
            f"nn.{name} says which one replaces it"
        )
    signature = signature_of(fn)
    returned = None if signature is None else signature.return_annotation
    if returned is Layer or str(returned) in ("Layer", "nn.Layer"):
        raise _constructor_error(what, fn)


def _library_of_module(fn: Any) -> str:
    """The library whose `nn.Module` `fn` is, or an empty string; imports none."""
    bases = (base for base in type(fn).__mro__ if base.__name__ == "Module")
    roots = {base.__module__.partition(".")[0] for base in bases}
    return next((f"{root}.nn" for root in ("mlx", "torch") if root in roots), "")


def _constructor_error(what: str, fn: Any) -> TypeError:
    name = getattr(fn, "__name__", repr(fn))
    return TypeError(
        f"{what} is `{name}`, a constructor of layers and not a function on arrays; "
        f"call it, as in {name}(...), and pass the layer that it returns"
    )


def parametric(
    init_params: Callable[[Key], Params],
    fn: Callable[[Params, Any], Any],
    *,
    examplewise: bool = False,
) -> Layer:
    """A layer with params, no state, and the same behaviour in train and eval mode.

    Args:
        init_params: from a key to a dict of float arrays.
        fn: from the params and the input to the output.
        examplewise: whether `fn` treats the entries of axis 0 of the input
            independently. A large batch may then be computed in parts, one per core.

    Raises:
        ValueError: on apply, if `fn` reads a param that does not exist.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> scale = nn.parametric(
        ...     lambda key: {"weight": mx.ones((3,))},
        ...     lambda params, x: x * params["weight"],
        ... )
        >>> params, state = scale.init(random.key(0))
        >>> scale.apply(params, state, mx.array([1.0, 2.0, 3.0]), train=True)
        (array([1, 2, 3], dtype=float32), {})
    """

    check_bool("parametric", examplewise=examplewise)

    def examples(x: Any, params: Params) -> Any:
        return fn(params, x)

    if examplewise:
        examples = seam.examplewise(examples)

    def init(key: Key, /) -> tuple[Params, State]:
        return started(init_params(key)), {}

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        return examples(x, require_names(params, "params")), state

    return Layer(init, seam.marked_like(apply, examples))
