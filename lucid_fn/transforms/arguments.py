"""Helpers of all transformations: names of arguments, conversion to arrays."""

import dataclasses
import inspect
import reprlib
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import checks, tree
from lucid_fn.numpy_arrays import to_array
from lucid_fn.types import Array, Tree


def name_of(fn: Callable[..., Any]) -> str:
    """The name of a function in messages."""
    return getattr(fn, "__name__", type(fn).__name__)


def parameter_names(fn: Callable[..., Any]) -> list[str]:
    """The names of the positional parameters; none for a function without signature."""
    signature = checks.signature_of(fn)
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    parameters = () if signature is None else signature.parameters.values()
    return [p.name for p in parameters if p.kind in positional]


def leaf_paths(
    names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[str]:
    """The paths of the leaves of `(args, kwargs)`, which start with parameter names."""
    found = []
    for i, arg in enumerate(args):
        name = names[i] if i < len(names) else f"args[{i}]"
        found += [f"{name}.{path}".rstrip(".") for path in tree.paths(arg)]
    return found + tree.paths(kwargs)


def check_function(caller: str, fn: Any, *, fix: str = "") -> None:
    """Raises unless `fn` can be called; the error ends with `fix`."""
    checks.check_function(caller, "fn", fn, fix=fix)


def as_array(value: Any) -> Array | None:
    """An MLX array of a number or a NumPy array; `None` for any other value."""
    if isinstance(value, mx.array):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return None if isinstance(value, np.bool_) else to_array(value)
    if isinstance(value, bool) or not isinstance(value, int | float | complex):
        return None
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    return mx.array(value)


def as_result(value: Any) -> Array | None:
    """`as_array` for results of functions, which may be bools."""
    is_bool = isinstance(value, bool | np.bool_)
    return mx.array(bool(value)) if is_bool else as_array(value)


def owned(value: Any) -> Any:
    """The same array as another Python object; any other value as it is.

    If a function changes it in place, as by `x += 1`, the caller does not see that.
    """
    return value.astype(value.dtype) if isinstance(value, mx.array) else value


def describe(value: Any) -> str:
    """A leaf in messages: dtype and shape, or type and value."""
    if isinstance(value, mx.array):
        return f"{value.dtype} {value.shape}".replace("mlx.core.", "")
    if is_foreign(value):
        return f"{type(value).__name__} of {value.dtype}, shape {tuple(value.shape)}"
    return f"{type(value).__name__} {reprlib.repr(value)}"


def is_foreign(value: Any) -> bool:
    """Whether a value is an array of another library, such as PyTorch's tensors."""
    return (
        hasattr(value, "__dlpack__")
        and hasattr(value, "shape")
        and not isinstance(value, mx.array | np.ndarray | np.generic)
    )


def remedy(value: Any) -> str | None:
    """How to convert a value that cannot be an argument, if that is known."""
    if isinstance(value, np.ma.MaskedArray):
        return "fill in what is masked with its .filled(value)"
    if is_foreign(value):
        return "convert it with mx.array(np.asarray(x))"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "write it as a NamedTuple or a dict, since a dataclass is not a tree"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "integers have 64 bits at most"
    return None


def to_arrays(
    values: Tree, what: str, caller: str
) -> tuple[list[Array], tree.Structure]:
    """The leaves of a tree, as arrays."""
    leaves, structure = tree.flatten(values)
    arrays = []
    for i, leaf in enumerate(leaves):
        array = as_array(leaf)
        if array is None:
            where = f"{what}.{tree.paths(values)[i]}".rstrip(".")
            fix = remedy(leaf)
            raise TypeError(
                f"{caller}: {where} must be an array, got {describe(leaf)}"
                + (f"; {fix}" if fix else "")
            )
        arrays.append(array)
    return arrays, structure


def fenced(flat: Callable[..., list[Array]]) -> Callable[..., list[Array]]:
    """`flat` for `mx.vjp`, which mishandles results of `mx.stop_gradient`.

    It gives their cotangents to the next results. `mx.contiguous` hides the operation
    from it, and costs nothing: only the gradient is computed.
    """
    return lambda *arrays: [mx.contiguous(y) for y in flat(*arrays)]


def split_aux(
    out: Any, has_aux: bool, name: str, caller: str, what: str = "result"
) -> tuple[Any, Any]:
    """The value to differentiate, and what a function returns besides."""
    if not has_aux:
        return out, None
    if not (isinstance(out, tuple) and len(out) == 2):
        raise TypeError(
            f"{caller}: with has_aux=True `{name}` must return ({what}, aux), got "
            f"{type(out).__name__}"
        )
    return out
