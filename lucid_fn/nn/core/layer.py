"""The layer contract: a pair of pure functions."""

import inspect
import reprlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn, Protocol

import mlx.core as mx
import numpy as np

from lucid_fn.call_errors import call_message, explains_positions
from lucid_fn.numpy_arrays import to_array
from lucid_fn.ops import seam
from lucid_fn.types import Array, Key, Params, State


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

    def __repr__(self) -> str:
        """The call that made the layer, with a line for each of its children."""
        made_by = str(getattr(self.apply, "made_by", "layer"))
        children = getattr(self.apply, "children", {})
        if not children:
            return made_by
        lines = "\n".join(f"{name}: {layer!r}" for name, layer in children.items())
        return f"{made_by.partition('(')[0]}(\n{textwrap.indent(lines, '  ')}\n)"

    def __call__(self, *args: Any, **options: Any) -> NoReturn:
        """Raises: in other libraries one would write `layer(x)`."""
        raise TypeError(
            "Layer: a layer is a pair of functions and is not called itself; write "
            "params, state = layer.init(key), then "
            "y, state = layer.apply(params, state, x, train=False)"
        )

    def __getattr__(self, name: str) -> NoReturn:
        """Raises: in other libraries one would write `layer.parameters()`."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"a layer is a pair of functions and has no {name!r}; what it learns and "
            "keeps is what params, state = layer.init(key) returns"
        )

    @classmethod
    def __init_subclass__(cls, **options: Any) -> NoReturn:
        """Raises: in other libraries models are classes."""
        raise TypeError(
            f"Layer: {cls.__name__} needs no class; write its forward pass as a "
            "function and name its children, as in "
            "nn.compose(forward, fc=nn.linear(3, 4))"
        )


def to_input(x: Any) -> Any:
    """`x` with MLX arrays in place of NumPy's, also in tuples; all else is kept."""
    if isinstance(x, np.ndarray):
        return _from_numpy(x)
    if isinstance(x, tuple):
        parts = list(map(to_input, x))
        if any(new is not old for new, old in zip(parts, x, strict=True)):
            return x._make(parts) if hasattr(x, "_make") else tuple(parts)
    return x


def _from_numpy(x: Any) -> Array:
    array = to_array(x)
    if array is None:
        raise TypeError(
            f"apply: x must be an array of numbers, got {type(x).__name__} of dtype "
            f"{x.dtype}; convert it with astype, or fill in what is masked"
        )
    return array


_NOT_GIVEN: Any = object()
"""In place of `train`, which has no default, so that its absence can be explained."""


def as_apply(
    run: Callable[[Params, State, Any, bool, Key | None], tuple[Any, State]],
) -> ApplyFn:
    """The `apply` of a layer that does `run(params, state, x, train, key)`.

    Every layer's `apply` is made here, so that all are called in the same way: `train`
    must be given, as a bool, and NumPy arrays in `x` have become MLX arrays.
    """

    def apply(
        *args: Any, train: bool = _NOT_GIVEN, key: Key | None = None, **others: Any
    ) -> tuple[Any, State]:
        if len(args) != 3 or others:
            options = {**others, "train": train}
            raise TypeError(call_message(_apply, args, options, "apply"))
        _check_train(train)
        params, state, x = args
        return run(params, state, to_input(x), train, key)

    apply.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # for `help`
    return apply


def _apply(
    params: Params, state: State, x: Any, /, *, train: bool, key: Key | None = None
) -> None:
    """The signature that errors about calls of a layer's `apply` show."""


_SIGNATURE = inspect.signature(_apply)


def _check_train(train: Any) -> None:
    """Raises unless `train` was given, as a bool."""
    if isinstance(train, bool):
        return
    if train is _NOT_GIVEN:
        raise TypeError(
            "apply: train must be given, as some layers differ between training and "
            "evaluation; call apply(params, state, x, train=True, key=key) or "
            "apply(params, state, x, train=False)"
        )
    got = "an array" if isinstance(train, mx.array) else repr(train)
    raise TypeError(
        f"apply: train must be True or False, got {got}; a bool that jit is given "
        "stays one"
    )


def check_layer(caller: str, layer: Any) -> None:
    """Raises unless `layer` is one."""
    if not isinstance(layer, Layer):
        raise TypeError(
            f"{caller}: layer must be a layer, got {type(layer).__name__} "
            f"{reprlib.repr(layer)}; make one of a function on arrays with nn.lift"
        )


def no_params(key: Key, /) -> tuple[Params, State]:
    """The `init` of a layer that has neither params nor state."""
    return {}, {}


def wrap(
    layer: Layer,
    run: Callable[[Params, State, Any, bool, Key | None], tuple[Any, State]],
    *,
    init: InitFn | None = None,
) -> Layer:
    """A layer whose `run` gives `layer` the input as it is, and returns its output."""
    apply = seam.marked_like(as_apply(run), layer.apply)
    if init is not None:
        return Layer(init, apply)
    return Layer(layer.init, around(apply, layer))


def around(apply: ApplyFn, layer: Layer) -> ApplyFn:
    """`apply`, marked as having the params of `layer`."""
    apply.wrapped = layer  # type: ignore[attr-defined]  # nn.shard_params looks inside
    return apply


def note_call(
    apply: Any, fn: Any, args: Sequence[Any] = (), options: Mapping[str, Any] = {}
) -> None:
    """Notes for `repr` that `fn(*args, **options)` made the layer of `apply`."""
    if isinstance(fn, partial):
        fn, args, options = fn.func, fn.args, fn.keywords
    name = getattr(fn, "__name__", type(fn).__name__)
    given = [_shown(arg) for arg in args]
    given += [f"{key}={_shown(arg)}" for key, arg in options.items()]
    apply.made_by = f"{name}({', '.join(given)})" if given else name


def finish(made: Any, fn: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Gives a layer that a public function made a `repr`, and errors to its `init`.

    Anything else is returned as it is.
    """
    if not isinstance(made, Layer):
        return made
    note_call(made.apply, fn, args, options)
    hint = ", without an input, since a layer is given its sizes"
    return made._replace(init=explains_positions(made.init, "init", hint))


def _shown(arg: Any) -> str:
    """An argument of a constructor, in a few characters."""
    if isinstance(arg, mx.array):
        return f"array of shape {arg.shape}"
    return getattr(arg, "__name__", None) or reprlib.repr(arg)


def quantizable(layer: Layer, *paths: str) -> Layer:
    """Marks the params at these paths as weights that `nn.quantize` may quantize."""
    layer.apply.quantizable = paths  # type: ignore[attr-defined]  # nn.quantize reads it
    return layer


def check_held(held: Any, kind: str, caller: str = "apply") -> None:
    """Raises unless params or state are a dict."""
    if not isinstance(held, dict):
        raise TypeError(
            f"{caller}: {kind} must be a dict as init returns it, got "
            f"{type(held).__name__}; init returns the pair (params, state)"
        )


class _Held(dict[str, Any]):
    """A layer's params or state, in which a missing name is the caller's mistake."""

    counts_as_dict = True  # to the functions of `tree`, which return plain dicts

    def __init__(self, held: dict[str, Any], kind: str, caller: str) -> None:
        super().__init__(held)
        self.kind = kind
        self.caller = caller

    def __missing__(self, name: str) -> Any:
        has = ", ".join(map(str, self)) or "nothing"
        raise ValueError(
            f"{self.caller}: {self.kind} must hold {name!r}, got {has}; were they made "
            "by this layer's init?"
        )


def require_names(
    held: dict[str, Any], kind: str, caller: str = "apply"
) -> dict[str, Any]:
    """The params or the state, which must hold every name that is read of them."""
    check_held(held, kind, caller)
    return _Held(held, kind, caller)
