"""Custom functions while a function is traced for `lf.export`.

A file holds MLX's own operations, so a custom function, whose rules are Python, may not
be among them. While a function is traced for export, custom functions are therefore
run as they are, and the transformations around them, those of `ops/mlx_transforms.py`,
say what a call does besides.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import mlx.core as mx

from lucid_fn.context import holding
from lucid_fn.types import Array


class CustomFunction(Protocol):
    """A function, and its rules by the transformation that they are for."""

    fn: Callable[..., Any]
    rules: dict[str, Callable[..., Any]]


# What a custom function does: a transformation that runs around it says so.
Run = Callable[[CustomFunction, tuple[Array, ...]], Any]

# The innermost one is the last; `None` outside of traces for export.
surrounding: ContextVar[tuple[Run, ...] | None] = ContextVar("around", default=None)

# An argument of the function that is traced for export.
anchor: ContextVar[Array] = ContextVar("anchor")


def is_exporting() -> bool:
    """Whether a function is traced for export, or checked before."""
    return surrounding.get() is not None


@contextmanager
def exporting(argument: Array) -> Iterator[None]:
    """Inside the block, custom functions leave nothing but MLX's operations.

    Args:
        argument: one of the function that is traced.
    """
    with holding(anchor, argument), surrounded_by(()):
        yield


@contextmanager
def checking() -> Iterator[None]:
    """Inside the block, derivatives work as usual, but those of `mx.grad` are errors.

    They know nothing of custom functions that are run as they are.
    """
    with surrounded_by((_refuse,)):
        yield


def surrounded_by(around: tuple[Run, ...] | None) -> AbstractContextManager[Any]:
    return holding(surrounding, around)


def call(function: CustomFunction, args: tuple[Array, ...]) -> Any:
    """What a custom function returns in a trace for export."""
    around = surrounding.get()
    if not around:
        return function.fn(*args)
    return around[-1](function, args)


def _refuse(function: CustomFunction, args: tuple[Array, ...]) -> Any:
    """A custom function of MLX that has no derivative."""
    return refusing(function.fn, function.rules["vmap"])(*args)


def refusing(fn: Callable[..., Any], vmap: Callable[..., Any]) -> Callable[..., Any]:
    """A custom function of MLX with a rule for `vmap` alone."""

    def refuse(*_: Any) -> Any:
        raise TypeError(
            "export: derivatives must be taken by lf.grad, lf.vjp and so on, got one "
            "of mx.grad or mx.vjp, which would not see the library's own rules"
        )

    custom: Any = mx.custom_function(fn)
    custom.vjp(refuse)
    custom.jvp(refuse)
    custom.vmap(vmap)
    return custom  # type: ignore[no-any-return]  # a function in truth


def apart(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, whose custom functions the surrounding transformations do not see."""

    def run(*args: Any) -> Any:
        with surrounded_by(()):
            return fn(*args)

    return run


def contiguous(x: Array) -> Array:
    """`mx.contiguous`, which ends a fused kernel; left out of files."""
    return x if is_exporting() else mx.contiguous(x)


def is_usual() -> bool:
    """Whether custom functions are MLX's in derivatives: no trace is under way."""
    around = surrounding.get()
    return around is None or around[:1] == (_refuse,)
