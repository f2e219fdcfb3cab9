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
from lucid_fn.types import Key, Params, State


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
    """A pair of pure functions, `init` and `apply`.

    `init(key) -> (params, state)` and
    `apply(params, state, x, train=..., key=...) -> (y, state)`. Any pair of such
    functions is a layer, including one written by hand.

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
        """Always raises: a layer is not callable, as it is in other libraries."""
        raise TypeError(
            "Layer: a layer is a pair of functions and not callable itself; write "
            "params, state = layer.init(key), then "
            "y, state = layer.apply(params, state, x, train=False)"
        )

    def __getattr__(self, name: str) -> NoReturn:
        """Always raises: a layer has no methods, such as `parameters()`."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"a layer is a pair of functions and has no {name!r}; its params and its "
            "state are what layer.init(key) returns"
        )

    @classmethod
    def __init_subclass__(cls, **options: Any) -> NoReturn:
        """Always raises: models are not subclasses, as they are in other libraries."""
        raise TypeError(
            f"Layer: {cls.__name__} needs no class; write its forward pass as a "
            "function and name its children, as in "
            "nn.compose(forward, fc=nn.linear(3, 4))"
        )


def to_input(x: Any) -> Any:
    """`x` with NumPy arrays, alone or in tuples, converted to MLX arrays."""
    if isinstance(x, np.ndarray):
        array = to_array(x)
        if array is None:
            raise TypeError(
                f"apply: x must be an array of numbers, got {type(x).__name__} of "
                f"dtype {x.dtype}; convert it with astype, or fill in what is masked"
            )
        return array
    if isinstance(x, tuple):
        parts = list(map(to_input, x))
        if any(new is not old for new, old in zip(parts, x, strict=True)):
            return x._make(parts) if hasattr(x, "_make") else tuple(parts)
    return x


_NOT_GIVEN: Any = object()
"""Default of `train`, so that a call without it gets an error that explains it."""


def as_apply(
    run: Callable[[Params, State, Any, bool, Key | None], tuple[Any, State]],
) -> ApplyFn:
    """The `apply` of a layer that computes `run(params, state, x, train, key)`.

    Every layer's `apply` is made here, so that all follow the same rules: `train` must
    be given, as a bool, and NumPy arrays in `x` are converted to MLX arrays.
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
    """The signature of every `apply`, for `help` and for errors."""


_SIGNATURE = inspect.signature(_apply)


def _check_train(train: Any) -> None:
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
        f"apply: train must be True or False, got {got}; lf.jit passes on bools as "
        "they are"
    )


def check_layer(caller: str, layer: Any) -> None:
    """Raises unless `layer` is a `Layer`."""
    if not isinstance(layer, Layer):
        raise TypeError(
            f"{caller}: layer must be a layer, got {type(layer).__name__} "
            f"{reprlib.repr(layer)}; make one from a function on arrays with nn.lift"
        )


def no_params(key: Key, /) -> tuple[Params, State]:
    """The `init` of a layer with neither params nor state."""
    return {}, {}


def wrap(
    layer: Layer,
    run: Callable[[Params, State, Any, bool, Key | None], tuple[Any, State]],
    *,
    init: InitFn | None = None,
) -> Layer:
    """A wrapper of `layer`, where `run` passes on the input and the output unchanged.

    Without an `init` of its own, the wrapper has the params and the state of `layer`.
    """
    apply = seam.marked_like(as_apply(run), layer.apply)
    if init is not None:
        return Layer(init, apply)
    return Layer(layer.init, mark_wrapping(apply, layer))


def mark_wrapping(apply: ApplyFn, layer: Layer) -> ApplyFn:
    """Marks `apply` as that of a wrapper with the params of `layer`."""
    apply.wrapped = layer  # type: ignore[attr-defined]  # nn.shard_params looks inside
    return apply


def note_constructor(
    apply: Any, fn: Any, args: Sequence[Any] = (), options: Mapping[str, Any] = {}
) -> None:
    """Notes on `apply`, for `repr`, that `fn(*args, **options)` made its layer."""
    if isinstance(fn, partial):
        fn, args, options = fn.func, fn.args, fn.keywords
    name = getattr(fn, "__name__", type(fn).__name__)
    given = [_shown(arg) for arg in args]
    given += [f"{key}={_shown(arg)}" for key, arg in options.items()]
    apply.made_by = f"{name}({', '.join(given)})" if given else name


def finish(made: Any, fn: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Gives a layer that `fn(*args, **options)` made its `repr`, and errors of `init`.

    Anything else is returned unchanged.
    """
    if not isinstance(made, Layer):
        return made
    note_constructor(made.apply, fn, args, options)
    hint = ", without an input, since a layer is given its sizes"
    return made._replace(init=explains_positions(made.init, "init", hint))


def _shown(arg: Any) -> str:
    """A short representation of an argument of a constructor."""
    if isinstance(arg, mx.array):
        return f"array of shape {arg.shape}"
    return getattr(arg, "__name__", None) or reprlib.repr(arg)


def quantizable(layer: Layer, *paths: str) -> Layer:
    """Marks the params at these paths as weights that `nn.quantize` may quantize."""
    layer.apply.quantizable = paths  # type: ignore[attr-defined]  # nn.quantize reads it
    return layer


def check_dict(values: Any, kind: str, caller: str = "apply") -> None:
    """Raises unless a layer's params or state, as `kind` says, are a dict."""
    if not isinstance(values, dict):
        raise TypeError(
            f"{caller}: {kind} must be a dict as init returns it, got "
            f"{type(values).__name__}; init returns the pair (params, state)"
        )


def missing_name(
    values: dict[str, Any], name: str, kind: str, caller: str
) -> ValueError:
    """The error for params or a state without a name that the layer needs."""
    has = ", ".join(map(str, values)) or "nothing"
    return ValueError(
        f"{caller}: {kind} must hold {name!r}, got {has}; were they made by this "
        "layer's init?"
    )


class _RequiredNames(dict[str, Any]):
    """A layer's params or state, which raises `missing_name` in place of `KeyError`."""

    counts_as_dict = True  # to the functions of `tree`, which return plain dicts

    def __init__(self, values: dict[str, Any], kind: str, caller: str) -> None:
        super().__init__(values)
        self.kind = kind
        self.caller = caller

    def __missing__(self, name: str) -> Any:
        raise missing_name(self, name, self.kind, self.caller)


def require_names(
    values: dict[str, Any], kind: str, caller: str = "apply"
) -> dict[str, Any]:
    """Params or a state that raise a helpful error where a name is missing."""
    check_dict(values, kind, caller)
    return _RequiredNames(values, kind, caller)
