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
from sys import modules
from types import CellType, FunctionType, MethodType
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.tracing import any_traced, is_transforming
from lucid_fn.transforms import bytecode, captures
from lucid_fn.transforms.captures import inside_jit
from lucid_fn.transforms.surroundings import CONSTANTS, Surroundings
from lucid_fn.tree.nodes import build
from lucid_fn.types import Array

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
    key = walk.visit(fn), walk.outside.key()
    return Closed(walk.arrays, key, walk.held, partial(_filled, fn, walk))


def closed(fn: Any, caller: str) -> Closed:
    """`fn` taken apart; what it closes over must be within reach of derivatives."""
    found = close(fn)
    other = mx.array(0.0)
    # In the rules that MLX calls it takes every array for one of a transformation.
    if is_transforming() and not any_traced([other]):
        captures.find(found.filled([other] * len(found.arrays)), caller)
    return found


def _filled(fn: Any, walk: "_Walk", arrays: list[Array]) -> Any:
    made = _Filler(walk, arrays).fill(fn)
    if not is_transforming():  # a turn that sees what the one before has changed
        return made
    if isinstance(made, tuple):
        return tuple(map(walk.outside.restoring, made))
    return walk.outside.restoring(made)


def _items(holder: Any) -> list[Any]:
    """What a cell, a dict or a list holds now."""
    if isinstance(holder, CellType):
        return [bytecode.cell_value(holder, _UNBOUND)]
    return [*holder, *holder.values()] if isinstance(holder, dict) else list(holder)


def _are_same(items: list[Any], before: list[Any]) -> bool:
    return len(items) == len(before) and all(map(is_, items, before))


def _is_of_module(fn: FunctionType) -> bool:
    """Whether a function is one of this library's own, such as `ops.tanh`.

    It closes over nothing of a user's, and is known by its identity: a copy would have
    no formulation in `cpu/`.
    """
    name = fn.__module__ or ""
    own = getattr(modules.get(name), fn.__name__, None)
    return own is fn and name.startswith("lucid_fn.")


class _Walk:
    """A depth-first visit of what a function closes over."""

    def __init__(self, within: frozenset[int] = frozenset()) -> None:
        self._within = within  # the functions with rules whose parts are visited
        self.arrays: list[Array] = []
        self.places: dict[int, int] = {}  # of an array's identity
        self.outside = Surroundings()  # which stay where they are
        self.held: list[Any] = [self.outside]
        # Derivatives call the function later, when names may be bound to other values.
        self.holders: dict[int, tuple[Any, list[Any]]] = {}  # and what they held
        self._numbers: dict[int, int] = {}  # in which order values were met
        self._parents: dict[int, list[int]] = {}  # what holds a value, by identity
        self._path: list[int] = []  # the values that are being visited
        self._with_arrays: list[int] = []  # those that hold an array themselves

    def visit(self, value: Any) -> Hashable:
        if isinstance(value, mx.array):
            self._with_arrays += self._path[-1:]
            if id(value) not in self.places:
                self.places[id(value)] = len(self.arrays)
                self.arrays.append(value)
            return "array", self.places[id(value)]
        if isinstance(value, CONSTANTS):
            return type(value), repr(value)
        if isinstance(value, FunctionType) and value.__dict__:
            if _is_of_module(value):
                return "object", id(value)
            value = inside_jit(value)
            if self._is_constant_rule(value):
                return self._constant(value)
        self._parents.setdefault(id(value), []).extend(self._path[-1:])
        if id(value) in self._numbers:
            return "again", self._numbers[id(value)]
        self._numbers[id(value)] = len(self._numbers)
        self.held.append(value)
        self._path.append(id(value))
        key = self._inner(value)
        self._path.pop()
        return key

    def reaching(self) -> dict[int, bool]:
        """Whether an array is reached from a value that was visited, by identity."""
        found: set[int] = set()
        todo = list(self._with_arrays)
        while todo:
            value = todo.pop()
            if value not in found:
                found.add(value)
                todo += self._parents[value]
        return {value: value in found for value in self._numbers}

    def _inner(self, value: Any) -> Hashable:
        if isinstance(value, FunctionType):
            cells = [
                self.visit(self._held(cell)[0]) for cell in value.__closure__ or ()
            ]
            given = value.__defaults__, value.__kwdefaults__
            defaults = self.visit(given) if any(given) else ()
            self.outside.add_function(value, None)
            return value.__code__, *cells, defaults
        if isinstance(value, MethodType):
            fn, bound = value.__func__, value.__self__
            if isinstance(fn, FunctionType):
                self.outside.add_function(fn, bound)
            return "method", self.visit(fn), self.visit(bound)
        if isinstance(value, partial):
            parts = value.func, value.args, value.keywords
            return "partial", *map(self.visit, parts)
        if isinstance(value, dict | list | tuple):
            if not isinstance(value, tuple):
                self._held(value)
            items = value.values() if isinstance(value, dict) else value
            keys = tuple(map(repr, value)) if isinstance(value, dict) else ()
            return type(value), keys, *map(self.visit, items)
        return self._constant(value)

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
        walk.visit(parts)
        return not any_traced(walk.arrays)

    def _constant(self, value: Any) -> Hashable:
        self.outside.add(value)
        return "object", id(value)

    def _held(self, holder: Any) -> list[Any]:
        """What a cell, a dict or a list holds, which is remembered."""
        return self.holders.setdefault(id(holder), (holder, _items(holder)))[1]

    def has_changed(self) -> bool:
        """Whether a cell, a dict or a list holds something else than when visited."""
        return not all(
            _are_same(_items(holder), before)
            for holder, before in self.holders.values()
        )


class _Filler:
    """Builds what reaches an array again, with others; the rest stays as it is.

    Or all of it, as it was when it was visited, if anything there has changed since.
    """

    def __init__(self, walk: _Walk, arrays: list[Array]) -> None:
        self._walk = walk
        self._arrays = arrays
        self._made: dict[int, Any] = {}
        self._anew = walk.has_changed()
        self._reaching = walk.reaching()

    def fill(self, value: Any) -> Any:
        if isinstance(value, mx.array):
            return self._arrays[self._walk.places[id(value)]]
        value = inside_jit(value)
        if not self._is_built(value):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = self._build(value)
        return self._made[id(value)]

    def _is_built(self, value: Any) -> bool:
        reaching = self._reaching.get(id(value))  # `None` for what was not visited
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
            self._made[id(value)] = made  # before it is filled, as it may hold itself
            held = self._items(value)
            keys, values = held[: len(held) // 2], held[len(held) // 2 :]
            for key, item in zip(keys, values, strict=True):
                made[key] = self.fill(item)  # `update` of a Counter would count
            return made
        if isinstance(value, list):
            items = copy.copy(value)
            items.clear()
            self._made[id(value)] = items
            items.extend(map(self.fill, self._items(value)))
            return items
        if isinstance(value, tuple):
            return build(type(value), list(map(self.fill, value)), ())
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
        content = inside_jit(raw)
        is_array = isinstance(content, mx.array)
        if raw is _UNBOUND or not (self._anew or is_array or self._is_built(content)):
            return cell
        made: CellType = self._made.setdefault(id(cell), CellType())
        return made

    def _items(self, holder: Any) -> list[Any]:
        """What a cell, a dict or a list held when it was visited."""
        return self._walk.holders[id(holder)][1]
