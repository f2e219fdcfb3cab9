"""Checks of functions as arguments."""

import reprlib
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
