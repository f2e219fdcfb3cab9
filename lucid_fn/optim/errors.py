"""Errors that name the public function that the user called."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from lucid_fn.call_errors import explains_positions

P = ParamSpec("P")
T = TypeVar("T")


def errors_named_after(constructor: Callable[P, T]) -> Callable[P, T]:
    """Makes errors of an optimizer's parts begin with the name of the optimizer.

    The user of `sgd(0.1, momentum=-1)` reads an error of `sgd`, not of `trace`, and so
    for errors of `init` and `update`. Unknown arguments, such as PyTorch's `lr`, raise
    an error that lists the arguments.
    """
    name: str = constructor.__name__

    def renamed(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return fn(*args, **kwargs)
            except (TypeError, ValueError) as error:
                if type(error) not in (TypeError, ValueError):
                    raise
                message = _without_caller(str(error))
                if message is None:
                    raise
                raise type(error)(f"{name}: {message}") from None

        return run

    make, signature = renamed(constructor), inspect.signature(constructor)

    @functools.wraps(constructor)
    def named(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            names = ", ".join(signature.parameters)
            raise TypeError(f"{name}() {error}; its arguments are {names}") from None
        pair = make(*args, **kwargs)
        return type(pair)(*map(renamed, pair))

    return named


def explains_pair(made: Any, *_: Any) -> Any:
    """Makes `init` and `update` explain their arguments when called with others."""
    if getattr(made, "_fields", ()) != ("init", "update"):
        return made
    init = explains_positions(made.init, "init")
    return made._replace(init=init, update=explains_positions(made.update, "update"))


def _without_caller(message: str) -> str | None:
    """A message without its leading name of a public function, `None` without one."""
    from lucid_fn import optim  # here, because importing the package imports this file

    part = re.match(r"(\w+)(?: \([^)]*\))?: ", message)
    return message[part.end() :] if part and part[1] in optim.__all__ else None


def wrong_state(caller: str, expected: str, opt_state: Any) -> TypeError:
    """The error for a state that belongs to another optimizer."""
    got = type(opt_state).__name__
    if is_plain_tuple(opt_state):
        got = f"a tuple of {len(opt_state)}" if opt_state else "(), an empty state"
    return TypeError(
        f"{caller}: opt_state must be {expected} that init returned, got {got}; call "
        "update(grads, opt_state, params) with a state made by this optimizer's init"
    )


def no_params(caller: str) -> TypeError:
    """The error for an update without params, which optax allows."""
    return TypeError(
        f"{caller}: update needs the params; call update(grads, opt_state, params)"
    )


def is_plain_tuple(value: Any) -> bool:
    """Whether a value is a tuple, but not a named tuple."""
    return isinstance(value, tuple) and not hasattr(value, "_fields")
