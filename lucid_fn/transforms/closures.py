"""Functions as trees: their code is the structure, and their closures hold the leaves.

A body of a loop that closes over params must not take them for constants: no gradient
would reach them. So its arrays are taken out of its closures and become arguments, as
in JAX. And two functions made by the same line of code differ in their arrays alone, so
that what was compiled for one serves the other.
"""

import copy
from collections.abc import Callable, Hashable
from functools import partial
from operator import is_
from types import CellType, FunctionType, MethodType
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.tracing import any_traced, is_transforming
from lucid_fn.transforms import bytecode, captures
from lucid_fn.transforms.arguments import name_of, owned
from lucid_fn.transforms.captures import MISSING, inside_jit
from lucid_fn.transforms.surroundings import CONSTANTS, Surroundings, items_of
from lucid_fn.tree.nodes import build
from lucid_fn.types import Array

RULES = "__rules__"  # the attribute in which `custom_vjp` keeps its functions


class Closed(NamedTuple):
    """A function taken apart."""

    arrays: list[Array]  # that it, and what it calls, close over
    key: Hashable  # equal for functions of equal code and constants
    held: list[Any]  # what the key names by identity, to be kept alive with it
    filled: Callable[[list[Array]], Any]  # the function with other arrays


def close(fn: Any, caller: str) -> Closed:
    """Takes the arrays out of the closures of `fn`, or of a tuple of functions.

    Those in globals and in attributes of objects stay where they are, as constants. The
    key depends on their values.
    """
    walk = _Walk()
    key = walk.visit(fn, name_of(fn)), walk.outside.key()

    def filled(arrays: list[Array]) -> Any:
        # Outside of derivatives, a turn sees what the one before it has changed.
        if is_transforming():
            walk.outside.check(caller)
        return _Filler(walk, arrays).fill(fn)

    return Closed(walk.arrays, key, walk.held, filled)


def closed(fn: Any, caller: str) -> Closed:
    """`close`; raises if derivatives would not reach an array that `fn` reads."""
    found = close(fn, caller)
    other = mx.array(0.0)
    # In the rules that MLX calls it takes every array for one of a transformation.
    if is_transforming() and not any_traced([other]):
        captures.find(found.filled([other] * len(found.arrays)), caller)
    return found


def frozen(fn: Any, caller: str) -> Callable[[], Any]:
    """Returns what makes `fn` as it is now, for a derivative that calls it later.

    Raises:
        ValueError: when called, if `fn` reads something outside of its closure that
            has changed.
    """
    walk = _Walk()
    walk.visit(fn, name_of(fn))
    walk.outside.find_places()
    arrays = list(map(owned, walk.arrays))

    def again() -> Any:
        walk.outside.check(caller)
        return _Filler(walk, arrays).fill(fn)

    return again


def _items(holder: Any) -> dict[Any, Any]:
    """What a cell, a dict or a list holds, by key."""
    if isinstance(holder, CellType):
        return {0: bytecode.cell_value(holder, MISSING)}
    return items_of(holder)


class _Walk:
    """A depth-first visit of what a function closes over."""

    def __init__(self, within: frozenset[int] = frozenset()) -> None:
        self._within = within  # the functions with rules whose parts are visited
        self.arrays: list[Array] = []
        self.places: dict[int, int] = {}  # among the arrays, by identity
        self.outside = Surroundings()  # which stay where they are
        self.held: list[Any] = [self.outside]
        # What cells, dicts and lists held: derivatives call the function later.
        self.holders: dict[int, tuple[Any, dict[Any, Any]]] = {}
        self._numbers: dict[int, int] = {}  # in which order values were met
        self._parents: dict[int, list[int]] = {}  # what holds a value, by identity
        self._path: list[int] = []  # the values that are being visited

    def visit(self, value: Any, name: str) -> Hashable:
        """What the key has of a value that functions read by a name."""
        if isinstance(value, CONSTANTS):
            return type(value), repr(value)
        if isinstance(value, FunctionType) and value.__dict__:
            value = inside_jit(value)
            if self._is_constant_rule(value):
                return self._constant(value, name)
        self._parents.setdefault(id(value), []).extend(self._path[-1:])
        if isinstance(value, mx.array):
            if id(value) not in self.places:
                self.places[id(value)] = len(self.arrays)
                self.arrays.append(value)
            return "array", self.places[id(value)]
        if id(value) in self._numbers:
            return "again", self._numbers[id(value)]
        self._numbers[id(value)] = len(self._numbers)
        self.held.append(value)
        self._path.append(id(value))
        key = self._inner(value, name)
        self._path.pop()
        return key

    def reaching(self, found: set[int]) -> set[int]:
        """The values from which one of those found is reached, all by identity."""
        reaching: set[int] = set()
        todo = list(found)
        while todo:
            value = todo.pop()
            if value not in reaching:
                reaching.add(value)
                todo += self._parents[value]
        return reaching

    def _inner(self, value: Any, name: str) -> Hashable:
        if isinstance(value, CellType):
            return self.visit(self._held(value)[0], name)
        if isinstance(value, FunctionType):
            cells = value.__closure__ or ()
            keys = map(self.visit, cells, value.__code__.co_freevars)
            given = value.__defaults__, value.__kwdefaults__
            key = value.__code__, *keys, self.visit(given, value.__name__)
            self.outside.add_function(value, None)
            return key
        if isinstance(value, MethodType):
            fn, bound = value.__func__, value.__self__
            if isinstance(fn, FunctionType):
                self.outside.add_function(fn, bound)
            return "method", self.visit(fn, name), self.visit(bound, name)
        if isinstance(value, partial):
            parts = value.func, value.args, value.keywords
            return "partial", *(self.visit(part, name) for part in parts)
        if isinstance(value, tuple):
            return type(value), *(self.visit(item, name) for item in value)
        if isinstance(value, dict | list):
            items = self._held(value)
            names = tuple(map(repr, items)) if isinstance(value, dict) else ()
            visited = [self.visit(item, name) for item in items.values()]
            return type(value), names, *visited
        return self._constant(value, name)

    def _is_constant_rule(self, value: Any) -> bool:
        """Whether a function of `custom_vjp` or `custom_jvp` closes over constants.

        It has no derivative in what it closes over, which therefore stays where it is.
        """
        by, parts = getattr(value, "__dict__", {}).get(RULES, (None, None))
        if by != id(value):
            return False
        if id(value) in self._within:  # a rule may call the function that it is of
            return True
        walk = _Walk(self._within | {id(value)})
        walk.visit(parts, "")
        return not any_traced(walk.arrays)

    def _constant(self, value: Any, name: str) -> Hashable:
        self.outside.add(value, name)
        return "object", id(value)

    def _held(self, holder: Any) -> dict[Any, Any]:
        """What a cell, a dict or a list holds, which is remembered."""
        return self.holders.setdefault(id(holder), (holder, _items(holder)))[1]


class _Filler:
    """Builds what reaches another array, or a variable that has changed, again.

    With the other arrays, and with what variables and containers held when they were
    visited. Everything else stays as it is.
    """

    def __init__(self, walk: _Walk, arrays: list[Array]) -> None:
        self._walk = walk
        self._arrays = arrays
        self._made: dict[int, Any] = {}
        others = {
            id(old)
            for old, new in zip(walk.arrays, arrays, strict=True)
            if new is not old
        }
        changed = {
            place
            for place, (holder, items) in walk.holders.items()
            if not _are_same(_items(holder), items)
        }
        self._built = walk.reaching(others | changed)

    def fill(self, value: Any) -> Any:
        if isinstance(value, mx.array):
            return self._arrays[self._walk.places[id(value)]]
        value = inside_jit(value)
        if id(value) not in self._built:
            return value
        if id(value) not in self._made:
            self._made[id(value)] = self._build(value)
        return self._made[id(value)]

    def _build(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return MethodType(self.fill(value.__func__), self.fill(value.__self__))
        if isinstance(value, partial):
            args = map(self.fill, value.args)
            named = {key: self.fill(item) for key, item in value.keywords.items()}
            return partial(self.fill(value.func), *args, **named)
        if isinstance(value, tuple):
            return build(type(value), list(map(self.fill, value)), ())
        made = copy.copy(value)  # its class may take other arguments than a dict
        made.clear()
        self._made[id(value)] = made  # before it is filled, as it may hold itself
        for key, item in self._items(value).items():
            if isinstance(made, dict):
                made[key] = self.fill(item)  # `update` of a Counter would count
            else:
                made.append(self.fill(item))
        return made

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
            value = self._items(old)[0]
            if new is not old and value is not MISSING:
                new.cell_contents = self.fill(value)
        return made

    def _cell(self, cell: CellType) -> CellType:
        """A new cell where it must hold something else: functions go on sharing it."""
        if id(cell) not in self._built:
            return cell
        made: CellType = self._made.setdefault(id(cell), CellType())
        return made

    def _items(self, holder: Any) -> dict[Any, Any]:
        """What a cell, a dict or a list held when it was visited."""
        return self._walk.holders[id(holder)][1]


def _are_same(now: dict[Any, Any], before: dict[Any, Any]) -> bool:
    return [*now] == [*before] and all(map(is_, now.values(), before.values()))
