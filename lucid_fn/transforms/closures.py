"""Closure conversion: the arrays that a function closes over become arguments.

As in JAX, so that gradients reach the params that the body of a loop closes over. Two
functions made by the same line of code then differ in their arrays only, and share the
compiled body.
"""

import copy
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Hashable
from functools import partial
from operator import is_
from types import CellType, FunctionType, MethodType
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.tracing import any_traced, is_transforming
from lucid_fn.transforms import bytecode, captures
from lucid_fn.transforms.arguments import name_of, owned
from lucid_fn.transforms.reads import MISSING, inside_jit
from lucid_fn.transforms.surroundings import CONSTANTS, Surroundings, items_of
from lucid_fn.tree.nodes import build
from lucid_fn.types import Array

RULES = "__rules__"  # the attribute in which `custom_vjp` keeps its functions


# Containers without attributes that matter.
_BARE = dict, list, OrderedDict, defaultdict, Counter


class Converted(NamedTuple):
    """A function without the arrays of its closure."""

    arrays: list[Array]  # that it, and the functions it calls, close over
    key: Hashable  # equal for functions of equal code that read the same places
    held: list[Any]  # objects whose identities are in the key, to keep alive with it
    rebuild: Callable[[list[Array]], Any]  # the function with other arrays
    outside: Surroundings  # what it reads beyond its closure


def closure_convert(fn: Any, caller: str) -> Converted:
    """Takes the arrays out of the closures of `fn`, or of a tuple of functions.

    Those in globals and in attributes of objects stay where they are, as constants,
    which are in the snapshot `outside`.

    Raises:
        ValueError: if derivatives would have to reach such an array; or in `rebuild`,
            inside of a derivative, if something other than a variable of a closure
            has changed.
    """
    walk = _Walk()
    key = walk.visit(fn, name_of(fn))
    walk.outside.find_addresses()

    def rebuild(arrays: list[Array]) -> Any:
        # Without a derivative, an iteration sees the changes of the iteration before.
        if is_transforming():
            walk.outside.check(caller)
        return _Rebuilder(walk, arrays).rebuild(fn)

    other = mx.array(0.0)
    # In the rules that MLX calls, it takes every array for one of a transformation.
    if is_transforming() and not any_traced([other]):
        others = [other] * len(walk.arrays)
        captures.find(_Rebuilder(walk, others).rebuild(fn), caller)
    return Converted(walk.arrays, key, walk.held, rebuild, walk.outside)


class Frozen(NamedTuple):
    """A function as it was at a call, for derivatives that call it later."""

    rebuild: Callable[[], Any]  # the function with the closure of the call
    outside: Surroundings | None  # what it reads beyond its closure
    caller: str

    def at_call(self) -> Any:
        """Returns the function; raises if something else that it reads has changed."""
        if self.outside is not None:
            self.outside.check(self.caller)
        return self.rebuild()

    def note_run(self) -> None:
        """Notes what a run of the function has changed, which it may change again."""
        if self.outside is not None:
            self.outside.note_run()


def frozen(fn: Any, caller: str) -> Frozen:
    """`fn` with the closure that it has now."""
    walk = _Walk()
    walk.visit(fn, name_of(fn))
    walk.outside.find_addresses()
    arrays = list(map(owned, walk.arrays))
    rebuild = lambda: _Rebuilder(walk, arrays).rebuild(fn)  # noqa: E731
    return Frozen(rebuild, walk.outside, caller)


def _items(holder: Any) -> dict[Any, Any]:
    """The contents of a cell, a dict or a list, by key."""
    if isinstance(holder, CellType):
        return {0: bytecode.cell_value(holder, MISSING)}
    return items_of(holder)


class _Walk:
    """A depth-first visit of what a function closes over."""

    def __init__(self, within: frozenset[int] = frozenset()) -> None:
        self._within = within  # the functions with rules that are being visited
        self.arrays: list[Array] = []
        self.places: dict[int, int] = {}  # in `arrays`, by identity
        self.outside = Surroundings()  # reads of the functions beyond their closures
        self.held: list[Any] = [self.outside]
        # Cells, dicts and lists with their contents: derivatives call the function
        # later, when they may hold something else.
        self.holders: dict[int, tuple[Any, dict[Any, Any]]] = {}
        self._numbers: dict[int, int] = {}  # values in the order of their first visit
        self._parents: dict[int, list[int]] = {}  # the holders of a value, by identity
        self._path: list[int] = []  # the values that are being visited

    def visit(self, value: Any, name: str) -> Hashable:
        """The part of the key for a value that functions read by a name."""
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

    def _inner(self, value: Any, name: str) -> Hashable:
        if isinstance(value, CellType):
            return self.visit(self._contents(value)[0], name)
        if isinstance(value, FunctionType):
            cells = value.__closure__ or ()
            keys = map(self.visit, cells, value.__code__.co_freevars)
            given = value.__defaults__, value.__kwdefaults__
            where = id(value.__globals__)
            key = value.__code__, where, *keys, self.visit(given, value.__name__)
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
            self.outside.add_object(value, name)
            of = None if type(value) in _BARE else id(value)  # it may have attributes
            items = self._contents(value)
            names = tuple(map(repr, items)) if isinstance(value, dict) else ()
            visited = [self.visit(item, name) for item in items.values()]
            return type(value), of, names, *visited
        return self._constant(value, name)

    def _is_constant_rule(self, value: Any) -> bool:
        """Whether a function of `custom_vjp` or `custom_jvp` closes over constants.

        It has no derivative in those, which therefore stay where they are.
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

    def _contents(self, holder: Any) -> dict[Any, Any]:
        return self.holders.setdefault(id(holder), (holder, _items(holder)))[1]

    def reaching(self, targets: set[int]) -> set[int]:
        """The values from which one of the targets is reached, all by identity."""
        found: set[int] = set()
        todo = list(targets)
        while todo:
            value = todo.pop()
            if value not in found:
                found.add(value)
                todo += self._parents[value]
        return found


class _Rebuilder:
    """Makes copies of the functions and containers that reach another array.

    Or a variable or a container that has changed since the visit: copies have the
    contents of that time. Everything else stays itself.
    """

    def __init__(self, walk: _Walk, arrays: list[Array]) -> None:
        self._walk = walk
        self._arrays = arrays
        self._copies: dict[int, Any] = {}
        pairs = zip(walk.arrays, arrays, strict=True)
        other = {id(old) for old, new in pairs if new is not old}
        changed = {
            place
            for place, (holder, items) in walk.holders.items()
            if not _are_same(_items(holder), items)
        }
        self._copied = walk.reaching(other | changed)

    def rebuild(self, value: Any) -> Any:
        if isinstance(value, mx.array):
            return self._arrays[self._walk.places[id(value)]]
        value = inside_jit(value)
        if id(value) not in self._copied:
            return value
        if id(value) not in self._copies:
            self._copies[id(value)] = self._copy(value)
        return self._copies[id(value)]

    def _copy(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return MethodType(
                self.rebuild(value.__func__), self.rebuild(value.__self__)
            )
        if isinstance(value, partial):
            args = map(self.rebuild, value.args)
            named = {key: self.rebuild(item) for key, item in value.keywords.items()}
            return partial(self.rebuild(value.func), *args, **named)
        if isinstance(value, tuple):
            return build(type(value), list(map(self.rebuild, value)), ())
        made = copy.copy(value)  # its class may take other arguments than a dict
        made.clear()
        self._copies[id(value)] = made  # before it is filled, as it may hold itself
        for key, item in self._contents(value).items():
            if isinstance(made, dict):
                made[key] = self.rebuild(item)  # `update` of a Counter would count
            else:
                made.append(self.rebuild(item))
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
        self._copies[id(fn)] = made  # before its cells are filled, which may hold it
        made.__defaults__ = self.rebuild(fn.__defaults__)
        made.__kwdefaults__ = self.rebuild(fn.__kwdefaults__)
        made.__dict__.update(vars(fn))
        for old, new in zip(cells, made.__closure__ or (), strict=True):
            value = self._contents(old)[0]
            if new is not old and value is not MISSING:
                new.cell_contents = self.rebuild(value)
        return made

    def _cell(self, cell: CellType) -> CellType:
        """A copy where it must hold something else, which functions share as before."""
        if id(cell) not in self._copied:
            return cell
        made: CellType = self._copies.setdefault(id(cell), CellType())
        return made

    def _contents(self, holder: Any) -> dict[Any, Any]:
        """What a cell, a dict or a list held when it was visited."""
        return self._walk.holders[id(holder)][1]


def _are_same(now: dict[Any, Any], before: dict[Any, Any]) -> bool:
    return [*now] == [*before] and all(map(is_, now.values(), before.values()))
