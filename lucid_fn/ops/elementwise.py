"""Elementwise functions: their decorator, and exp, tanh, sigmoid, erf and softplus."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.numerics import widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.input_checks import takes_float
from lucid_fn.ops.mlx_transforms import contiguous
from lucid_fn.ops.seam import formulation, pointwise
from lucid_fn.types import Array, Scalar

Function = Callable[[Array], Array]
Slope = Callable[[Array, Array], Array]
Fn = TypeVar("Fn", bound=Callable[..., Array])


def elementwise(
    *, slope: Slope, takes: Callable[[Function], Function] = takes_float
) -> Callable[[Function], Function]:
    """Decorates the plain formulation of an elementwise function, given its derivative.

    Half precision is computed in float32 and rounded once. If the CPU wing's table has
    the decorated function as a key, its formulation is called with float32 arrays, and
    the plain one with float64.

    Args:
        slope: `(x, y) -> dy/dx`, where `y` is the value of the function; of
            differentiable operations, so that derivatives of any order follow.
        takes: check of the argument. With `takes_array`, integers are accepted too, and
            go to the plain formulation unchanged.
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
    """`fn`, computed in float32 at least, with a given derivative; see `elementwise`.

    MLX's own derivatives pass zeros through comparisons, `abs` and `sign`, which takes
    up to twenty times as long. The result is cached by `fn` and `slope`, so cache
    functions that close over numbers.
    """

    def forward(x: Array) -> Array:
        # Else MLX's jvp would differentiate `fn` too, in vain.
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
    """Decorates `fn(x, ...)`: half precision is computed in float32, and rounded once.

    Its derivatives are too. For functions of several operations, each of which would
    round.
    """

    @wraps(fn)
    def run(x: Array, *args: Any, **options: Any) -> Array:
        return fn(widen(x), *args, **options).astype(x.dtype)

    return cast(Fn, run)


@elementwise(slope=lambda _, y: 1.0 - y * y)
def tanh(x: Array) -> Array:
    """The hyperbolic tangent, `(exp(x) - exp(-x)) / (exp(x) + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [-1, 1].

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.tanh(mx.array([-1.0, 0.0, 100.0]))
        array([-0.761594, 0, 1], dtype=float32)
    """
    return mx.tanh(x)


@elementwise(slope=lambda _, y: y)
def exp(x: Array) -> Array:
    """The exponential function.

    In float32 it overflows above 88.7228, is denormal below -87.3, and 0 below -103.97.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, at least 0.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.exp(mx.array([-200.0, 0.0, 1.0]))
        array([0, 1, 2.71828], dtype=float32)
    """
    return mx.exp(x)


@elementwise(slope=lambda _, y: y)
def exp_of_negative(x: Array) -> Array:
    """`exp(x)` for `x <= 0`, as in a softmax."""
    return mx.exp(x)


def _expm1_of_negative_slope(x: Array, y: Array) -> Array:
    # `contiguous` ends a fused kernel, which g++ would not vectorize with more in it.
    return contiguous((1.0 + y) * (x <= 0).astype(x.dtype))


@elementwise(slope=_expm1_of_negative_slope)
def expm1_of_negative(x: Array) -> Array:
    """`exp(x) - 1` where `x < 0`, else 0, also for nan; the slope at 0 is 1."""
    return mx.expm1(mx.where(x < 0, x, 0.0))


@elementwise(slope=lambda _, y: y * (1.0 - y))
def sigmoid(x: Array) -> Array:
    """The logistic function, `1 / (1 + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [0, 1]; accurate to a few units in the
        last place, also far in the negative tail.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.sigmoid(mx.array([-80.0, 0.0, 80.0]))
        array([1.80485e-35, 0.5, 1], dtype=float32)
    """
    return mx.sigmoid(x)


def _log1pexp_slope(_: Array, y: Array) -> Array:
    # sigmoid(x) = 1 - exp(-y) takes two thirds of the time; `where` keeps nan.
    return mx.where(y >= 0, -expm1_of_negative(-y), y)


@elementwise(slope=_log1pexp_slope)
def log1pexp(x: Array) -> Array:
    """`log(1 + exp(x))`."""
    return mx.logaddexp(x, 0.0)


@pointwise
@takes_float
@rounded_once
def softplus(x: Array, beta: Scalar = 1.0) -> Array:
    """A smooth ReLU, `log(1 + exp(beta * x)) / beta`.

    Args:
        x: float, any shape.
        beta: sharpness, positive; the limit for large `beta` is the ReLU.

    Returns:
        Array of the shape and dtype of `x`, at least 0.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.
        ValueError: if `beta` is not positive.

    Source: PyTorch's `Softplus`; its `threshold` (the identity where `beta * x` is
    above 20) makes no difference in float32.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softplus(mx.array([-100.0, 0.0, 100.0]))
        array([3.78351e-44, 0.693147, 100], dtype=float32)
    """
    beta = check_scalar("softplus", "beta", beta, above=0)
    if isinstance(beta, float) and beta == 1:
        return log1pexp(x)
    return log1pexp(beta * x) / beta


@elementwise(slope=lambda x, _: sigmoid(-x))
def log_sigmoid(x: Array) -> Array:
    """The logarithm of the logistic function, `-log(1 + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, at most 0.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.log_sigmoid(mx.array([-100.0, 0.0]))
        array([-100, -0.693147], dtype=float32)
    """
    return -mx.logaddexp(-x, 0.0)


@elementwise(slope=lambda x, _: 2 / mx.pi**0.5 * exp(-x * x))
def erf(x: Array) -> Array:
    """The error function, `2 / sqrt(pi) * integral from 0 to x of exp(-t^2) dt`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [-1, 1].

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.erf(mx.array([-1.0, 0.0, 4.0]))
        array([-0.842701, 0, 1], dtype=float32)
    """
    return mx.erf(x)
