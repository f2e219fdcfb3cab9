"""Trace a function to MLX's graph, with sizes that depend on the batch."""

import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.types import Array


class Size(NamedTuple):
    """A size that depends on the batch size N: slope * N + offset."""

    slope: int
    offset: int


Shape: TypeAlias = tuple[int | Size, ...]
ArrayInfo: TypeAlias = tuple[str, Shape, mx.Dtype]  # name, shape and dtype of an array


class Operation(NamedTuple):
    """One of MLX's primitives, between arrays of the graph."""

    name: str
    arguments: list[Any]
    inputs: list[ArrayInfo]
    outputs: list[ArrayInfo]


class Trace(NamedTuple):
    """A graph, with its operations in the order of computation."""

    inputs: list[ArrayInfo]
    outputs: list[ArrayInfo]
    constants: list[tuple[str, Array]]
    operations: list[Operation]


def trace(fn: Callable[..., list[Array]], arrays: list[Array]) -> Trace:
    """Trace a function of arrays."""
    found: dict[str, Any] = {}
    operations = []

    def record(event: dict[str, Any]) -> None:
        if event.pop("type") == "primitive":
            operations.append(Operation(**event))
        else:
            found.update(event)

    mx.export_function(record, fn, *arrays)
    return Trace(found["inputs"], found["outputs"], found["constants"], operations)


class TracesDiffer(Exception):
    """The graphs of different batch sizes differ other than in sizes."""


def join(traces: dict[int, Trace]) -> Trace:
    """Join traces by batch size into one trace for any batch size.

    Raises:
        TracesDiffer: if they differ other than in sizes that depend linearly on the
            batch size.
    """
    counts = list(traces)

    def joined(*values: Any) -> Any:
        first = values[0]
        if isinstance(first, mx.array):
            if all(_is_equal(x, first) for x in values):
                return first
        elif isinstance(first, list | tuple):
            if len({len(x) for x in values}) == 1:
                items = map(joined, *values)
                return type(first)(*items if hasattr(first, "_fields") else [items])
        elif all(x == first for x in values):
            return first
        elif isinstance(first, int | float):
            slope = (values[1] - first) // (counts[1] - counts[0])
            size = Size(int(slope), int(first - slope * counts[0]))
            pairs = zip(values, counts, strict=True)
            if all(x == size.slope * n + size.offset for x, n in pairs):
                return size
        texts = [_describe(x) for x in values]
        other = next((i for i, text in enumerate(texts) if text != texts[0]), 1)
        raise TracesDiffer(
            f"{texts[0]} for {counts[0]} examples and {texts[other]} for "
            f"{counts[other]}"
        )

    return joined(*traces.values())  # type: ignore[no-any-return]  # like its arguments


def _is_equal(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(mx.all((a == b) | ((a != a) & (b != b))).item())


def _describe(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return f"{len(value)} parts of the graph"
    if isinstance(value, mx.array):
        few = value.flatten()[:7] if value.ndim else value
        return f"the constant {reprlib.repr(few.tolist())}"
    return repr(value)
