"""Captured values: those that a function reads without taking them as arguments.

A compiled function keeps the value that such a name had when it was traced. That is
right for constants, and silently wrong once the name is bound to another value, or if
the value is a tracer of another transformation.
"""

import functools
import gc
from collections.abc import Callable
from operator import is_
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.tracing import any_traced, is_transforming
from lucid_fn.transforms import bytecode
from lucid_fn.transforms.arguments import leaf_paths, name_of, parameter_names
from lucid_fn.transforms.reads import (
    CONTAINERS,
    NUMBERS,
    attribute,
    of_library,
    reads_of,
)

_MAX_NUMBERS = 256  # items of a container whose numbers are compared at every call


class Capture(NamedTuple):
    """A name, the function that reads it, and how to read it again."""

    name: str
    owner: str
    read: Callable[[], Any]
    seen: list[Any]  # the fingerprint of its value when the function was compiled
    kept: list[Any]  # the arrays, kept alive so that no identity is used again


def parts_of(value: Any) -> tuple[list[Any], list[tuple[FunctionType, Any]]]:
    """The arrays in a value, and the Python functions that calling it can reach.

    A function comes with the object that it is a method of, or `None`.
    """
    arrays: list[Any] = []
    functions: list[tuple[FunctionType, Any]] = []
    visited: set[int] = set()
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, np.ndarray) and node.dtype.hasobject:
            todo += node.ravel().tolist()
        elif isinstance(node, mx.array | np.ndarray):
            arrays.append(node)
        elif isinstance(node, FunctionType):
            functions.append((node, None))
        elif isinstance(node, MethodType):
            if isinstance(node.__func__, FunctionType):
                functions.append((node.__func__, node.__self__))
        elif isinstance(node, functools.partial):
            todo += [node.func, *node.args, *node.keywords.values()]
        elif isinstance(node, CONTAINERS):
            if id(node) not in visited:
                visited.add(id(node))
                if isinstance(node, dict | MappingProxyType):
                    todo += node.values()
                else:
                    todo += node
        elif not isinstance(node, type):
            call = attribute(node, "__call__")
            if isinstance(call, MethodType):
                todo.append(call)
    return arrays, functions


def address_of(array: Any) -> int:
    """The address of an array's values: `a += 1` changes it, but not the object."""
    try:
        view = np.asarray(array)
    except ValueError:  # NumPy has no bfloat16
        try:
            view = np.frombuffer(array, np.uint8)
        except BufferError:  # nor a view of its bytes when they are strided
            return 0
    except RuntimeError:  # it can never be computed; its use raises the error
        return 0
    return view.__array_interface__["data"][0]  # type: ignore[no-any-return]  # an int


def _fingerprint(value: Any, arrays: list[Any]) -> list[Any]:
    """Differs once a name has another value."""
    return [(id(array), address_of(array)) for array in arrays] + _numbers(value)


def _numbers(value: Any) -> list[Any]:
    """A number, or those in nested dicts, lists and tuples, if they are few."""
    found: list[Any] = []
    todo, visited = [value], 0
    while todo and visited < _MAX_NUMBERS:
        node, visited = todo.pop(), visited + 1
        if isinstance(node, NUMBERS):
            found.append((type(node), repr(node)))
        elif isinstance(node, dict):
            todo += node.values()
        elif isinstance(node, list | tuple):
            todo += node
        elif isinstance(node, functools.partial):
            todo += [node.func, node.args, node.keywords]
    return found if not todo else []


def _has_changed(capture: Capture) -> bool:
    value = capture.read()
    arrays = parts_of(value)[0]
    # Others may be traced, and have no address.
    same = len(arrays) == len(capture.kept) and all(map(is_, arrays, capture.kept))
    return not same or _fingerprint(value, arrays) != capture.seen


def find(fn: Any, caller: str, *, traced: bool = False) -> list[Capture]:
    """The numbers, arrays and trees of arrays that `fn` and what it calls capture.

    Args:
        fn: the function.
        caller: the transformation, for messages.
        traced: whether they may be traced; `check` cannot take them, then.

    Raises:
        ValueError: if one is traced, and must not be: no gradient would reach it.
    """
    held, todo = parts_of(fn)
    found = [(held, "an argument of a partial", name_of(fn))]
    watched: dict[tuple[int, str], tuple[Any, Capture]] = {}
    if isinstance(fn, functools.partial):
        _, name, owner = found[0]
        parts = Capture(name, owner, lambda: fn, [], held)
        watched[id(fn), name] = fn, parts
    visited: set[tuple[int, int]] = set()
    transforming = is_transforming()
    while todo:
        function, bound = todo.pop()
        if (id(function), id(bound)) in visited:
            continue
        visited.add((id(function), id(bound)))
        owner, is_library = function.__name__, of_library(function)
        for name, read in reads_of(function, bound):
            value = read()
            arrays, functions = parts_of(value)
            todo += functions
            found.append((arrays, name, owner))
            if transforming and _passes_on(function, name, value):
                found.append((_reachable_arrays(value), name, owner))
            if is_library:
                continue
            numbers = bool(_numbers(value))
            if numbers and name in bytecode.assigned(function.__code__):
                numbers = False  # a counter of traces, say
            if numbers or arrays:
                capture = Capture(name, owner, read, [], arrays)
                watched[id(function), name] = value, capture
    if traced:
        return [capture for _, capture in watched.values()]
    _check_traced(found, caller)
    return [
        capture._replace(seen=_fingerprint(value, capture.kept))
        for value, capture in watched.values()
    ]


def _passes_on(fn: FunctionType, name: str, value: Any) -> bool:
    """Whether `fn` passes an object to another function, which reads attributes."""
    if callable(value) or isinstance(value, ModuleType | mx.array) or of_library(fn):
        return False
    reads = bytecode.dotted_reads(fn.__code__)
    return any(read.name == name and not read.attributes for read in reads)


def hold_doubles(captured: list[Capture]) -> bool:
    """Whether a captured array has the dtype float64."""
    return any(
        isinstance(array, mx.array) and array.dtype == mx.float64
        for capture in captured
        for array in capture.kept
    )


def _check_traced(found: list[tuple[list[Any], str, str]], caller: str) -> None:
    """Raises if an array is traced; each list comes with its name and reader."""
    every = [x for arrays, *_ in found for x in arrays if isinstance(x, mx.array)]
    # In the rules that MLX calls, it takes every array for one of a transformation.
    if not any_traced(every) or any_traced([mx.array(0.0)]):
        return
    for arrays, name, owner in found:
        if any_traced([x for x in arrays if isinstance(x, mx.array)]):
            raise ValueError(
                f"{caller}: `{owner}` reads `{name}`, which is not an argument but "
                "depends on a transformation around this call, such as grad or vmap; "
                "it would be taken for a constant, which no gradient reaches; pass "
                f"`{name}` as an argument"
            )


def check(captures: list[Capture], name: str) -> None:
    """Raises if a captured value has changed since it was compiled in."""
    for capture in captures:
        if _has_changed(capture):
            raise ValueError(
                f"jit: `{capture.owner}` reads `{capture.name}`, which is not an "
                f"argument and has changed since `{name}` was compiled with its old "
                f"value; pass `{capture.name}` as an argument, and return its new "
                "value if the function makes one"
            )


def after_trace(captures: list[Capture], name: str) -> list[Capture]:
    """The captures to check from now on; raises if the trace has changed an array.

    Numbers that the trace itself has changed, such as counters, are not among them.
    """
    kept = [c for c in captures if c.kept or not _has_changed(c)]
    check(kept, name)
    return kept


def check_constants(
    leaves: list[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fn: Any,
    caller: str,
) -> None:
    """Raises if an argument that is not a tree, such as a function, holds tracers."""
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, mx.array | np.generic | str | int | float):
            continue
        if any_traced([x for x in _reachable_arrays(leaf) if isinstance(x, mx.array)]):
            where = leaf_paths(parameter_names(fn), args, kwargs)[i]
            raise ValueError(
                f"{caller}: {where} of `{name_of(fn)}`, a {type(leaf).__name__}, "
                "holds arrays that depend on a transformation around this call, such "
                "as grad; no gradient would reach them; pass them as arguments, in "
                "dicts, lists, tuples or NamedTuples"
            )


def _reachable_arrays(value: Any) -> list[Any]:
    """All arrays that can be reached from a value, tree or not."""
    found: list[Any] = []
    visited: dict[int, Any] = {}  # alive, so that no identity is used again
    todo = [value]
    while todo:
        node = todo.pop()
        if id(node) in visited or isinstance(node, type | ModuleType):
            continue
        visited[id(node)] = node
        arrays, functions = parts_of(node)
        found += arrays
        for function, bound in functions:
            todo += [read() for _, read in reads_of(function, bound)]
        if not isinstance(node, FunctionType | mx.array):  # not all their globals
            todo += gc.get_referents(node)
    return found


def lost_array_error(name: str) -> ValueError:
    """The error for a function that MLX cannot compile even without merging."""
    return ValueError(
        f"jit: MLX merges equal operations of `{name}`, and loses a result; use "
        "slices, x[:, :n], in place of mx.split and mx.unstack, put mx.contiguous "
        "around what has_aux returns, and take arrays that are read from outside as "
        "arguments"
    )


def given_twice_error(
    captures: list[Capture], arrays: list[Any], name: str
) -> ValueError:
    """The error for an array that is both an argument and captured."""
    given = {id(array) for array in arrays}
    for capture in captures:
        if any(id(array) in given for array in capture.kept):
            return ValueError(
                f"jit: `{capture.owner}` reads `{capture.name}`, which `{name}` is "
                "also given as an argument; read the argument instead"
            )
    return ValueError(
        f"jit: `{name}` reads an array that it is also given as an argument; read the "
        "argument instead"
    )
