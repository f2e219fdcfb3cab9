"""Checks of types, and of functions that are arguments."""

import inspect
import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import Any


def signature_of(
    fn: Callable[..., Any], *, follow_wrapped: bool = True
) -> inspect.Signature | None:
    """The signature of a function; `None` if Python does not know it.

    For functions of MLX, Python 3.13 gives the signature of their type,
    `(*args, **kwargs)`, where earlier versions raise. Annotations stay strings: Python
    3.14 would evaluate them, and their names may exist for type checkers only.
    """
    options: dict[str, Any] = {"follow_wrapped": follow_wrapped}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        options["annotation_format"] = Format.STRING
    try:
        signature = inspect.signature(fn, **options)
    except (TypeError, ValueError):
        return None
    return None if type(fn).__module__ == "nanobind" else signature


def check_type(
    caller: str, name: str, value: Any, kind: Any, wanted: str, *, fix: str = ""
) -> None:
    """Raise unless `value` is an instance of `kind`, which errors call `wanted`."""
    if not isinstance(value, kind):
        fix = f"; {fix}" if fix else ""
        raise TypeError(
            f"{caller}: {name} must be {wanted}, got {type(value).__name__}{fix}"
        )


def check_function(
    caller: str, name: str, fn: Any, *, kinds: str = "a function", fix: str = ""
) -> None:
    """Raise unless `fn` can be called.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        fn: the argument.
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
    """Raise unless `fn` is a function that takes these arguments.

    Args:
        caller: public function that errors name.
        name: argument that errors name.
        fn: the argument. Functions without a signature are accepted.
        positional: the arguments that it will receive by position.
        named: those that it will receive by name.
        fix: what errors advise.
    """
    check_function(caller, name, fn)
    # A wrapper may take other arguments than the function that it wraps.
    signature = signature_of(fn, follow_wrapped=False)
    if signature is None:
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
