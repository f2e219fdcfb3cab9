"""The layer contract: a pair of pure functions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import mlx.core as mx
import numpy as np

from lucid_fn.types import ArrayFn, Key, Params, State


class InitFn(Protocol):
    """`init(key) -> (params, state)`."""

    def __call__(self, key: Key, /) -> tuple[Params, State]: ...


class ApplyFn(Protocol):
    """`apply(params, state, x, train=..., key=...) -> (y, state)`."""

    def __call__(
        self,
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Any, State]: ...


class Layer(NamedTuple):
    """`init(key) -> (params, state)` and `apply(params, state, x) -> (y, state)`.

    Any pair of such functions is a layer, also one written by hand.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> init, apply = nn.linear(3, 2)
        >>> params, state = init(random.key(0))
        >>> y, state = apply(params, state, mx.ones((4, 3)), train=False)
        >>> y.shape
        (4, 2)
    """

    init: InitFn
    apply: ApplyFn


def to_input(x: Any) -> Any:
    """NumPy arrays become MLX arrays where they enter a layer; all else is kept."""
    return mx.array(x) if isinstance(x, np.ndarray) else x


def lift(fn: ArrayFn) -> Layer:
    """A layer with neither parameters nor state, from a plain function.

    Combinators do this to their children by themselves.

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
    check_plain("lift: fn", fn)

    def init(key: Key, /) -> tuple[Params, State]:
        return {}, {}

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        y = _call_plain(fn, to_input(x))
        return y, state

    return Layer(init, apply)


def check_plain(what: str, fn: Any) -> None:
    """Raises unless `fn` is a function on arrays, as far as can be told."""
    if isinstance(fn, Layer):
        raise TypeError(f"{what} is a layer already, and needs no lift")
    if not callable(fn):
        raise TypeError(
            f"{what} must be a layer or a function on arrays, got "
            f"{type(fn).__name__} {fn!r}"
        )
    returned = getattr(fn, "__annotations__", {}).get("return")
    if returned is Layer or str(returned) in ("Layer", "nn.Layer"):
        raise TypeError(f"{what} {_is_constructor(fn)}")


def _is_constructor(fn: Any) -> str:
    name = getattr(fn, "__name__", repr(fn))
    return (
        f"is `{name}`, a constructor of layers and not a function on arrays; call it "
        f"with its sizes, as in {name}(...), and pass what it returns"
    )


def _call_plain(fn: ArrayFn, x: Any) -> Any:
    y = fn(x)
    if isinstance(y, Layer):
        raise TypeError(f"lift: fn {_is_constructor(fn)}")
    return y


def parametric(
    init_params: Callable[[Key], Params], fn: Callable[[Params, Any], Any]
) -> Layer:
    """A layer with parameters, no state, and one behaviour in train and eval.

    Args:
        init_params: from a key to a dict of float arrays.
        fn: from these and the input to the output.

    Raises:
        ValueError: on apply, if `fn` reads a parameter that is not there.

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

    def init(key: Key, /) -> tuple[Params, State]:
        return init_params(key), {}

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        check_held(params, "params")
        return fn(_Params(params), to_input(x)), state

    return Layer(init, apply)


def check_held(held: Any, kind: str) -> None:
    """Raises unless params or state are a dict."""
    if not isinstance(held, dict):
        raise TypeError(
            f"apply: {kind} must be a dict as init returns it, got "
            f"{type(held).__name__}; init returns the pair (params, state)"
        )


def _not_held(held: dict[str, Any], kind: str, name: Any) -> ValueError:
    has = ", ".join(map(str, held)) or "nothing"
    return ValueError(
        f"apply: {kind} must hold {name!r}, got {has}; were they made by this layer's "
        "init?"
    )


class _Params(dict[str, Any]):
    """A layer's params, in which a missing name is the caller's mistake."""

    def __missing__(self, name: str) -> Any:
        raise _not_held(self, "params", name)


@contextmanager
def expects(held: dict[str, Any], kind: str) -> Iterator[None]:
    """Words a name that is missing in a layer's params or state as the caller's."""
    check_held(held, kind)
    try:
        yield
    except KeyError as error:
        name = error.args[0] if error.args else None
        if name in held:
            raise
        raise _not_held(held, kind, name) from None
