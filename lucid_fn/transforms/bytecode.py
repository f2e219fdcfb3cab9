"""The names that a function's code reads and assigns, from its bytecode."""

import dis
import functools
from collections.abc import Iterator
from types import CellType, CodeType
from typing import Any, NamedTuple


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those that it defines."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _instructions(code: CodeType) -> list[dis.Instruction]:
    return [i for part in _codes(code) for i in dis.get_instructions(part)]


class Read(NamedTuple):
    """A name that code reads from outside, and the attributes that follow: `a.b.c`."""

    name: str
    attributes: tuple[str, ...]
    is_global: bool


# In the body of a class, `LOAD_NAME` may read a global variable.
_GLOBAL = "LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"


def _loaded(instruction: dis.Instruction, code: CodeType) -> tuple[str, ...]:
    """The names that an instruction loads; the last one is on top of the stack.

    Since Python 3.13 one instruction may load two names, or store one and load another.
    """
    op, name = instruction.opname, instruction.argval
    if op in _GLOBAL or op.startswith(("LOAD_DEREF", "LOAD_FROM_DICT_OR_DEREF")):
        return (name,)
    if "LOAD_FAST" not in op or op == "LOAD_FAST_AND_CLEAR":  # of comprehensions
        return ()
    names = name if isinstance(name, tuple) else (name,)
    names = names[op.startswith("STORE_FAST") :]
    # Since Python 3.13 it also loads cells, to make a closure of them.
    return tuple(n for n in names if n not in code.co_cellvars + code.co_freevars)


@functools.lru_cache(maxsize=4096)
def dotted_reads(code: CodeType) -> tuple[Read, ...]:
    """The names that the code, and the functions it defines, read from outside.

    Variables of closures and parameters have `is_global` false; parameters are among
    them since the first may be a method's `self`.
    """
    reads: dict[Read, None] = {}
    for part in _codes(code):
        root: str | None = None
        is_global = False
        attributes: list[str] = []
        for instruction in dis.get_instructions(part):
            op = instruction.opname
            if op == "EXTENDED_ARG":  # a part of the next one
                continue
            if root is not None and op in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes.append(instruction.argval)
                continue
            if root is not None:
                reads[Read(root, tuple(attributes), is_global)] = None
            root, attributes, is_global = None, [], op in _GLOBAL
            loaded = _loaded(instruction, part)
            if op.startswith(("LOAD_FAST", "STORE_FAST")) and part is not code:
                continue  # a variable of a function within
            for below in loaded[:-1]:
                reads[Read(below, (), False)] = None
            root = loaded[-1] if loaded else None
    return tuple(reads)


@functools.lru_cache(maxsize=4096)
def names(code: CodeType) -> frozenset[str]:
    """All names by which the code could read an attribute, also by `getattr`."""
    constants = (word for part in _codes(code) for word in part.co_consts)
    words = (word for word in constants if isinstance(word, str))
    read = (i.argval for i in _instructions(code) if i.opname in _ATTRIBUTE)
    return frozenset((*read, *filter(str.isidentifier, words)))


_ATTRIBUTE = "LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"


@functools.lru_cache(maxsize=4096)
def assigned(code: CodeType) -> frozenset[str]:
    """The outer names and the attributes that the code assigns to."""
    return frozenset(i.argval for i in _instructions(code) if i.opname in _ASSIGNMENTS)


_ASSIGNMENTS = "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR"


def operation(code: CodeType, offset: int) -> str:
    """The name of the instruction at an offset, for instance of a traceback."""
    return next(i.opname for i in dis.get_instructions(code) if i.offset == offset)


def cell_value(cell: CellType, default: Any) -> Any:
    """The value of a closure's cell; `default` while it is unbound."""
    try:
        return cell.cell_contents
    except ValueError:
        return default
