"""The names that a function reads, and their values, found without running code.

Neither properties nor `__getattr__` are called, which could do anything.
"""

import functools
import os
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import (
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn.transforms import bytecode

MISSING = object()
CONTAINERS = (dict, list, tuple, set, frozenset, deque, MappingProxyType)
NUMBERS = (int, float, np.number)
COMPILES = "__compiles__"  # the attribute in which `jit` keeps the function

# Code of libraries is taken to read constants only. Its closures may hold functions of
# a user, though.
_LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parent.parent,
        *(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")),
    )
)
_INSTALLED = tuple(f"{os.sep}{name}-packages{os.sep}" for name in ("site", "dist"))


@functools.lru_cache(maxsize=4096)
def _in_library(file: str) -> bool:
    # Of this Python, or of another installation that `sys.path` leads to.
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
    """The function that a function of `jit` compiles; any other value as it is."""
    by, fn = getattr(value, "__dict__", {}).get(COMPILES, (None, None))
    return fn if by == id(value) else value


def _read(root: Callable[[], Any], attributes: tuple[str, ...]) -> Any:
    value = root()
    for name in attributes:
        value = attribute(value, name)
    return value


def roots_of(fn: FunctionType, bound: Any) -> dict[str, Callable[[], Any]]:
    """How to read the names of a closure, of parameters with defaults, and `self`."""
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
        if root is None:  # a local variable
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
