"""The decorator of elementwise functions: their checks, derivatives and rounding."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import mlx.core as mx

from lucid_fn.numerics import widen as widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.input_checks import takes_float
from lucid_fn.ops.seam import formulation, pointwise
from lucid_fn.types import Array

Function = Callable[[Array], Array]
Slope = Callable[[Array, Array], Array]
Fn = TypeVar("Fn", bound=Callable[..., Array])


def elementwise(
    *, slope: Slope, takes: Callable[[Function], Function] = takes_float
) -> Callable[[Function], Function]:
    """Decorates a function of single numbers, the plain formulation, with its slope.

    Half precision is computed in float32 and rounded once. The CPU wing's table may
    have the decorated function as a key: its formulation is called with float32, and
    float64 is left to the plain one.

    Args:
        slope: `(x, y) -> dy/dx` where `y` is the function's value; made of
            differentiable operations, so that derivatives of any order follow.
        takes: the check of the argument. With `takes_array` integers are welcome, and
            go to the plain function as they are.
    """

    def decorate(plain: Function) -> Function:
        @wraps(plain)
        def run(x: Array) -> Array:
            if not mx.issubdtype(x.dtype, mx.floating):
                return plain(x)
            chosen = plain if x.dtype == mx.float64 else formulation(function, plain)
            return with_slope(chosen, slope)(x)

        function = pointwise(takes(run))
        return function

    return decorate


@lru_cache(maxsize=512)
def with_slope(fn: Function, slope: Slope) -> Function:
    """`fn`, computed in float32 at least, with the derivative that is given.

    MLX's own derivatives also send zeros through comparisons, `abs` and `sign`, which
    takes up to twenty times as long. See `elementwise` for `slope`. A pair of functions
    is kept for its next use, so make those with numbers in them only once.
    """

    def forward(x: Array) -> Array:
        # MLX's jvp would differentiate `fn` too, for nothing.
        x = mx.stop_gradient(x)
        return fn(widen(x)).astype(x.dtype)

    custom = custom_function(forward)

    def scaled(x: Array, y: Array, g: Array) -> Array:
        dx: Array = widen(g) * slope(widen(x), widen(y))
        return dx.astype(x.dtype)

    @custom.vjp
    def vjp(x: Array, g: Array, y: Array) -> Array:
        return scaled(x, y, g)

    @custom.jvp
    def jvp(x: Array, dx: Array) -> Array:
        return scaled(x, cast(Array, custom(x)), dx)

    return cast(Function, custom)


def rounded_once(fn: Fn) -> Fn:
    """Decorates `fn(x, ...)`: half precision is computed in float32.

    So are its derivatives. For functions of several operations, each of which would
    round its result.
    """

    @wraps(fn)
    def run(x: Array, *args: Any, **options: Any) -> Array:
        return fn(widen(x), *args, **options).astype(x.dtype)

    return cast(Fn, run)
