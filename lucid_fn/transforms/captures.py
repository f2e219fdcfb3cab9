"""Values that a function reads without being given them.

A compiled function keeps the value that such a name had when it was traced. That is
right for constants, and silently wrong once the name is bound to another value, or
once the value is a traced one of another transformation.
"""

import functools
import gc
import os
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterator
from operator import is_
from pathlib import Path
from types import (
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.tracing import any_traced, is_transforming
from lucid_fn.transforms import bytecode
from lucid_fn.transforms.arguments import leaf_paths, name_of, parameter_names

# What libraries read is theirs to keep constant; but their closures may hold a user's
# functions.
_LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parent.parent,
        *(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")),
    )
)
_INSTALLED = tuple(f"{os.sep}{name}-packages{os.sep}" for name in ("site", "dist"))

MISSING = object()
CONTAINERS = (dict, list, tuple, set, frozenset, deque, MappingProxyType)
NUMBERS = (int, float, np.number)
KEEPS = "__compiles__"  # where `jit` says what it compiles
_FEW = 256  # items of a container whose numbers are compared at every call


class Capture(NamedTuple):
    """A name, the function that reads it, and how to read it again."""

    name: str
    owner: str
    read: Callable[[], Any]
    seen: list[Any]  # what told its value when the function was compiled
    kept: list[Any]  # the arrays, so that no identity is used again


@functools.lru_cache(maxsize=4096)
def _in_library(file: str) -> bool:
    # Of this Python, or of another one or a user, to whom `sys.path` leads.
    return file.startswith(_LIBRARIES) or any(part in file for part in _INSTALLED)


def of_library(fn: FunctionType) -> bool:
    return _in_library(fn.__code__.co_filename)


def is_library_module(value: Any) -> bool:
    if not isinstance(value, ModuleType):
        return False
    file = getattr(value, "__file__", None) or ""
    return _in_library(file) or value.__name__ in sys.builtin_module_names


def holder_of(value: Any, name: str) -> Any:
    """The dict, the class or the object with a slot that holds an attribute."""
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict) and name in own:
        return own
    for base in value.__mro__ if isinstance(value, type) else type(value).__mro__:
        if name in vars(base):
            has_slot = isinstance(vars(base)[name], MemberDescriptorType)
            return value if has_slot else base
    return None


def attribute(value: Any, name: str) -> Any:
    """An attribute, without running a property or `__getattr__`."""
    holder = holder_of(value, name)
    if isinstance(holder, dict):
        return holder[name]
    if not isinstance(holder, type):
        return MISSING if holder is None else getattr(value, name, MISSING)
    found = vars(holder)[name]
    if isinstance(found, staticmethod):
        return found.__func__
    if isinstance(found, classmethod):
        return MethodType(
            found.__func__, value if isinstance(value, type) else type(value)
        )
    if isinstance(value, type):
        return found
    if isinstance(found, property):
        found = found.fget
    return MethodType(found, value) if isinstance(found, FunctionType) else found


def inside_jit(value: Any) -> Any:
    """What a function of `jit` compiles, which holds compiled code of its own."""
    by, fn = getattr(value, "__dict__", {}).get(KEEPS, (None, None))
    return fn if by == id(value) else value


def _read(root: Callable[[], Any], attributes: tuple[str, ...]) -> Any:
    value = root()
    for name in attributes:
        value = attribute(value, name)
    return value


def roots_of(fn: FunctionType, bound: Any) -> dict[str, Callable[[], Any]]:
    """How to read each name that `fn` holds itself: in its closure, as a default."""
    code = fn.__code__
    found: dict[str, Callable[[], Any]] = {}
    for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=True):
        found[name] = functools.partial(bytecode.cell_value, cell, MISSING)
    positional = code.co_varnames[: code.co_argcount]
    defaults = fn.__defaults__ or ()
    held = dict(
        zip(positional[len(positional) - len(defaults) :], defaults, strict=True)
    )
    held |= fn.__kwdefaults__ or {}
    if bound is not None and positional:
        held[positional[0]] = bound
    for name, value in held.items():
        found[name] = functools.partial(_identity, value)
    return found


def _identity(value: Any) -> Any:
    return value


def reads_of(fn: FunctionType, bound: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The dotted names that `fn` reads, and their beginnings: `a`, `a.b`, `a.b.c`."""
    roots = roots_of(fn, bound)
    yield from roots.items()
    if of_library(fn):
        return
    yield from inherited(fn, bound)
    for name, attributes, is_global in bytecode.dotted_reads(fn.__code__):
        root = roots.get(name)
        if is_global:
            root = functools.partial(fn.__globals__.get, name, MISSING)
            yield name, root
        if root is None:  # a variable of its own
            continue
        for length in range(1, len(attributes) + 1):
            if isinstance(_read(root, attributes[: length - 1]), mx.array):
                break  # what follows is a method of the array
            read = functools.partial(_read, root, attributes[:length])
            yield ".".join((name, *attributes[:length])), read


def inherited(fn: FunctionType, bound: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The methods of `bound` that a method may call by `super()`."""
    code, mro = fn.__code__, type(bound).__mro__
    if "super" not in code.co_names or "__class__" not in code.co_freevars:
        return
    cells = dict(zip(code.co_freevars, fn.__closure__ or (), strict=True))
    owner = bytecode.cell_value(cells["__class__"], None)
    above = mro[mro.index(owner) + 1 :] if owner in mro else ()
    for name in code.co_names:
        found = next((vars(base)[name] for base in above if name in vars(base)), None)
        if isinstance(found, FunctionType):
            method = MethodType(found, bound)
            yield f"super().{name}", functools.partial(_identity, method)


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


def place_of(array: Any) -> int:
    """Where the values of an array are: `a += 1` moves them, and keeps the object."""
    try:
        view = np.asarray(array)
    except ValueError:  # NumPy has no bfloat16
        try:
            view = np.frombuffer(array, np.uint8)
        except BufferError:  # nor a view of its bytes when they are strided
            return 0
    except RuntimeError:  # it can never be computed, of which its use will tell
        return 0
    return view.__array_interface__["data"][0]  # type: ignore[no-any-return]  # an int


def _tell(value: Any, arrays: list[Any]) -> list[Any]:
    """What differs once a name has another value."""
    return [(id(array), place_of(array)) for array in arrays] + _numbers(value)


def _numbers(value: Any) -> list[Any]:
    """A number, or those in nested dicts, lists and tuples, if they are few."""
    found: list[Any] = []
    todo, visited = [value], 0
    while todo and visited < _FEW:
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
    # Others are not asked for their place, since they may be traced: without values.
    same = len(arrays) == len(capture.kept) and all(map(is_, arrays, capture.kept))
    return not same or _tell(value, arrays) != capture.seen


def find(fn: Any, caller: str, *, traced: bool = False) -> list[Capture]:
    """The numbers, arrays, and trees of arrays, that `fn` and what it calls capture.

    With `traced` they may be traced. They are not to be compared with later ones, then.

    Raises:
        ValueError: if one is traced: no gradient would reach it.
    """
    held, todo = parts_of(fn)
    met = [(held, "an argument of a partial", name_of(fn))]
    watched: dict[tuple[int, str], tuple[Any, Capture]] = {}
    if isinstance(fn, functools.partial):
        _, name, owner = met[0]
        parts = Capture(name, owner, functools.partial(_identity, fn), [], held)
        watched[id(fn), name] = fn, parts
    visited: set[tuple[int, int]] = set()
    transforming = is_transforming()
    while todo:
        function, bound = todo.pop()
        if (id(function), id(bound)) in visited:
            continue
        visited.add((id(function), id(bound)))
        owner, of_others = function.__name__, of_library(function)
        for name, read in reads_of(function, bound):
            value = read()
            arrays, functions = parts_of(value)
            todo += functions
            met.append((arrays, name, owner))
            if transforming and _is_handed_on(function, name, value):
                met.append((_hidden(value), name, owner))
            if of_others:
                continue
            numbers = bool(_numbers(value))
            if numbers and name in bytecode.assigned(function.__code__):
                numbers = False  # a counter of its traces, say
            if numbers or arrays:
                capture = Capture(name, owner, read, [], arrays)
                watched[id(function), name] = value, capture
    if traced:
        return [capture for _, capture in watched.values()]
    _check_traced(met, caller)
    return [
        capture._replace(seen=_tell(value, capture.kept))
        for value, capture in watched.values()
    ]


def _is_handed_on(fn: FunctionType, name: str, value: Any) -> bool:
    """Whether `fn` gives an object to another function, which reads its attributes."""
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


def _check_traced(met: list[tuple[list[Any], str, str]], caller: str) -> None:
    """Raises if an array is traced of those met by names in functions."""
    every = [x for arrays, *_ in met for x in arrays if isinstance(x, mx.array)]
    # In the rules that MLX calls it takes every array for one of a transformation.
    if not any_traced(every) or any_traced([mx.array(0.0)]):
        return
    for arrays, name, owner in met:
        if any_traced([x for x in arrays if isinstance(x, mx.array)]):
            raise ValueError(
                f"{caller}: `{owner}` reads `{name}`, which is not an argument but "
                "depends on a transformation around this call, such as grad or vmap; "
                "it would be taken for a constant, which no gradient reaches; pass "
                f"`{name}` as an argument"
            )


def check(captures: list[Capture], name: str) -> None:
    """Raises if a captured value is not the one that was compiled in."""
    for capture in captures:
        if _has_changed(capture):
            raise ValueError(
                f"jit: `{capture.owner}` reads `{capture.name}`, which is not an "
                f"argument and has changed since `{name}` was compiled with its old "
                f"value; pass `{capture.name}` as an argument, and return its new "
                "value if the function makes one"
            )


def settled(captures: list[Capture], name: str) -> list[Capture]:
    """The captures after a trace; raises if a captured array has changed in it.

    Numbers in a container that it changes itself are counters of its traces, say, and
    are watched no more.
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
    """Raises if an argument hides arrays of a transformation.

    Functions do that, and objects, and whatever else is not a tree.
    """
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, mx.array | np.generic | str | int | float):
            continue
        if any_traced([x for x in _hidden(leaf) if isinstance(x, mx.array)]):
            where = leaf_paths(parameter_names(fn), args, kwargs)[i]
            raise ValueError(
                f"{caller}: {where} of `{name_of(fn)}`, a {type(leaf).__name__}, "
                "holds arrays that depend on a transformation around this call, such "
                "as grad; no gradient would reach them; pass them as arguments, in "
                "dicts, lists, tuples or NamedTuples"
            )


def _hidden(value: Any) -> list[Any]:
    """All arrays that can be reached from a value that is not a tree."""
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
        if not isinstance(node, FunctionType | mx.array):  # whose globals are no part
            todo += gc.get_referents(node)
    return found


def lost(name: str) -> ValueError:
    """The error for a function that cannot be compiled without merging, either."""
    return ValueError(
        f"jit: MLX merges equal operations of `{name}`, and loses a result; use "
        "slices, x[:, :n], in place of mx.split and mx.unstack, put mx.contiguous "
        "around what has_aux returns, and take arrays that are read from outside as "
        "arguments"
    )


def given_twice(captures: list[Capture], arrays: list[Any], name: str) -> ValueError:
    """The error for an array that is both an argument and read without being one."""
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
