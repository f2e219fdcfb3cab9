"""`mx.vmap`, which refuses operations that MLX vectorizes wrongly.

MLX vectorizes a graph by a rule for each operation. Some rules are wrong where one
input is mapped and another is not: they return a wrong shape, read beyond the arrays,
or give all examples the result of the first. So the graph of a function is searched
for such operations before it is vectorized.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.context import holding
from lucid_fn.ops import mlx_transforms
from lucid_fn.types import Array

Axes = Sequence[int | None]


class _Fault(NamedTuple):
    """An operation that MLX vectorizes wrongly for some inputs."""

    use: str  # the code in words
    fix: str
    is_right: Callable[[list[bool]], bool]  # from which inputs are mapped


_BROADCAST = "mx.where(True, b, a) in place of b, which gives it the batch of a"


def _bitwise(symbol: str, logical: str = "") -> _Fault:
    instead = f"mx.{logical}(a, b) for bools, or " * bool(logical)
    return _Fault(
        f"computes a {symbol} b with a b that all examples share",
        instead + _BROADCAST,
        all,
    )


_ASSIGNMENT = _Fault(
    "assigns what all examples share to a part of an array (a[i] = b, a.at[i].add(b), "
    "mx.slice_update), or differentiates such an assignment",
    f"mx.where(mask, b, a) or mx.concatenate, or {_BROADCAST}",
    lambda has_batch: has_batch[1],
)
_FAULTS = {
    "BitwiseAnd": _bitwise("&", "logical_and"),
    "BitwiseOr": _bitwise("|", "logical_or"),
    "BitwiseXor": _bitwise("^", "not_equal"),
    "LeftShift": _bitwise("<<"),
    "RightShift": _bitwise(">>"),
    "NotEqual": _Fault(
        "computes b != a with a b that all examples share",
        "a != b",
        lambda has_batch: has_batch[0],
    ),
    "SliceUpdate": _ASSIGNMENT,
    "DynamicSliceUpdate": _ASSIGNMENT,
    "DivMod": _Fault("calls mx.divmod(a, b)", "a // b and a % b", lambda _: False),
    "AddMM": _Fault(
        "calls mx.addmm(c, a, b) with an a and a b that all examples share",
        "a @ b + c",
        lambda has_batch: has_batch[0] or has_batch[1],  # the inputs are a, b, c
    ),
}


def vectorize(
    fn: Callable[..., Any], in_axes: Axes, caller: str, name: str
) -> Callable[..., Any]:
    """`mx.vmap(fn, in_axes)`, with axis 0 as the batch of all results.

    Args:
        fn: function from arrays to an array, or to a sequence of arrays.
        in_axes: the axis of each argument that is mapped; `None` where none is.
        caller: the public function that errors begin with.
        name: the name of `fn` in errors.

    Raises:
        ValueError: when called, if MLX would give wrong results.
    """

    def checked(*arrays: Array) -> Any:
        out = noting_mapped(fn, in_axes)(*arrays)
        batched = [
            x for x, axis in zip(arrays, in_axes, strict=True) if axis is not None
        ]
        _check(batched, [out] if isinstance(out, mx.array) else out, caller, name)
        return out

    # Some rules, such as that of expand_dims, are right for a batch at axis 0 only.
    first = tuple(None if axis is None else 0 for axis in in_axes)

    def run(*arrays: Array) -> Any:
        moved = [
            mx.moveaxis(x, axis, 0) if axis else x
            for x, axis in zip(arrays, in_axes, strict=True)
        ]
        return mlx_transforms.vmap(checked, in_axes=first)(*moved)

    return run


# Set while `mx.vmap` traces a function; seen by the thread that traces.
_mapped: ContextVar[Array | None] = ContextVar("mapped", default=None)


def noting_mapped(fn: Callable[..., Any], in_axes: Axes) -> Callable[..., Any]:
    """`fn`, to be given to `mx.vmap`: `mapped_array` finds an array inside of it."""

    def noted(*arrays: Array) -> Any:
        pairs = zip(arrays, in_axes, strict=True)
        with holding(_mapped, next(x for x, axis in pairs if axis is not None)):
            return fn(*arrays)

    return noted


def mapped_array() -> Array | None:
    """An array that the innermost enclosing `vmap` maps; `None` outside of `vmap`."""
    return _mapped.get()


def _check(
    batched: Sequence[Array], results: Sequence[Array], caller: str, name: str
) -> None:
    """Raises if an operation between `batched` and `results` has a wrong rule."""
    file = io.StringIO()
    names = {f"batched{i}": x for i, x in enumerate(batched)}
    mx.export_to_dot(file, *results, **names)
    graph = file.getvalue()
    if not any(f'"{operation}' in graph for operation in _FAULTS):
        return
    mapped = set(names)
    for operation, inputs, outputs in _operations(graph):
        has_batch = [x in mapped for x in inputs]
        if not any(has_batch):
            continue
        mapped.update(outputs)
        fault = _FAULTS.get(operation)
        if fault and not fault.is_right(has_batch):
            raise ValueError(
                f"{caller}: {name} {fault.use}, which MLX vectorizes wrongly; write "
                f"{fault.fix}"
            )


def _operations(graph: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, inputs and outputs of each operation of a graph, in topological order."""
    operation, inputs, outputs, number = "", [""] * 0, [""] * 0, ""
    for line in graph.splitlines():
        if "[label" in line:
            if number:
                yield operation, inputs, outputs
            number = line.split()[1]
            operation = line.split('"')[1].split()[0]  # as in "SliceUpdate Max"
            inputs, outputs = [], []
        elif line.endswith(f"-> {number}"):
            inputs.append(line.split('"')[1])
        elif line.startswith(f"{number} -> "):
            outputs.append(line.split('"')[1])
    if number:
        yield operation, inputs, outputs
