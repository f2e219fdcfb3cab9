"""The graph of a function of trees, in MLX's own operations, for a file."""

import contextlib
import re
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.ops import mlx_transforms, seam
from lucid_fn.tracing import lazily, transforming
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.arguments import to_arrays
from lucid_fn.transforms.exported import Flat
from lucid_fn.types import Array


def flat_function(
    fn: Callable[..., Any], structure: tree.Structure
) -> tuple[Flat, list[tree.Structure]]:
    """`fn` from arrays to arrays, and a list that gets the structure of its results."""
    results: list[tree.Structure] = []

    def flat(arrays: list[Array]) -> list[Array]:
        value = fn(*tree.unflatten(structure, arrays))
        out, result = to_arrays(value, "result", "export")
        results.append(result)
        return out

    return flat, results


@contextlib.contextmanager
def tracing(name: str, again: Callable[[], Any]) -> Any:
    """Traces plain formulations inside the block, and explains MLX's errors."""
    reason = f"which `{name}` would hold as a constant"
    fix = "give it a key that comes in as an argument"
    try:
        with (
            diagnosis.drawing_nothing(name, "export", reason, fix, again),
            diagnosis.explaining_value_reads(name, "export"),
            seam.plain(),
            transforming(),
            lazily(),
        ):
            yield
    except (ValueError, RuntimeError) as error:
        if re.search("Unable to (serialize|get state for) primitive", str(error)):
            primitive = str(error).rpartition(" ")[2]
            raise ValueError(
                f"export: MLX cannot write the operation {primitive}, which `{name}` "
                f"uses, to a file; {_FIXES.get(primitive, 'use other operations')}"
            ) from error
        raise


_FIXES = {
    "CustomTransforms": "use lf.custom_vjp in place of mx.custom_function",
    "Contiguous": "leave mx.contiguous out",
    "Compiled": "leave mx.compile out",
}


class _Found(Exception):
    """Ends a trace once its constants are found."""


def constants_of(flat: Flat, arrays: list[Array]) -> list[Array]:
    """The constants in the graph of a function; `mx.grad` in it is an error."""
    found: list[Array] = []

    def look(event: dict[str, Any]) -> None:
        if "constants" in event:
            found.extend(array for _, array in event["constants"])
            raise _Found

    with mlx_transforms.checking(), contextlib.suppress(_Found):
        mx.export_function(look, lambda *arrays: flat(list(arrays)), *arrays)
    return found


def without_rules(flat: Flat) -> Callable[..., list[Array]]:
    """The function whose graph has MLX's own operations only."""

    def unwrapped(*arrays: Array) -> list[Array]:
        with mlx_transforms.exporting(arrays[0]):
            return flat(list(arrays))

    return unwrapped
