"""Checks of the types of arguments, and of functions as arguments."""

import inspect
import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import Any


def signature_of(
    fn: Callable[..., Any], *, follow_wrapped: bool = True
) -> inspect.Signature | None:
    """The parameters of a function; `None` where Python does not know them.

    Of a function of MLX, Python 3.13 says `(*args, **kwargs)`, which is that of the
    type of such functions; earlier ones raise. Annotations are not evaluated, as
    Python 3.14 would do only now: their names may exist for type checkers alone.
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
    caller: str, name: str, value: Any, kind: Any, words: str, *, fix: str = ""
) -> None:
    """Raises unless `value` is an instance of `kind`, as the `words` say."""
    if not isinstance(value, kind):
        fix = f"; {fix}" if fix else ""
        raise TypeError(
            f"{caller}: {name} must be {words}, got {type(value).__name__}{fix}"
        )


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
    # What wraps a function may take other arguments than that.
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
