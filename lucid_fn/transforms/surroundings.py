"""What functions read from outside: whether it has changed, and what it was before.

JAX traces a function when it is called. A derivative here calls the function again,
later, when an attribute or a global variable may hold something else. So all that the
function could read is noted when it is called, and is put back for the later call.
"""

import functools
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from types import CellType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.context import holding
from lucid_fn.tracing import any_traced
from lucid_fn.transforms import bytecode, captures
from lucid_fn.transforms.captures import CONTAINERS, MISSING, NUMBERS

CONSTANTS = (*NUMBERS, complex, str, bytes, type(None))

_CONTENT = None  # the key of what a container or an array holds
# Special methods that change an object, and have done so before.
_SETTERS = "__init", "__new", "__post_init", "__set", "__del"
_FIXED = tuple, frozenset, MappingProxyType
_LARGE = 2**20  # bytes of a NumPy array that is not copied

# What is put back is seen by all threads: one at a time does so, and its helpers.
_lock = threading.Lock()
_is_held: ContextVar[bool] = ContextVar("is_held", default=False)


class _Slot(NamedTuple):
    """A place that can be read from, and what it held."""

    name: str
    holder: Any  # a cell, a dict (of globals, say), a class, an object; a container
    key: str | None
    values: list[Any]
    seen: Hashable


class Surroundings:
    """What functions can read from outside of them, as it was when they were added."""

    def __init__(self, *functions: Any) -> None:
        self._slots: dict[tuple[int, str | None], _Slot] = {}
        self._places: dict[int, int | None] = {}  # of arrays, where they are known
        self._visited: dict[Any, Any] = {}  # by identity, and alive
        self._objects: list[tuple[Any, str, set[str]]] = []
        self._names: set[str] = set()  # by which functions could read attributes
        self._rebound: set[str] = set()  # that they bind themselves: counters, say
        self._todo: list[tuple[Any, str]] = []
        if functions:
            self.add(functions)
            self.key()

    def add(self, value: Any) -> None:
        """Notes what can be read through a value, and by the functions in it."""
        self._todo.append((value, ""))
        self._finish()

    def add_function(self, fn: FunctionType, bound: Any) -> None:
        """Notes what `fn`, a method of `bound`, reads beyond its own closure."""
        self._read(fn, bound, has_cells=False)
        self._finish()

    def key(self) -> Hashable:
        """What tells these surroundings from others."""
        arrays = [s.holder for s in self._slots.values()]
        arrays = [x for x in arrays if isinstance(x, mx.array)]
        traced = any_traced(arrays)  # what is traced has no place yet
        for x in arrays:
            self._places[id(x)] = None if traced else captures.place_of(x)
        seen = [
            (*at, slot.seen)
            for at, slot in self._slots.items()
            if not self._is_counter(slot)
        ]
        return tuple(self._places.items()), tuple(seen)

    def _is_counter(self, slot: _Slot) -> bool:
        return slot.key in self._rebound and isinstance(slot.values[0], NUMBERS)

    def changed(self) -> str | None:
        """The name of something that is not as it was."""
        return next((s.name for s in self._slots.values() if self._differs(s)), None)

    def restoring(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """`fn`, for which all is as it was; what it changes there is lost."""
        if self.changed() is None:
            return fn

        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self._restored():
                return fn(*args, **kwargs)

        return run

    @contextmanager
    def _restored(self) -> Iterator[None]:
        with nullcontext() if _is_held.get() else _lock, holding(_is_held, True):
            slots = list(filter(self._differs, self._slots.values()))
            now = [_held(slot.holder, slot.key) for slot in slots]
            try:
                for slot in slots:
                    _put(slot.holder, slot.key, slot.values)
                yield
            finally:
                for slot, values in zip(slots, now, strict=True):
                    _put(slot.holder, slot.key, values)

    def _differs(self, slot: _Slot) -> bool:
        if isinstance(slot.holder, mx.array):
            place = self._places.get(id(slot.holder))
            return place is not None and captures.place_of(slot.holder) != place
        return _seen(slot.holder, slot.key) != slot.seen

    def _finish(self) -> None:
        while self._todo or self._look_into_objects():
            self._visit(*self._todo.pop())

    def _look_into_objects(self) -> bool:
        """Whether attributes are found in objects by names that were not known yet."""
        for value, path, known in self._objects:
            for name in sorted(self._names - known):
                known.add(name)
                self._attribute(value, name, path)
        return bool(self._todo)

    def _visit(self, value: Any, path: str) -> None:
        if isinstance(value, MethodType):  # is another object at each access
            if isinstance(value.__func__, FunctionType):
                self._read(value.__func__, value.__self__)
            return
        if isinstance(value, CONSTANTS) or id(value) in self._visited:
            return
        self._visited[id(value)] = value
        if isinstance(value, FunctionType):
            compiled = captures.inside_jit(value)
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
            self._note(value, _CONTENT, path)
        elif _is_object(value):
            self._objects.append((value, path, set()))
            methods = _called_by_python(type(value))
            self._todo += [(MethodType(found, value), path) for found in methods]

    def _read(self, fn: FunctionType, bound: Any, *, has_cells: bool = True) -> None:
        """Notes what a function reads."""
        if (id(fn), id(bound), has_cells) in self._visited:
            return
        self._visited[id(fn), id(bound), has_cells] = fn, bound
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        if captures.of_library(fn):  # its own reads stay as they are
            values = (bytecode.cell_value(cell, None) for cell in cells.values())
            self._todo += [(value, fn.__name__) for value in values if has_cells]
            return
        roots = captures.roots_of(fn, bound)
        if has_cells:
            for name, cell in cells.items():
                self._note(cell, name, name)
            self._todo += [(value, fn.__name__) for value in fn.__defaults__ or ()]
            self._todo += [(v, k) for k, v in (fn.__kwdefaults__ or {}).items()]
            self._todo.append((bound, fn.__name__))
        self._names |= bytecode.names(fn.__code__)
        self._rebound |= bytecode.rebound(fn.__code__)
        self._todo += [(read(), name) for name, read in captures.inherited(fn, bound)]
        for name, attributes, is_global in bytecode.dotted_reads(fn.__code__):
            if is_global:
                value = self._note(fn.__globals__, name, name)
            elif name in roots:
                value = roots[name]()
            else:  # a variable of its own
                continue
            path = name
            for attribute in attributes:
                value = self._attribute(value, attribute, path)
                path = f"{path}.{attribute}"

    def _attribute(self, value: Any, name: str, path: str) -> Any:
        if isinstance(value, mx.array):
            return MISSING  # a method, of which nothing is to be known
        holder = captures.holder_of(value, name)
        found = captures.attribute(value, name)
        if holder is not None:
            self._todo.append((found, f"{path}.{name}"))
            if not captures.is_library_module(value):
                self._note(holder, name, f"{path}.{name}", visits=False)
        return found

    def _note(
        self, holder: Any, key: str | None, name: str, *, visits: bool = True
    ) -> Any:
        """Notes what a holder holds; the value, unless it is a container."""
        if (id(holder), key) not in self._slots:
            values, seen = _held(holder, key), _seen(holder, key)
            self._slots[id(holder), key] = _Slot(name, holder, key, values, seen)
            if visits and not _is_numeric(holder):
                self._todo += [(value, name) for value in values]
        return self._slots[id(holder), key].values[0] if key else None


def _is_object(value: Any) -> bool:
    """Whether a value has attributes that may change."""
    has_own = hasattr(value, "__dict__") or hasattr(type(value), "__slots__")
    return has_own and not isinstance(value, type | ModuleType)


def _called_by_python(cls: type) -> list[FunctionType]:
    """The methods that need not be named to be called, such as `__call__`."""
    return [
        found
        for base in cls.__mro__
        for name, found in vars(base).items()
        if name.startswith("__") and not name.startswith(_SETTERS)
        if isinstance(found, FunctionType)
    ]


def _is_numeric(value: Any) -> bool:
    is_numpy = isinstance(value, np.ndarray) and not value.dtype.hasobject
    return is_numpy or isinstance(value, mx.array)


def _held(holder: Any, key: str | None) -> list[Any]:
    """What a holder holds under a key, or all of it."""
    if isinstance(holder, CellType):
        return [bytecode.cell_value(holder, MISSING)]
    if key is not _CONTENT:
        if isinstance(holder, type):
            return [vars(holder).get(key, MISSING)]
        is_dict = isinstance(holder, dict)
        return [holder.get(key, MISSING) if is_dict else getattr(holder, key, MISSING)]
    if isinstance(holder, np.ndarray) and holder.nbytes > _LARGE:
        return []  # a data set, say: its hash tells whether it has changed
    if _is_numeric(holder):
        return [holder.astype(holder.dtype)]  # which does not change with it
    if isinstance(holder, np.ndarray):
        return list(holder.flat)
    return [*holder, *holder.values()] if isinstance(holder, dict) else [*holder]


def _put(holder: Any, key: str | None, values: list[Any]) -> None:
    """Makes a holder hold what `_held` found there."""
    if isinstance(holder, np.ndarray) and holder.nbytes > _LARGE:
        raise ValueError(
            f"a derivative reads a NumPy array of shape {holder.shape} that was "
            "changed after the call of which it is the derivative; give it as an "
            "argument, or make a new array instead of changing it"
        )
    if isinstance(holder, CellType):
        if values[0] is MISSING:
            del holder.cell_contents
        else:
            holder.cell_contents = values[0]
    elif isinstance(holder, dict) and key is not _CONTENT:
        if values[0] is MISSING:
            del holder[key]
        else:
            holder[key] = values[0]
    elif key is not _CONTENT:
        change = type.__setattr__ if isinstance(holder, type) else object.__setattr__
        change(holder, key, values[0])
    elif isinstance(holder, dict):
        half = len(values) // 2
        holder.clear()
        holder.update(zip(values[:half], values[half:], strict=True))
    elif isinstance(holder, list):
        holder[:] = values
    elif _is_numeric(holder):
        holder[...] = values[0]
    elif isinstance(holder, np.ndarray):
        for place, value in enumerate(values):
            holder.flat[place] = value
    else:  # a set or a deque
        holder.clear()
        for value in values:
            (holder.add if isinstance(holder, set) else holder.append)(value)


def _seen(holder: Any, key: str | None) -> Hashable:
    """What tells the values that a holder holds from others."""
    if isinstance(holder, mx.array):
        return None  # its place does, which cannot be asked for while it is traced
    if _is_numeric(holder):
        return hash(holder.tobytes())
    return tuple(map(_told, _held(holder, key)))


def _told(value: Any) -> Hashable:
    if isinstance(value, CONSTANTS):
        return type(value), repr(value)
    if isinstance(value, MethodType):  # is another object at each access
        return id(value.__func__), id(value.__self__)
    return id(value)
