"""What functions read from outside: whether it has changed, and what it was before.

JAX traces a function when it is called. A derivative here calls the function again,
later, when an attribute or a global variable may hold something else. So all that the
function could read is noted when it is called, and is put back for the later call.
"""

import functools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from operator import is_
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
    hashed: int  # of a NumPy array


class Surroundings:
    """What functions can read from outside of them, as it was when they were added."""

    def __init__(self, *functions: Any) -> None:
        self._slots: dict[tuple[int, str | None], _Slot] = {}
        self._places: dict[int, int | None] = {}  # of arrays, where they are known
        self._visited: dict[Any, Any] = {}  # by identity, and alive
        self._objects: list[tuple[Any, str, set[str]]] = []
        self._by_class: dict[type, set[str]] = {}  # the names of attributes
        self._names: set[str] = set()  # by which functions could read attributes
        self._rebound: set[str] = set()  # that they bind themselves: counters, say
        self._todo: list[tuple[Any, str]] = []
        if functions:
            self.add(functions)
            self._find_places()

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
        self._find_places()
        seen = [
            (*at, slot.hashed or _told_of(slot.holder, slot.values))
            for at, slot in self._slots.items()
            if not self._is_counter(slot)
        ]
        return tuple(self._places.items()), tuple(seen)

    def _find_places(self) -> None:
        arrays = [s.holder for s in self._slots.values()]
        arrays = [x for x in arrays if isinstance(x, mx.array)]
        traced = any_traced(arrays)  # what is traced has no place yet
        for x in arrays:
            self._places[id(x)] = None if traced else captures.place_of(x)

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
        if slot.hashed:
            return _hash(slot.holder) != slot.hashed
        now = _held(slot.holder, slot.key)
        if len(now) == len(slot.values) and all(map(is_, now, slot.values)):
            return False
        return _told_of(slot.holder, now) != _told_of(slot.holder, slot.values)

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
                found = self._attribute(value, attribute, path)
                path = f"{path}.{attribute}"
                if found is MISSING and isinstance(own := _own(value), dict):
                    self._note(own, attribute, path)  # it may be set later
                value = found

    def _attribute(self, value: Any, name: str, path: str) -> Any:
        if isinstance(value, mx.array):
            return MISSING  # a method, of which nothing is to be known
        holder = captures.holder_of(value, name)
        found = captures.attribute(value, name)
        path = f"{path}.{name}"
        if holder is not None:
            self._todo.append((found, path))
            if not captures.is_library_module(value):
                self._note(holder, name, path, visits=False)
        hides = isinstance(holder, type) and _is_default(found)  # if it is there later
        if hides and isinstance(own := _own(value), dict):
            self._note(own, name, path, visits=False)
        return found

    def _note(
        self, holder: Any, key: str | None, name: str, *, visits: bool = True
    ) -> Any:
        """Notes what a holder holds; the value, unless it is a container."""
        if (id(holder), key) not in self._slots:
            values, hashed = _held(holder, key), _hash(holder)
            self._slots[id(holder), key] = _Slot(name, holder, key, values, hashed)
            if visits and not _is_numeric(holder):
                todo = [x for x in values if not isinstance(x, CONSTANTS)]
                self._todo += [(value, name) for value in todo]
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


def _own(value: Any) -> Any:
    """The attributes that an object has of its own, unless they are of a library."""
    if isinstance(value, mx.array) or captures.is_library_module(value):
        return None
    return getattr(value, "__dict__", None)


def _is_default(value: Any) -> bool:
    """Whether a value of a class is one that its objects may replace by their own."""
    return not hasattr(type(value), "__get__")


def _kind(holder: Any) -> Any:
    """The class whose methods change a holder, and run nothing of the user's."""
    kinds = OrderedDict, dict, list, set, deque
    return next(kind for kind in kinds if isinstance(holder, kind))


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
    kind = _kind(holder)
    if isinstance(holder, dict):
        return [*kind.keys(holder), *kind.values(holder)]
    return [*kind.__iter__(holder)]


def _put(holder: Any, key: str | None, values: list[Any]) -> None:
    """Makes a holder hold what `_held` found there."""
    if key is not _CONTENT:
        _put_value(holder, key, values[0])
    elif isinstance(holder, np.ndarray):
        _put_elements(holder, values)
    elif isinstance(holder, mx.array):
        holder[...] = values[0]
    else:
        kind = _kind(holder)
        kind.clear(holder)
        if isinstance(holder, dict):
            half = len(values) // 2
            for name, value in zip(values[:half], values[half:], strict=True):
                kind.__setitem__(holder, name, value)
        else:
            (kind.update if isinstance(holder, set) else kind.extend)(holder, values)


def _put_value(holder: Any, key: str, value: Any) -> None:
    """Makes a holder hold a value under a key, or nothing if it is missing."""
    if isinstance(holder, CellType):
        key = "cell_contents"
    if isinstance(holder, dict):
        if value is MISSING:
            holder.pop(key, None)
        else:
            holder[key] = value
        return
    kind = type if isinstance(holder, type) else object
    if value is not MISSING:
        kind.__setattr__(holder, key, value)
    elif _held(holder, key)[0] is not MISSING:
        kind.__delattr__(holder, key)


def _put_elements(holder: Any, values: list[Any]) -> None:
    """Makes a NumPy array hold the elements that it held, if that can be done."""
    shape = np.shape(values[0]) if values and _is_numeric(holder) else holder.shape
    is_kept = values or not holder.size
    if not is_kept or not holder.flags.writeable or shape != holder.shape:
        raise ValueError(
            f"a derivative reads a NumPy array of shape {holder.shape} that was "
            "changed after the call of which it is the derivative; give it as an "
            "argument, or make a new array instead of changing it"
        )
    if _is_numeric(holder):
        holder[...] = values[0]
    else:
        for place, value in enumerate(values):
            holder.flat[place] = value


def _hash(holder: Any) -> int:
    """What tells the elements of a NumPy array from others, and is not 0 for one."""
    is_numpy = isinstance(holder, np.ndarray) and not holder.dtype.hasobject
    return hash((holder.shape, holder.tobytes())) or 1 if is_numpy else 0


def _told_of(holder: Any, values: list[Any]) -> Hashable:
    """What tells the values that a holder holds from others."""
    # The place of an array does, which cannot be asked for while it is traced.
    return () if isinstance(holder, mx.array) else tuple(map(_told, values))


def _told(value: Any) -> Hashable:
    if isinstance(value, CONSTANTS):
        return type(value), repr(value)
    if isinstance(value, MethodType):  # is another object at each access
        return id(value.__func__), id(value.__self__)
    return id(value)
