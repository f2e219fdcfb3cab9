"""Functions of single numbers: a tuned formulation, MLX's own, and one derivative."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import mlx.core as mx

from lucid_fn.numerics import widen
from lucid_fn.ops.called import takes_float
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.seam import pointwise, tuned
from lucid_fn.types import Array

_TUNED = (mx.float32, mx.float16, mx.bfloat16)

Function = Callable[[Array], Array]
Slope = Callable[[Array, Array], Array]
Fn = TypeVar("Fn", bound=Callable[..., Any])


def elementwise(
    fast: Function, *, slope: Slope, takes: Callable[..., Any] = takes_float
) -> Callable[[Function], Callable[[Array], Array]]:
    """Decorates the plain function: on CPUs, `fast` runs in its place.

    Half-precision numbers are computed in float32 and rounded once; float64 goes to the
    plain function.

    Args:
        fast: the same function for float32, within the bounds its module states.
        slope: `(x, y) -> dy/dx` where `y` is the function's value; of differentiable
            operations, so that derivatives of any order follow.
        takes: what checks the array, `takes_array` if integers are welcome: they go to the plain function as they are.
    """

    def decorate(plain: Function) -> Function:
        by_fast, by_plain = (_with_slope(fn, slope) for fn in (fast, plain))

        @wraps(plain)
        def function(x: Array) -> Array:
            if not mx.issubdtype(x.dtype, mx.floating):
                return plain(x)
            return (by_fast if tuned() and x.dtype in _TUNED else by_plain)(x)

        return pointwise(cast(Function, takes(function)))

    return decorate


def _with_slope(fn: Function, slope: Slope) -> Function:
    """`fn`, computed in float32 at least, with the derivative that is given."""

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
