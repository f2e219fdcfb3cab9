"""Checks of the array argument, which explain calls in the style of a PyTorch module.

Functions such as `relu` are layers themselves. The error for `nn.relu()` or
`nn.leaky_relu(0.2)` says to pass the function, or a `functools.partial` of it.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from lucid_fn.checks import check_array, check_float

Fn = TypeVar("Fn", bound=Callable[..., Any])


def takes_array(fn: Fn) -> Fn:
    """Decorates `fn(x, ...)`: an `x` that is missing or not an array is an error."""
    return _checked(fn, check_array)


def takes_float(fn: Fn) -> Fn:
    """Like `takes_array`, for an `x` of a float dtype."""
    return _checked(fn, check_float)


def _checked(fn: Fn, check: Callable[..., None]) -> Fn:
    @wraps(fn)
    def checked(*args: Any, **options: Any) -> Any:
        x = args[0] if args else options.get("x")
        _check_not_module(fn, args, options)
        check(fn.__name__, x=x)
        return fn(*args, **options)

    return cast(Fn, checked)


def takes_anything(fn: Fn) -> Fn:
    """Decorates `fn(x)`: a missing `x` is an error."""

    @wraps(fn)
    def checked(*args: Any, **options: Any) -> Any:
        if not (args or options):
            _check_not_module(fn, args, options)
        return fn(*args, **options)

    return cast(Fn, checked)


def _check_not_module(
    fn: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Raises if `x` is missing, or a number: an option of PyTorch's module."""
    name = fn.__name__
    if not args and "x" not in options:  # nn.ReLU()
        raise TypeError(f"{name}: x is missing; {_as_layer(fn, options)}")
    x = args[0] if args else options["x"]
    if isinstance(x, int | float):  # nn.LeakyReLU(0.2)
        _, *names = inspect.signature(fn).parameters
        layer = _as_layer(fn, dict(zip(names, args, strict=False)) | options)
        raise TypeError(f"{name}: x must be an MLX array, got {x}; {layer}")


def _as_layer(fn: Callable[..., Any], options: dict[str, Any]) -> str:
    name = fn.__name__
    if not options:
        return f"as a layer of a model, give the function itself: {name}, not {name}()"
    settings = ", ".join(f"{option}={value!r}" for option, value in options.items())
    return f"as a layer of a model, give functools.partial({name}, {settings})"
