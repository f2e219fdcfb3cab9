"""Unpickling without executing anything that a pickle asks for."""

import _compat_pickle
import builtins
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar


class Opaque:
    """A placeholder for a pickled object that is not constructed.

    Attributes:
        name: the full name of the object's class, or of the function that makes it.
        args: the arguments to it; `None` if the class or function itself was pickled.
        state: the object's attributes, usually a dict.
        items: the object's items: values, or pairs of key and value.
    """

    __slots__ = ("args", "items", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] | None = None) -> None:
        self.name = name
        self.args = args
        self.state: Any = None
        self.items: list[Any] = []

    def __repr__(self) -> str:
        return f"<{self.name}, not loaded>"


Handler = Callable[..., Any]
"""A function that stands for a global of a pickle and is called in its place."""


def unpickle(
    content: bytes,
    handlers: Mapping[str, Handler] | None = None,
    *,
    persistent: Callable[[Any], Any] | None = None,
    encoding: str = "ASCII",
) -> Any:
    """Load a pickle without importing or calling anything that it names.

    A pickle is a program whose globals name functions for the reader to call. Here no
    global is looked up. Numbers, strings, bytes and containers are loaded; every other
    object becomes an `Opaque`, or the result of the handler registered for its name.

    Args:
        content: the pickle.
        handlers: functions by the full name of the global that each replaces, such as
            `"collections.OrderedDict"`.
        persistent: maps a persistent reference to an object.
        encoding: encoding of strings of Python 2; `"bytes"` keeps them as bytes.

    Raises:
        ValueError: if the pickle is damaged, or names a function whose purpose is to
            run code or commands.

    Example:
        >>> import argparse, pickle
        >>> from lucid_fn import io
        >>> args = argparse.Namespace(lr=0.1)
        >>> found = io.unpickle(pickle.dumps({"args": args, "epoch": 3}))
        >>> found, found["args"].state
        ({'args': <argparse.Namespace, not loaded>, 'epoch': 3}, {'lr': 0.1})
    """
    try:
        return _Unpickler(content, handlers or {}, persistent, encoding).load()
    except pickle.UnpicklingError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # the opcodes of a damaged pickle may raise anything
        reason = f"{type(error).__name__} {error}".strip()
        raise ValueError(f"a damaged pickle ({reason})") from error


_COMMANDS = {
    *("_io.open", "_pickle", "_posixsubprocess", "asyncio", "code", "codeop"),
    *("commands", "ctypes", "importlib", "io.open", "marshal", "multiprocessing", "nt"),
    *("os", "pickle", "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys"),
    "webbrowser",
}
"""Modules and functions that no data needs: a pickle naming one is an attack."""


def _is_forbidden(module: str, name: str) -> bool:
    if module == "builtins":  # classes and constants are harmless, eval is not
        found = getattr(builtins, name, eval)
        return callable(found) and not isinstance(found, type)
    return bool(_COMMANDS & {module.partition(".")[0], f"{module}.{name}"})


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which Python 3 pickles bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text.encode("latin1")


_HANDLERS: dict[str, Handler] = {
    "_codecs.encode": _encode,
    "builtins.bytes": lambda: b"",
    "builtins.complex": lambda real, imag: complex(float(real), float(imag)),
    "builtins.set": lambda items: set(_hashable(items)),
    "builtins.frozenset": lambda items: frozenset(_hashable(items)),
    "collections.OrderedDict": lambda pairs=(): dict(_with_keys(pairs)),
    "copyreg._reconstructor": lambda kind, *_: Opaque(kind.name, ()),
}


def _with_keys(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    for key, value in pairs:
        _hashable((key,))
        yield key, value


_KEYS = (str, bytes, int, float, complex, bool, type(None), Opaque)


def _hashable(items: Any, depth: int = 3) -> Any:
    """Return `items`, refusing keys whose hash could take exponential time."""
    for item in items:
        if type(item) is tuple and depth and len(item) <= 16:
            _hashable(item, depth - 1)
        elif type(item) not in _KEYS:
            raise pickle.UnpicklingError(f"a key of type {type(item).__name__}")
    return items


class _Unpickler(pickle._Unpickler):
    # The Python implementation: the one in C allocates as many slots as an opcode asks
    # for, 64 GB for one wrong byte.

    def __init__(
        self,
        content: bytes,
        handlers: Mapping[str, Handler],
        persistent: Callable[[Any], Any] | None,
        encoding: str,
    ) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self._handlers = {**_HANDLERS, **handlers}
        self._persistent = persistent
        self.stack: list[Any]

    def find_class(self, module: str, name: str, /) -> Opaque:
        # Pickles of Python 2 use its names.
        new = _compat_pickle.IMPORT_MAPPING.get(module, module), name
        new = _compat_pickle.NAME_MAPPING.get((module, name), new)
        if _is_forbidden(*new):
            raise pickle.UnpicklingError(
                f"the forbidden global {module}.{name}, which would run code; it was "
                "not called, but take the file from a source that you trust"
            )
        return Opaque(".".join(new))

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("a persistent reference")
        return self._persistent(pid)

    def _call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Opaque) or function.args is not None:
            raise pickle.UnpicklingError("a call of an object that is not a global")
        handler = self._handlers.get(function.name)
        return handler(*args) if handler else Opaque(function.name, tuple(args))

    def _marked(self) -> list[Any]:
        """Pop the objects above the last mark."""
        return self.pop_mark()  # type: ignore[attr-defined,no-any-return]  # not in typeshed

    def _read(self, size: int) -> bytes:
        return self.read(size)  # type: ignore[attr-defined,no-any-return]  # not in typeshed

    def _load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack.append(self._call(self.stack.pop(), args))

    def _load_newobj_ex(self) -> None:
        keywords, args, function = (self.stack.pop() for _ in range(3))
        self.stack.append(self._call(function, args))
        if isinstance(self.stack[-1], Opaque):
            self.stack[-1].state = dict(keywords)

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.stack.append(self._call(klass, args))

    def _load_build(self) -> None:
        state = self.stack.pop()
        match self.stack[-1]:
            case Opaque() as opaque:
                opaque.state = state
            case dict():  # the attributes of an OrderedDict
                pass
            case _:
                raise pickle.UnpicklingError("a state for an object without one")

    def _load_append(self) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _load_appends(self) -> None:
        self._extend(self._marked())

    def _extend(self, items: list[Any]) -> None:
        match self.stack[-1]:
            case list() as values:
                values.extend(items)
            case Opaque() as opaque:
                opaque.items.extend(items)
            case _:
                raise pickle.UnpicklingError("items for an object that is not a list")

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([(key, value)])

    def _load_setitems(self) -> None:
        items = self._marked()
        self._update(zip(items[::2], items[1::2], strict=True))

    def _load_dict(self) -> None:
        items = self._marked()
        self.stack.append({})
        self._update(zip(items[::2], items[1::2], strict=True))

    def _update(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        match self.stack[-1]:
            case dict() as values:
                values.update(_with_keys(pairs))
            case Opaque() as opaque:
                opaque.items.extend(pairs)
            case _:
                raise pickle.UnpicklingError("items for an object that is not a dict")

    def _load_additems(self) -> None:
        items = self._marked()
        if type(self.stack[-1]) is not set:
            raise pickle.UnpicklingError("items for an object that is not a set")
        self.stack[-1].update(_hashable(items))

    def _load_frozenset(self) -> None:
        items = self._marked()
        self.stack.append(frozenset(_hashable(items)))

    def _load_bytearray(self) -> None:
        size = int.from_bytes(self._read(8), "little")
        content = self._read(size)
        if len(content) < size:
            raise pickle.UnpicklingError("a bytearray that was cut short")
        self.stack.append(bytearray(content))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: _load_reduce,
        pickle.NEWOBJ[0]: _load_reduce,
        pickle.NEWOBJ_EX[0]: _load_newobj_ex,
        pickle.BUILD[0]: _load_build,
        pickle.APPEND[0]: _load_append,
        pickle.APPENDS[0]: _load_appends,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.FROZENSET[0]: _load_frozenset,
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }
    # These look up objects in a registry of the process.
    for _opcode in (pickle.EXT1, pickle.EXT2, pickle.EXT4):
        del dispatch[_opcode[0]]
