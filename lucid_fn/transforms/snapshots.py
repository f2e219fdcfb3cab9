"""What the names that a function reads from outside hold, at two times."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn.transforms.captures import NUMBERS, of_library, parts_of, reads_of


def snapshot(fn: Any) -> list[tuple[str, Callable[[], Any], Any]]:
    """The names that `fn` and what it calls read from outside, and what they hold."""
    seen: dict[tuple[int, str], tuple[str, Callable[[], Any], Any]] = {}
    visited: set[tuple[int, int]] = set()
    todo = parts_of(fn)[1]
    while todo:
        function, bound = todo.pop()
        if (id(function), id(bound)) in visited:
            continue
        visited.add((id(function), id(bound)))
        for name, read in reads_of(function, bound):
            todo += parts_of(read())[1]
            if not of_library(function):
                seen[id(function), name] = (name, read, _content(read()))
    return list(seen.values())


def changed(seen: list[tuple[str, Callable[[], Any], Any]]) -> str | None:
    """A name of a snapshot that holds something else by now."""
    for name, read, content in seen:
        if _content(read()) != content:
            return name
    return None


def _content(value: Any) -> Any:
    """What tells a value from a later one: its identity, and that of its parts."""
    if isinstance(value, (*NUMBERS, str)):
        return type(value), repr(value)
    if isinstance(value, mx.array):
        return id(value), np.array(value.reshape(-1).view(mx.uint8)).tobytes()
    if isinstance(value, np.ndarray):
        return id(value), value.tobytes()
    if isinstance(value, dict):
        return id(value), [(repr(k), _content(v)) for k, v in value.items()]
    if isinstance(value, list | tuple | set):
        return id(value), [_content(item) for item in value]
    return id(value)
