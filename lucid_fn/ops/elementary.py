"""exp, tanh, sigmoid, erf and log(1 + exp), faster than MLX's on CPUs and more exact.

MLX's CPU kernels call the C library once a number: 10 to 25 ns each. The formulations
here are polynomials, quotients of them and powers of two, which the compiler turns into
vector instructions inside fused kernels. Beside each stand its largest error found
against float64, in units in the last place (ulp), and its time a number in a compiled
function on one core (Zen 5); `tests/unit/ops/test_elementary.py` states the bounds.

What the compiler behind `mx.compile` (g++, SSE2, no fast-math) asks for:

- a `where` with a constant has to end a kernel (`mx.contiguous` is the barrier): where
  arithmetic follows, g++ computes it once more for the constant, in a branch, and gives
  up on vectors: tanh 2.3 instead of 0.8 ns;
- a `where` between two results has to have both used elsewhere, or g++ computes each in
  a branch of its own: sigmoid 6.4 instead of 1.6 ns;
- a kernel is at most 11 operations deep, the constants included, or MLX cuts it at a
  place that it chooses badly: exp 2.8 instead of 1.4 ns;
- `maximum` and `minimum` have a branch for nan; a comparison and `where` have none.
"""

import mlx.core as mx

from lucid_fn.ops.elementwise import elementwise
from lucid_fn.types import Array

_ROUND = 12582912.0  # 1.5 * 2^23: adding and subtracting it rounds to an integer


def _clamp(x: Array, low: float, high: float) -> Array:
    """`x` within the bounds, nan kept, in a kernel of its own."""
    return mx.contiguous(mx.where(x > high, high, mx.where(x < low, low, x)))


# ---- tanh ----

_TANH_P = (8.333316445350647e-2, 9.537399164400995e-4, 5.572243821916345e-8)
_TANH_Q = (1.1144290119409561e-1, 1.0264829033985734e-3)


def fast_tanh(x: Array) -> Array:
    """2.5 ulp, 0.8 ns (mx.tanh: 2.1 ulp, 14 ns)."""
    # With u = 2 tanh(x / 2), tanh(x) = u / (1 + u^2 / 4): the error of u is damped
    # where tanh is close to 1. Both steps are "x minus a correction", so that small
    # numbers, denormal ones included, come out exact; `+ 0.0` keeps the sign of -0.
    # u is a minimax quotient that reaches 2 at 9, where tanh rounds to 1.
    x = _clamp(x, -9.0, 9.0)
    s = x * x
    p = s * (_TANH_P[0] + s * (_TANH_P[1] + s * _TANH_P[2]))
    q = 1.0 + s * (_TANH_Q[0] + s * _TANH_Q[1])
    u = mx.contiguous(x - (x * (p / q) + 0.0))
    w = 0.25 * (u * u)
    return u - (u * (w / (1.0 + w)) + 0.0)


@elementwise(fast_tanh, slope=lambda _, y: 1.0 - y * y)
def tanh(x: Array) -> Array:
    """The hyperbolic tangent, `(exp(x) - exp(-x)) / (exp(x) + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [-1, 1].

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.tanh(mx.array([-1.0, 0.0, 100.0]))
        array([-0.761594, 0, 1], dtype=float32)
    """
    return mx.tanh(x)


# ---- exp ----

_HALF_LOG2_E = 0.7213475204444817
_LN4 = (1.38623046875, 6.389236659742892e-5)  # in two parts, the first of 12 bits
_EXP = (
    0.5000000106606873,
    0.1666667388438664,
    4.166652518525102e-2,
    8.332526337329879e-3,
    1.3893711634296174e-3,
    2.0110068063838166e-4,
    2.4439808153493142e-5,
)
_EXP_LOW, _EXP_HIGH = -105.0, 89.0  # exp is 0 and infinite from there on


def _expm1_parts(x: Array) -> tuple[Array, Array]:
    """`t, e` with `exp(x) = (1 + t) * e * e` and `e` a power of two; `x` clamped.

    A square covers the exponents of all floats, denormal ones included, and the last
    multiplication rounds once. `|t|` is at most 1; `e` is 1 for `|x| < log(2)`.
    """
    # The exponent plus its bias, as an integer, in the place of a float's exponent.
    # `_ROUND + 128` is even like `_ROUND`: ties go the same way as in k, though MLX
    # does not see that both are the same number, which would cost a pass over memory.
    biased = (x * _HALF_LOG2_E + (_ROUND + 128.0)) - (_ROUND + 1.0)
    e = mx.view(mx.left_shift(biased.astype(mx.int32), 23), mx.float32)
    k = (x * _HALF_LOG2_E + _ROUND) - _ROUND
    r = mx.contiguous((x - k * _LN4[0]) - k * _LN4[1])  # |r| <= log(2)
    s = r * r
    low = (_EXP[0] + _EXP[1] * r) + s * (_EXP[2] + _EXP[3] * r)
    high = (_EXP[4] + _EXP[5] * r) + s * _EXP[6]
    return r + s * (low + (s * s) * high), e


def fast_exp(x: Array) -> Array:
    """1.5 ulp, 1.4 ns (mx.exp: 14 ulp, 10 to 14 ns); denormal results are exact too."""
    t, e = _expm1_parts(_clamp(x, _EXP_LOW, _EXP_HIGH))
    return ((1.0 + t) * e) * e


@elementwise(fast_exp, slope=lambda _, y: y)
def exp(x: Array) -> Array:
    """The exponential function.

    Infinite above 88.7228, denormal below -87.3, and 0 below -103.97.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, at least 0.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.exp(mx.array([-200.0, 0.0, 1.0]))
        array([0, 1, 2.71828], dtype=float32)
    """
    return mx.exp(x)


def _fast_expm1_of_negative(x: Array) -> Array:
    """`exp(min(x, 0)) - 1`: 1.8 ulp, 1.4 ns (mx.expm1: 14 ns)."""
    z = mx.where(x < 0, mx.where(x < _EXP_LOW, _EXP_LOW, x), 0.0)
    t, e = _expm1_parts(mx.contiguous(z))
    scale = e * e
    return (scale - 1.0) + scale * t


def _expm1_of_negative_slope(x: Array, y: Array) -> Array:
    return mx.contiguous((1.0 + y) * (x <= 0).astype(x.dtype))


@elementwise(_fast_expm1_of_negative, slope=_expm1_of_negative_slope)
def expm1_of_negative(x: Array) -> Array:
    """`exp(x) - 1` where `x` is negative, else 0, also of nan; the slope at 0 is 1."""
    return mx.expm1(mx.where(x < 0, x, 0.0))


# ---- exp of negative numbers ----

_LOG2_E = 1.4426950408889634
_LN2 = (0.693359375, -2.1219444e-4)  # in two parts, the first of 10 bits
_EXP_NEAR_0 = (
    0.4999999403953552,
    0.1666652113199234,
    0.04166838899254799,
    0.00836874544620514,
    0.0013814539415761828,
)


def fast_exp_of_negative(x: Array) -> Array:
    """`exp(x)` for `x` that are not positive: 1.0 ulp, 1.0 ns."""
    # Without large numbers a power of two times 2^64 is one float, no square as in
    # `_expm1_parts`: half the range for the polynomial and its rounding errors.
    x = mx.contiguous(mx.where(x < _EXP_LOW, _EXP_LOW, x))
    biased = (x * _LOG2_E + (_ROUND + 192.0)) - (_ROUND + 1.0)  # k + 127 + 64
    e = mx.view(mx.left_shift(biased.astype(mx.int32), 23), mx.float32)
    k = (x * _LOG2_E + _ROUND) - _ROUND
    r = mx.contiguous((x - k * _LN2[0]) - k * _LN2[1])  # |r| <= log(2) / 2
    s = r * r
    p = (_EXP_NEAR_0[0] + _EXP_NEAR_0[1] * r) + s * (
        (_EXP_NEAR_0[2] + _EXP_NEAR_0[3] * r) + s * _EXP_NEAR_0[4]
    )
    return ((1.0 + (r + s * p)) * e) * 2.0**-64


exp_of_negative = elementwise(fast_exp_of_negative, slope=lambda _, y: y)(mx.exp)
"""`exp` of numbers that are not positive, with its derivatives."""


def fast_exp_minus_abs(x: Array) -> Array:
    """`exp(-|x|)` in [0, 1], ready for use in another kernel."""
    return mx.contiguous(fast_exp_of_negative(-mx.abs(x)))


# ---- sigmoid ----


def fast_sigmoid(x: Array) -> Array:
    """1.9 ulp, 1.5 ns (mx.sigmoid: 15 ulp, 16 ns)."""
    # E / (1 + E) or 1 / (1 + E) with E = exp(-|x|), as "1 or E, less a correction":
    # all of the relative precision in both tails.
    e = fast_exp_minus_abs(x)
    numerator = mx.where(x < 0, e, 1.0)
    return numerator - numerator * (e / (1.0 + e))


@elementwise(fast_sigmoid, slope=lambda _, y: y * (1.0 - y))
def sigmoid(x: Array) -> Array:
    """The logistic function, `1 / (1 + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [0, 1]; exact to a few units in the
        last place far into the negative tail.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.sigmoid(mx.array([-80.0, 0.0, 80.0]))
        array([1.80485e-35, 0.5, 1], dtype=float32)
    """
    return mx.sigmoid(x)


# ---- softplus ----

_LOG1P_P = (0.49999991059303284, 0.4507352411746979, 7.225351780653e-2)
_LOG1P_Q = (1.5681321620941162, 0.6899746656417847, 7.570209354162216e-2)


def _fast_softplus(x: Array) -> Array:
    """2.5 ulp, 1.6 ns (mx.logaddexp: 46 ns)."""
    return mx.where(x < 0, 0.0, x) + _log1p_exp_minus_abs(x)


def _log1p_exp_minus_abs(x: Array) -> Array:
    """`log(1 + exp(-|x|))`, ready for use in another kernel."""
    e = fast_exp_minus_abs(x)
    p = _LOG1P_P[0] + e * (_LOG1P_P[1] + e * _LOG1P_P[2])
    q = 1.0 + e * (_LOG1P_Q[0] + e * (_LOG1P_Q[1] + e * _LOG1P_Q[2]))
    return mx.contiguous(e - e * (e * (p / q)))  # minimax on [0, 1]


@elementwise(_fast_softplus, slope=lambda x, _: sigmoid(x))
def softplus(x: Array) -> Array:
    """A smooth `relu`: `log(1 + exp(x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, at least 0.

    Source: PyTorch's `Softplus` with `beta = 1`; its `threshold` (the identity above
    20) makes no difference in float32.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softplus(mx.array([-100.0, 0.0, 100.0]))
        array([3.78351e-44, 0.693147, 100], dtype=float32)
    """
    return mx.logaddexp(x, 0.0)


@elementwise(
    lambda x: mx.where(x > 0, 0.0, x) - _log1p_exp_minus_abs(x),
    slope=lambda x, _: sigmoid(-x),
)
def log_sigmoid(x: Array) -> Array:
    """The logarithm of the logistic function, `-log(1 + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, at most 0.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.log_sigmoid(mx.array([-100.0, 0.0]))
        array([-100, -0.693147], dtype=float32)
    """
    return -mx.logaddexp(-x, 0.0)


# ---- erf ----

_ERF_SLOPE = 1.128379225730896  # at 0, rounded to float32
_ERF_P = (
    5.863538343753305e-08,
    -0.10277250320381714,
    -0.015915321988451227,
    -0.0018116357010599447,
)
_ERF_Q = (0.15689243961272445, 0.023689848226376414, 0.0003249220393938353)


def fast_erf(x: Array) -> Array:
    """3.3 ulp, 1.5 ns (mx.erf: 1.5e-7 off even near 0, 25 to 39 ns)."""
    # tanh(x * g(x^2)): tanh damps the error of g where erf is close to 1. g is the
    # slope at 0 less a minimax quotient. erf(4) rounds to 1.
    x = _clamp(x, -4.0, 4.0)
    s = x * x
    p = _ERF_P[0] + s * (_ERF_P[1] + s * (_ERF_P[2] + s * _ERF_P[3]))
    q = (1.0 + _ERF_Q[0] * s) + (s * s) * (_ERF_Q[1] + _ERF_Q[2] * s)
    return fast_tanh(mx.contiguous(_ERF_SLOPE * x - (x * (p / q) + 0.0)))


@elementwise(fast_erf, slope=lambda x, _: 2 / mx.pi**0.5 * exp(-x * x))
def erf(x: Array) -> Array:
    """The error function, `2 / sqrt(pi) * integral from 0 to x of exp(-t^2)`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [-1, 1].

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.erf(mx.array([-1.0, 0.0, 4.0]))
        array([-0.842701, 0, 1], dtype=float32)
    """
    return mx.erf(x)
