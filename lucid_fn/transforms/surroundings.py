"""Snapshots of what functions read from outside: globals, attributes, containers.

JAX traces a function when it is called. A derivative here calls the function again,
later. Variables of closures are copied at the call (see `closures`); if anything else
that the function reads has changed by then, the derivative is an error.
"""

import functools
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from types import CellType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn.tracing import any_traced
from lucid_fn.transforms import bytecode, captures, reads
from lucid_fn.transforms.arguments import owned
from lucid_fn.transforms.reads import CONTAINERS, MISSING, NUMBERS

CONSTANTS = (*NUMBERS, complex, str, bytes, type(None))

# Special methods that initialize or modify an object: no call reads through them.
_SETTERS = "__init", "__new", "__post_init", "__set", "__del"
_COUNTS = int, np.integer, str, bytes, type(None)
_KEYS = object()  # in place of a key: the keys themselves, or their order
_END = object()
_FIXED = tuple, frozenset, MappingProxyType


_Place: TypeAlias = tuple[int, str | None]  # the identity of a holder, and a key


class _Slot(NamedTuple):
    """A place that functions read, and its contents at the time of the snapshot."""

    name: str  # as in the code: `model.scale`
    holder: Any  # a cell, a dict (of globals, say), a class, an object; a container
    key: str | None  # of a variable or an attribute; `None` for a whole container
    items: dict[Any, Any]


class Surroundings:
    """A snapshot of what functions can read from outside of them."""

    def __init__(self) -> None:
        self._slots: dict[_Place, _Slot] = {}
        self._own: dict[_Place, dict[Any, Any]] = {}  # what a run has left in slots
        self._addresses: dict[int, int | None] = {}  # of the values of arrays, if known
        self._kept: list[Any] = []
        self._visited: dict[Any, Any] = {}  # by identity, and kept alive
        self._objects: list[tuple[Any, str, set[str]]] = []  # with the names looked up
        self._by_class: dict[type, set[str]] = {}  # the names of attributes
        self._names: set[str] = set()  # by which functions could read attributes
        self._todo: list[tuple[Any, str]] = []

    def add(self, value: Any, name: str) -> None:
        """Adds what can be read through a value, and by the functions in it."""
        self._todo.append((value, name))
        self._finish()

    def add_function(self, fn: FunctionType, bound: Any) -> None:
        """Adds what `fn`, a method of `bound`, reads beyond its own closure."""
        self._read(fn, bound, has_cells=False)
        self._finish()

    def add_object(self, value: Any, name: str) -> None:
        """Adds what the methods of a container read beyond its items."""
        if _is_object(value):
            self._note_object(value, name)
            self._finish()

    def note_run(self) -> None:
        """Notes what a run of the functions has changed, which is theirs to change.

        They may count their calls, fill a cache or append to a log.
        """
        for place, slot in self._slots.items():
            if _any(self._changes(slot, self._left(place))):
                self._own[place] = _items(slot.holder, slot.key)

    def is_current(self) -> bool:
        """Whether everything is as in the snapshot, or as the last run has left it."""
        return None not in self._addresses.values() and not any(
            _any(self._changes(slot, self._left(place)))
            for place, slot in self._slots.items()
        )

    def changed(self) -> str | None:
        """The name of something that has changed since the snapshot, if anything."""
        names = (
            _name(slot, key)
            for slot in self._slots.values()
            for key in self._changes(slot, slot.items)
        )
        return next(names, None)

    def check(self, caller: str) -> None:
        """Raises if something has changed that another run would read differently.

        What a run of the functions has changed may be a counter, a cache or a log.
        Floats and arrays that it has replaced are not: they are a state.
        """
        for place, slot in self._slots.items():
            for key in self._changes(slot, slot.items):
                if not self._is_own(place, key):
                    raise ValueError(
                        f"{caller}: `{_name(slot, key)}` has changed since the call "
                        "whose derivative is being computed, and would be read again; "
                        "pass it as an argument, or change it after the derivative is "
                        "computed"
                    )
                if key is not _KEYS and _is_state(slot.holder, slot.items[key]):
                    raise ValueError(
                        f"{caller}: `{_name(slot, key)}` is changed by the function "
                        "itself, which runs again for the derivative and would read "
                        "the new value; make it an argument and a result"
                    )

    def _is_own(self, place: _Place, key: Any) -> bool:
        """Whether a run of the functions has changed an item, or the keys."""
        before, left = self._slots[place].items, self._left(place)
        if key is _KEYS:
            return [*left] != [*before]
        return key in before and _differ(before[key], left.get(key, MISSING))

    def _left(self, place: _Place) -> dict[Any, Any]:
        """The items of a slot after the last run, or else those of the snapshot."""
        return self._own.get(place, self._slots[place].items)

    def find_addresses(self) -> None:
        """Notes where the values of arrays are, by which a change in place is seen."""
        arrays = [s.holder for s in self._slots.values()]
        arrays = [x for x in arrays if isinstance(x, mx.array)]
        traced = any_traced(arrays)  # tracers have no address
        for x in arrays:
            self._addresses[id(x)] = None if traced else captures.address_of(x)
            self._kept.append(owned(x))  # or new values could have the same address

    def _changes(self, slot: _Slot, before: dict[Any, Any]) -> Iterator[Any]:
        """The keys of the items that are not as before; `_KEYS` for added ones."""
        if isinstance(slot.holder, mx.array):
            address = self._addresses.get(id(slot.holder))
            if address is not None and captures.address_of(slot.holder) != address:
                yield None
            return
        now = _items(slot.holder, slot.key)
        for key, value in before.items():
            if key in now and _differ(value, now[key]):
                yield key
        if [*now] != [*before]:
            yield _KEYS

    def _finish(self) -> None:
        while self._todo or self._look_into_objects():
            self._visit(*self._todo.pop())

    def _look_into_objects(self) -> bool:
        """Whether attributes are found in objects by names that were not known yet."""
        for value, path, known in self._objects:
            new = self._names - known
            known |= new
            for name in sorted(new & self._attributes_of(value)) if new else ():
                self._attribute(value, name, path)
        return bool(self._todo)

    def _attributes_of(self, value: Any) -> set[str]:
        """The names of an object's attributes, its own and those of its class."""
        cls = type(value)
        if cls not in self._by_class:
            self._by_class[cls] = set().union(*map(vars, cls.__mro__))
        own = getattr(value, "__dict__", None)
        return self._by_class[cls].union(own if isinstance(own, dict) else ())

    def _visit(self, value: Any, path: str) -> None:
        if isinstance(value, MethodType):  # is another object at each access
            if isinstance(value.__func__, FunctionType):
                self._read(value.__func__, value.__self__)
            return
        if isinstance(value, CONSTANTS) or id(value) in self._visited:
            return
        self._visited[id(value)] = value
        if isinstance(value, FunctionType):
            compiled = reads.inside_jit(value)
            if compiled is value:
                self._read(value, None)
            else:
                self._todo.append((compiled, path))
        elif isinstance(value, functools.partial):
            parts = value.func, value.args, value.keywords
            self._todo += [(part, path) for part in parts]
        elif isinstance(value, _FIXED):
            items = value.values() if isinstance(value, MappingProxyType) else value
            self._todo += [(item, path) for item in items]
        elif isinstance(value, (*CONTAINERS, mx.array, np.ndarray)):
            held = self._note(value, None, path)
            keys = held if isinstance(value, dict) else ()
            inner = (x for x in (*keys, *held.values()) if not isinstance(x, CONSTANTS))
            self._todo += [(x, path) for x in inner]
        if _is_object(value):  # also a container of a class of the user's
            self._note_object(value, path)

    def _note_object(self, value: Any, path: str) -> None:
        """Adds the attributes of an object and the methods that Python itself calls."""
        self._objects.append((value, path, set()))
        methods = _called_by_python(type(value))
        self._todo += [(MethodType(found, value), path) for found in methods]

    def _read(self, fn: FunctionType, bound: Any, *, has_cells: bool = True) -> None:
        """Adds what a function reads."""
        if (id(fn), id(bound), has_cells) in self._visited:
            return
        self._visited[id(fn), id(bound), has_cells] = fn, bound
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        if reads.of_library(fn):  # what it reads is constant, but for its closure
            values = (bytecode.cell_value(cell, None) for cell in cells.values())
            self._todo += [(value, fn.__name__) for value in values if has_cells]
            return
        roots = reads.roots_of(fn, bound)
        if has_cells:
            for name, cell in cells.items():
                self._todo.append((self._note(cell, name, name)[name], name))
            self._todo += [(value, fn.__name__) for value in fn.__defaults__ or ()]
            self._todo += [(v, k) for k, v in (fn.__kwdefaults__ or {}).items()]
            self._todo.append((bound, fn.__name__))
        self._names |= bytecode.names(fn.__code__)
        self._todo += [(read(), name) for name, read in reads.inherited(fn, bound)]
        for name, attributes, is_global in bytecode.dotted_reads(fn.__code__):
            if is_global:
                value = self._note(fn.__globals__, name, name)[name]
                self._todo.append((value, name))
            elif name in roots:
                value = roots[name]()
            else:  # a local variable
                continue
            path = name
            for attribute in attributes:
                value = self._attribute(value, attribute, path)
                path = f"{path}.{attribute}"

    def _attribute(self, value: Any, name: str, path: str) -> Any:
        """Adds an attribute, and returns it; `MISSING` where it is not known."""
        if isinstance(value, mx.array):
            return MISSING  # a method, which reads nothing else
        holder = reads.holder_of(value, name)
        found = reads.attribute(value, name)
        path = f"{path}.{name}"
        if holder is not None:
            self._todo.append((found, path))
            if not reads.is_library_module(value):
                self._note(holder, name, path)
        # The object may get such an attribute later, in place of that of its class.
        if holder is None or (isinstance(holder, type) and _is_default(found)):
            own = getattr(value, "__dict__", None)
            if isinstance(own, dict) and not reads.is_library_module(value):
                self._note(own, name, path)
        return found

    def _note(self, holder: Any, key: str | None, name: str) -> dict[Any, Any]:
        """Adds a slot, and returns its items."""
        if (id(holder), key) not in self._slots:
            slot = _Slot(name, holder, key, _items(holder, key))
            self._slots[id(holder), key] = slot
        return self._slots[id(holder), key].items


def _is_object(value: Any) -> bool:
    """Whether a value has attributes that may change."""
    has_own = hasattr(value, "__dict__") or hasattr(type(value), "__slots__")
    is_other = isinstance(value, type | ModuleType | FunctionType | mx.array)
    return has_own and not is_other


def _called_by_python(cls: type) -> list[FunctionType]:
    """The methods that need not be named to be called, such as `__call__`."""
    return [
        found
        for base in cls.__mro__
        for name, found in vars(base).items()
        if name.startswith("__") and not name.startswith(_SETTERS)
        if isinstance(found, FunctionType)
    ]


def _name(slot: _Slot, key: Any) -> str:
    """A slot or its item as in the code: `model.scale`, `tables['sine']`."""
    is_item = slot.key is None and isinstance(slot.holder, dict | list)
    return f"{slot.name}[{key!r}]" if is_item and key is not _KEYS else slot.name


def _any(keys: Iterator[Any]) -> bool:
    return next(keys, _END) is not _END


def _differ(value: Any, other: Any) -> bool:
    """Whether functions can tell two values apart."""
    return value is not other and _fingerprint(value) != _fingerprint(other)


def _is_state(holder: Any, value: Any) -> bool:
    """Whether a function that replaces a value computes with it, as far as that shows.

    It counts or notes something with integers, words and shapes. Items of a full deque
    are a log.
    """
    if isinstance(value, tuple | list):
        return any(_is_state(holder, item) for item in value)
    is_count = value is MISSING or isinstance(value, _COUNTS)
    return isinstance(holder, np.ndarray) or not (is_count or isinstance(holder, deque))


def _is_default(value: Any) -> bool:
    """Whether a value of a class is one that its objects may replace by their own."""
    return not hasattr(type(value), "__get__")


def _items(holder: Any, key: str | None) -> dict[Any, Any]:
    """The value of a holder under a key, or all items of a container by their keys."""
    if isinstance(holder, CellType):
        return {key: bytecode.cell_value(holder, MISSING)}
    if isinstance(holder, mx.array):
        return {}  # it is compared by address
    if key is None:
        return items_of(holder)
    if isinstance(holder, dict):
        return {key: holder.get(key, MISSING)}
    if isinstance(holder, type):
        return {key: vars(holder).get(key, MISSING)}
    return {key: getattr(holder, key, MISSING)}


def items_of(container: Any) -> dict[Any, Any]:
    """The items of a container by their keys, read without methods of subclasses."""
    if isinstance(container, np.ndarray):
        if container.dtype.hasobject:
            return dict(enumerate(container.flat))
        return {MISSING: hash((container.shape, container.tobytes()))}
    kinds = OrderedDict, dict, list, set, deque
    kind: Any = next(kind for kind in kinds if isinstance(container, kind))
    if isinstance(container, dict):
        return dict(kind.items(container))
    values = list(kind.__iter__(container))
    return dict(zip(values if kind is set else range(len(values)), values, strict=True))


def _fingerprint(value: Any) -> Hashable:
    """Equal for two values that functions cannot tell apart."""
    if isinstance(value, CONSTANTS):
        return type(value), repr(value)
    if isinstance(value, MethodType):  # is another object at each access
        return id(value.__func__), id(value.__self__)
    return id(value)
