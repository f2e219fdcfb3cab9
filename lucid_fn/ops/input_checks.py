"""What functions that serve as layers say if they are called like PyTorch's modules."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from lucid_fn.checks import check_array, check_float

Fn = TypeVar("Fn", bound=Callable[..., Any])


def takes_array(fn: Fn) -> Fn:
    """`fn(x, ...)` with an error that says what to do if `x` is missing or no array."""
    return _checked(fn, check_array)


def takes_float(fn: Fn) -> Fn:
    """`takes_array`, for real-valued maths: integers are an error too."""
    return _checked(fn, check_float)


def _checked(fn: Fn, check: Callable[..., None]) -> Fn:
    @wraps(fn)
    def checked(*args: Any, **options: Any) -> Any:
        x = args[0] if args else options.get("x")
        _check_is_no_module(fn, args, options)
        check(fn.__name__, x=x)
        return fn(*args, **options)

    return cast(Fn, checked)


def takes_anything(fn: Fn) -> Fn:
    """`fn(x)` with an error that says what to do if `x` is missing."""

    @wraps(fn)
    def checked(*args: Any, **options: Any) -> Any:
        if not (args or options):
            _check_is_no_module(fn, args, options)
        return fn(*args, **options)

    return cast(Fn, checked)


def _check_is_no_module(
    fn: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Raises if `fn` is called with nothing, or with what are options in PyTorch."""
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
