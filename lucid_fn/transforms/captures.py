"""Arrays that a function reads without being given them.

A compiled function keeps the value such an array had when it was traced. That is
right for constants, and silently wrong once the name is bound to another array.
"""

import dis
import functools
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree

# Their globals are theirs to keep constant; what their closures hold may be a user's.
_TRUSTED = ("lucid_fn", "mlx", "numpy")


class Capture(NamedTuple):
    """A name, the function that reads it, and how to read it again."""

    name: str
    owner: str
    read: Callable[[], Any]
    seen: list[int]  # the identities of its leaves when the function was compiled
    kept: list[Any]  # the leaves themselves, so that no identity is used again


def _global_names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _read_cell(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _reads(fn: FunctionType) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The free names of a function and how to read each."""
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        yield name, functools.partial(_read_cell, cell)
    if (fn.__module__ or "").partition(".")[0] not in _TRUSTED:
        for name in set(_global_names(fn.__code__)) & fn.__globals__.keys():
            yield name, functools.partial(fn.__globals__.get, name)


def _functions(value: Any) -> Iterator[FunctionType]:
    """The Python functions that calling `value` can reach at once."""
    if isinstance(value, functools.partial):
        yield from _functions(value.func)
    elif isinstance(value, MethodType):
        yield from _functions(value.__func__)
    elif isinstance(value, FunctionType):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _functions(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _functions(item)


def _array_leaves(value: Any) -> list[Any]:
    if isinstance(value, mx.array):
        return [value]
    if isinstance(value, dict | list | tuple):
        return [leaf for leaf in tree.leaves(value) if isinstance(leaf, mx.array)]
    return []


def find(fn: Callable[..., Any]) -> list[Capture]:
    """The arrays, and trees of arrays, that `fn` and what it calls capture."""
    found: list[Capture] = []
    visited: set[int] = set()
    todo = list(_functions(fn))
    while todo:
        function = todo.pop()
        if id(function) in visited:
            continue
        visited.add(id(function))
        trusted = (function.__module__ or "").partition(".")[0] in _TRUSTED
        for name, read in _reads(function):
            value = read()
            todo += _functions(value)
            arrays = [] if trusted else _array_leaves(value)
            if arrays:
                ids = [id(a) for a in arrays]
                found.append(Capture(name, function.__name__, read, ids, arrays))
    return found


def check(captures: list[Capture], name: str) -> None:
    """Raises if a captured array is not the one that was compiled in."""
    for capture in captures:
        if [id(a) for a in _array_leaves(capture.read())] != capture.seen:
            raise ValueError(
                f"jit: `{capture.owner}` reads `{capture.name}`, which is not an "
                f"argument and has changed since `{name}` was compiled with its old "
                f"value; pass `{capture.name}` as an argument, and return its new "
                "value if the function makes one"
            )
