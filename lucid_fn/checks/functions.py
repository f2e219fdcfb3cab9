"""Checks of functions as arguments."""

import inspect
import reprlib
from collections.abc import Sequence
from typing import Any


def check_function(
    caller: str, name: str, fn: Any, *, kinds: str = "a function", fix: str = ""
) -> None:
    """Raises unless `fn` can be called.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        fn: what the user gave.
        kinds: what errors say that the argument must be.
        fix: what errors advise.
    """
    if not callable(fn):
        fix = f"; {fix}" if fix else ""
        raise TypeError(
            f"{caller}: {name} must be {kinds}, got {type(fn).__name__} "
            f"{reprlib.repr(fn)}{fix}"
        )


def check_parameters(
    caller: str,
    name: str,
    fn: Any,
    positional: Sequence[str],
    named: Sequence[str] = (),
    *,
    fix: str = "",
) -> None:
    """Raises unless `fn` is a function that takes these arguments.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        fn: what the user gave. Nothing is known of a function without a signature.
        positional: the arguments that it is given by position.
        named: those that it is given by name.
        fix: what errors advise.
    """
    check_function(caller, name, fn)
    try:  # what wraps a function may take other arguments than that
        signature = inspect.signature(fn, follow_wrapped=False)
    except (TypeError, ValueError):
        return
    if type(fn).__module__ == "nanobind":  # MLX's: `(*args, **kwargs)`, or none
        return
    try:
        signature.bind(*positional, **dict.fromkeys(named))
    except TypeError as error:
        call = ", ".join([*positional, *(f"{option}={option}" for option in named)])
        fix = f"; {fix}" if fix else ""
        raise TypeError(
            f"{caller}: {name} must take {' and '.join([*positional, *named])}, as in "
            f"{name}({call}), got {getattr(fn, '__name__', type(fn).__name__)}"
            f"{signature}: {error}{fix}"
        ) from None
