"""Functions of single numbers: a tuned formulation, MLX's own, and one derivative."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import mlx.core as mx

from lucid_fn.ops.called import takes_array
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.seam import pointwise, tuned
from lucid_fn.types import Array

_TUNED = (mx.float32, mx.float16, mx.bfloat16)

Function = Callable[[Array], Array]
Slope = Callable[[Array, Array], Array]
Fn = TypeVar("Fn", bound=Callable[..., Any])


def elementwise(
    fast: Function, *, slope: Slope
) -> Callable[[Function], Callable[[Array], Array]]:
    """Decorates the plain function: on CPUs, `fast` runs in its place.

    Half-precision numbers are computed in float32 and rounded once. Whatever is not
    float32, float16 or bfloat16 goes to the plain function (MLX promotes integers).

    Args:
        fast: the same function for float32, within the bounds its module states.
        slope: `(x, y) -> dy/dx` where `y` is the function's value; of differentiable
            operations, so that derivatives of any order follow.
    """

    def forward(x: Array) -> Array:
        # MLX's jvp would differentiate `fast` too, for nothing.
        x = mx.stop_gradient(x)
        return fast(x.astype(mx.float32)).astype(x.dtype)

    custom = custom_function(forward)

    def scaled(x: Array, y: Array, g: Array) -> Array:
        x32, y32 = x.astype(mx.float32), y.astype(mx.float32)
        return (g.astype(mx.float32) * slope(x32, y32)).astype(x.dtype)

    @custom.vjp
    def vjp(x: Array, g: Array, y: Array) -> Array:
        return scaled(x, y, g)

    @custom.jvp
    def jvp(x: Array, dx: Array) -> Array:
        return scaled(x, cast(Array, custom(x)), dx)

    def decorate(plain: Function) -> Function:
        @wraps(plain)
        def function(x: Array) -> Array:
            if tuned() and x.dtype in _TUNED:
                return cast(Array, custom(x))
            return plain(x)

        return pointwise(takes_array(function))

    return decorate
