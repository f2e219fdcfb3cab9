"""`mx.vmap`, which refuses what MLX would vectorize wrongly.

MLX vectorizes a graph by a rule for each of its operations. Some rules are wrong where
one input has the batch and another has not: they give another shape, values from beyond
the arrays, or the result of example 0 alone. The graph that a function made is looked
through for these before it is vectorized.
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
    """What MLX's rule gets wrong."""

    use: str  # what a function does in words
    fix: str
    is_right: Callable[[list[bool]], bool]  # by which inputs have the batch


_SPREAD = "mx.where(True, b, a) in place of b, which gives it the batch of a"


def _bitwise(symbol: str, logical: str = "") -> _Fault:
    instead = f"mx.{logical}(a, b) for bools, or " * bool(logical)
    return _Fault(
        f"computes a {symbol} b with a b that all examples share",
        instead + _SPREAD,
        all,
    )


_ASSIGNMENT = _Fault(
    "assigns what all examples share to a part of an array (a[i] = b, a.at[i].add(b), "
    "mx.slice_update), or differentiates such an assignment",
    f"mx.where(mask, b, a) or mx.concatenate, or {_SPREAD}",
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
    """`mx.vmap(fn, in_axes)`, the batch of all results being axis 0.

    Args:
        fn: arrays to an array, or to a sequence of arrays.
        in_axes: the axis of the batch of each argument, `None` where it has none.
        caller: public function that errors name.
        name: what errors call `fn`, as in "`loss`".

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


# Set while a function is traced by `mx.vmap`, and seen by its own thread only.
_mapped: ContextVar[Array | None] = ContextVar("mapped", default=None)


def noting_mapped(fn: Callable[..., Any], in_axes: Axes) -> Callable[..., Any]:
    """`fn`, to be given to `mx.vmap`: inside of it `mapped_array` has a result."""

    def noted(*arrays: Array) -> Any:
        pairs = zip(arrays, in_axes, strict=True)
        with holding(_mapped, next(x for x, axis in pairs if axis is not None)):
            return fn(*arrays)

    return noted


def mapped_array() -> Array | None:
    """An array that the innermost `vmap` around maps; `None` outside of all."""
    return _mapped.get()


def _check(
    batched: Sequence[Array], results: Sequence[Array], caller: str, name: str
) -> None:
    """Raises if an operation between `batched` and `results` has a wrong rule."""
    written = io.StringIO()
    names = {f"batched{i}": x for i, x in enumerate(batched)}
    mx.export_to_dot(written, *results, **names)
    graph = written.getvalue()
    if not any(f'"{operation}' in graph for operation in _FAULTS):
        return
    found = set(names)
    for operation, inputs, outputs in _operations(graph):
        has_batch = [x in found for x in inputs]
        if not any(has_batch):
            continue
        found.update(outputs)
        fault = _FAULTS.get(operation)
        if fault and not fault.is_right(has_batch):
            raise ValueError(
                f"{caller}: {name} {fault.use}, which MLX vectorizes wrongly; write "
                f"{fault.fix}"
            )


def _operations(graph: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, inputs and outputs of each operation, in the order of computation."""
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
