"""Setting a context variable inside a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def holding(variable: ContextVar[T], value: T) -> Iterator[T]:
    """Inside the block the variable has this value, in the thread of the block only."""
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)
