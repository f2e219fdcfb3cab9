"""The traces of a compiled function: what each depends on, and how many there are."""

from collections.abc import Hashable
from typing import Any

from lucid_fn import tree
from lucid_fn.transforms.arguments import describe, leaf_paths
from lucid_fn.types import Array

MAX_KEPT = 64
"""The number of traces that a compiled function keeps: those used last."""


def shapes(arrays: list[Array]) -> Hashable:
    """What a trace depends on besides the key of a call."""
    return tuple([(a.shape, a.dtype) for a in arrays])


def signature(
    names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, str]:
    """What a trace depends on, by the path of the leaf."""
    paths = leaf_paths(names, args, kwargs)
    leaves = tree.leaves((args, kwargs))
    return {p: describe(leaf) for p, leaf in zip(paths, leaves, strict=True)}


def check_count(
    name: str, old: list[dict[str, str]], new: dict[str, str], max_traces: int | None
) -> None:
    """Raises if one more trace is too many.

    The message names the leaves that differ from those of the most similar trace.
    """
    if max_traces is None or len(old) < max_traces:
        return

    def changes(trace: dict[str, str]) -> list[str]:
        return [
            f"{path} was {trace.get(path, 'absent')}, is {new.get(path, 'absent')}"
            for path in sorted({**trace, **new})
            if trace.get(path) != new.get(path)
        ]

    shown = "; ".join(min(map(changes, old), key=len)[:5]) or (
        "the structure of the arguments changed: None, an empty container, or an "
        "argument by name instead of by position"
    )
    raise RuntimeError(
        f"jit: `{name}` would be traced {len(old) + 1} times, max_traces is "
        f"{max_traces}: {shown}"
    )
