"""Functions as trees: their code is the structure, what they close over the leaves.

A body of a loop that closes over params must not take them for constants: no gradient
would reach them. So its arrays are taken out of its closures and become arguments, as
in JAX. And two functions made by the same line of code differ in their arrays alone, so
that what was compiled for one serves the other.
"""

import copy
from collections.abc import Callable, Hashable
from functools import partial
from operator import is_
from types import CellType, FunctionType, MappingProxyType, MethodType
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.tracing import any_traced, is_transforming
from lucid_fn.transforms import bytecode, captures
from lucid_fn.transforms.captures import CONTAINERS, NUMBERS, of_library
from lucid_fn.tree.nodes import build
from lucid_fn.types import Array

_CONSTANTS = (*NUMBERS, complex, str, bytes, type(None))
_KEEPS = "__compiles__"  # where `jit` says what it compiles
_UNBOUND = object()
RULES = "__rules__"  # where `custom_vjp` says what it consists of


class Closed(NamedTuple):
    """A function taken apart."""

    arrays: list[Array]  # that it, and what it calls, close over
    key: Hashable  # what tells it from functions with other code or constants
    held: list[Any]  # what the key names by identity, to be kept alive with it
    filled: Callable[[list[Array]], Any]  # the function with other ones


def close(fn: Any) -> Closed:
    """Takes the arrays out of the closures of `fn`, or of a tuple of functions.

    Those in globals and in attributes of objects stay where they are, as constants. The
    key tells their values apart.
    """
    walk = _Walk()
    key = walk.visit(fn), _places(walk.constants)
    return Closed(walk.arrays, key, walk.held, partial(_filled, fn, walk))


def _places(constants: list[Array]) -> tuple[int, ...]:
    """Where their values are; traced ones have none yet."""
    traced = any_traced(constants)
    return tuple(
        0 if traced and any_traced([x]) else captures.place_of(x) for x in constants
    )


def closed(fn: Any, caller: str) -> Closed:
    """`fn` taken apart; what it closes over must be within reach of derivatives."""
    found = close(fn)
    other = mx.array(0.0)
    # In the rules that MLX calls it takes every array for one of a transformation.
    if is_transforming() and not any_traced([other]):
        captures.find(found.filled([other] * len(found.arrays)), caller)
    return found


def _filled(fn: Any, walk: "_Walk", arrays: list[Array]) -> Any:
    return _Filler(walk, arrays).fill(fn)


def _items(holder: Any) -> list[Any]:
    """What a cell, a dict or a list holds now."""
    if isinstance(holder, CellType):
        return [bytecode.cell_value(holder, _UNBOUND)]
    return [*holder, *holder.values()] if isinstance(holder, dict) else list(holder)


def _are_same(items: list[Any], before: list[Any]) -> bool:
    return len(items) == len(before) and all(map(is_, items, before))


class _Walk:
    """A depth-first visit of what a function closes over."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.places: dict[int, int] = {}  # of an array's identity
        self.constants: list[Array] = []  # that stay where they are
        self.held: list[Any] = []
        # Derivatives call the function later, when names may be bound to other values.
        self.holders: dict[int, tuple[Any, list[Any]]] = {}  # and what they held
        self.reaching: dict[int, bool] = {}  # whether an array is reached, by identity
        self._met = 0  # how often an array was, or what reaches one
        self._told: set[int] = set()  # the identities of containers and functions
        self._methods: set[tuple[int, int]] = set()  # of functions and their objects
        self._numbers: dict[int, int] = {}  # in which order values were met

    def visit(self, value: Any) -> Hashable:
        if isinstance(value, mx.array):
            self._met += 1
            if id(value) not in self.places:
                self.places[id(value)] = len(self.arrays)
                self.arrays.append(value)
            return "array", self.places[id(value)]
        if isinstance(value, _CONSTANTS):
            return type(value), repr(value)
        if isinstance(value, FunctionType) and value.__dict__:
            value = _inside_jit(value)
            if _is_constant_rule(value):
                return "object", self._content(value)
        if id(value) in self._numbers:
            # Inside itself it may reach one later.
            self._met += self.reaching.setdefault(id(value), True)
            return "again", self._numbers[id(value)]
        self._numbers[id(value)] = len(self._numbers)
        self.held.append(value)
        before = self._met
        key = self._inner(value)
        self.reaching[id(value)] = self._met > before
        return key

    def _inner(self, value: Any) -> Hashable:
        if isinstance(value, FunctionType):
            cells = [
                self.visit(self._held(cell)[0]) for cell in value.__closure__ or ()
            ]
            given = value.__defaults__, value.__kwdefaults__
            defaults = self.visit(given) if any(given) else ()
            return value.__code__, *cells, defaults, self._outside(value, None)
        if isinstance(value, MethodType):
            fn, bound = value.__func__, value.__self__
            outside = self._outside(fn, bound)
            return "method", self.visit(fn), self.visit(bound), outside
        if isinstance(value, partial):
            parts = value.func, value.args, value.keywords
            return "partial", *map(self.visit, parts)
        if isinstance(value, dict | list | tuple):
            if not isinstance(value, tuple):
                self._held(value)
            items = value.values() if isinstance(value, dict) else value
            keys = tuple(map(repr, value)) if isinstance(value, dict) else ()
            return type(value), keys, *map(self.visit, items)
        return "object", self._content(value)

    def _held(self, holder: Any) -> list[Any]:
        """What a cell, a dict or a list holds, which is remembered."""
        return self.holders.setdefault(id(holder), (holder, _items(holder)))[1]

    def has_changed(self) -> bool:
        """Whether a cell, a dict or a list holds something else than when visited."""
        return not all(
            _are_same(_items(holder), before)
            for holder, before in self.holders.values()
        )

    def _outside(self, fn: Any, bound: Any) -> Hashable:
        """What `fn` reads beyond its closure, and what that holds."""
        if not isinstance(fn, FunctionType) or of_library(fn):
            return ()
        found: list[Hashable] = []
        own = fn.__code__.co_freevars
        for name, read in captures.reads_of(fn, bound):
            if name in own:
                continue
            found.append((name, self._content(read())))
        return tuple(found)

    def _content(self, value: Any) -> Hashable:
        """What tells a constant from a later one: a trace has its parts compiled in."""
        if isinstance(value, _CONSTANTS):
            return type(value), repr(value)
        if isinstance(value, MethodType):  # is another object at each access
            return self._method(value.__func__, value.__self__)
        self.held.append(value)
        if isinstance(value, FunctionType):
            value = _inside_jit(value)
        elif isinstance(value, mx.array):
            self.constants.append(value)
            return id(value)
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return id(value), hash(value.tobytes())
        if id(value) in self._told:
            return id(value)
        self._told.add(id(value))
        return id(value), *map(self._content, _parts(value))

    def _method(self, fn: Any, bound: Any) -> Hashable:
        pair = id(fn), id(bound)
        if pair in self._methods:
            return pair
        self._methods.add(pair)
        self.held += [fn, bound]
        known = isinstance(fn, FunctionType)
        reads = captures.reads_of(fn, bound) if known else ()
        return pair, *(self._content(read()) for _, read in reads)


def _parts(value: Any) -> list[Any]:
    """What a container holds, and what a function reads."""
    if isinstance(value, FunctionType):
        if of_library(value):
            return [bytecode.cell_value(c, None) for c in value.__closure__ or ()]
        return [read() for _, read in captures.reads_of(value, None)]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if isinstance(value, dict | MappingProxyType):
        return [*value, *value.values()]
    return list(value) if isinstance(value, CONTAINERS) else []


def _inside_jit(value: Any) -> Any:
    """What a function of `jit` compiles, which holds compiled code of its own."""
    by, fn = getattr(value, "__dict__", {}).get(_KEEPS, (None, None))
    return fn if by == id(value) else value


def _is_constant_rule(value: Any) -> bool:
    """Whether a function of `custom_vjp` or `custom_jvp` closes over constants alone.

    It has no derivative in what it closes over, which therefore stays where it is.
    """
    by, parts = getattr(value, "__dict__", {}).get(RULES, (None, None))
    return by == id(value) and not any_traced(close(parts).arrays)


class _Filler:
    """Builds what reaches an array again, with others; the rest stays as it is.

    Or all of it, as it was when it was visited, if anything there has changed since.
    """

    def __init__(self, walk: _Walk, arrays: list[Array]) -> None:
        self._walk = walk
        self._arrays = arrays
        self._made: dict[int, Any] = {}
        self._anew = walk.has_changed()

    def fill(self, value: Any) -> Any:
        if isinstance(value, mx.array):
            return self._arrays[self._walk.places[id(value)]]
        value = _inside_jit(value)
        if not self._is_built(value):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = self._build(value)
        return self._made[id(value)]

    def _is_built(self, value: Any) -> bool:
        reaching = self._walk.reaching.get(id(value))  # `None` for what was not visited
        return self._anew if reaching is False else bool(reaching)

    def _build(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return MethodType(self.fill(value.__func__), self.fill(value.__self__))
        if isinstance(value, partial):
            args = map(self.fill, value.args)
            named = {key: self.fill(item) for key, item in value.keywords.items()}
            return partial(self.fill(value.func), *args, **named)
        if isinstance(value, dict):
            made = copy.copy(value)  # its class may take other arguments than a dict
            made.clear()
            items = self._items(value)
            keys, values = items[: len(items) // 2], items[len(items) // 2 :]
            made.update(zip(keys, map(self.fill, values), strict=True))
            return made
        if isinstance(value, list | tuple):
            items = list(map(self.fill, self._items(value)))
            return build(type(value), items, ())
        return value

    def _function(self, fn: FunctionType) -> FunctionType:
        cells = fn.__closure__ or ()
        made = FunctionType(
            fn.__code__,
            fn.__globals__,
            fn.__name__,
            fn.__defaults__,
            tuple(map(self._cell, cells)),
        )
        self._made[id(fn)] = made  # before its cells are filled, which may hold it
        made.__defaults__ = self.fill(fn.__defaults__)
        made.__kwdefaults__ = self.fill(fn.__kwdefaults__)
        made.__dict__.update(vars(fn))
        for old, new in zip(cells, made.__closure__ or (), strict=True):
            if new is not old:
                new.cell_contents = self.fill(self._items(old)[0])
        return made

    def _cell(self, cell: CellType) -> CellType:
        """A new cell where it must hold something else: functions go on sharing it."""
        raw = self._items(cell)[0]
        content = _inside_jit(raw)
        is_array = isinstance(content, mx.array)
        if raw is _UNBOUND or not (self._anew or is_array or self._is_built(content)):
            return cell
        made: CellType = self._made.setdefault(id(cell), CellType())
        return made

    def _items(self, holder: Any) -> list[Any]:
        """What a cell, a dict, a list or a tuple held when it was visited."""
        if isinstance(holder, tuple):
            return list(holder)
        return self._walk.holders[id(holder)][1]
