"""exp, tanh, sigmoid, erf and softplus for CPUs, faster and more exact than MLX's.

For float32. MLX's CPU kernels call the C library for each element, which takes 10 to 25
ns. The functions here are made of polynomials, their quotients and powers of two, which
g++ vectorizes inside fused kernels. Each docstring states the largest error found
against float64, in units in the last place (ulp), and the time for an element in a
compiled function on one core (Zen 5); `tests/unit/ops/test_elementary.py` states the
bounds.

Rules for kernels that g++ (SSE2, no fast-math) vectorizes behind `mx.compile`:

- A subexpression that two kernels share becomes a third kernel, which writes it to
  memory. Written differently in each, it is not merged by `mx.compile`: exp of negative
  numbers takes 0.8 instead of 1.4 ns.
- A `where` with a constant must end a kernel (`mx.contiguous` is the barrier), except
  in kernels with our header (`runtime/compiled_preamble.h`). If arithmetic follows, g++
  repeats it for the constant in a branch, without vectors: tanh takes 2.3 instead of
  0.8 ns.
- Both operands of a `where` must be used elsewhere, too, or g++ computes each in its
  own branch: sigmoid takes 6.4 instead of 1.6 ns.
- A kernel is at most 11 operations deep, constants included, or MLX splits it badly:
  exp takes 2.8 instead of 1.4 ns.
- `maximum` and `minimum` branch on NaN; a comparison with `where` does not.
"""

import mlx.core as mx

from lucid_fn.tracing import is_mapping, repetition
from lucid_fn.types import Array

_ROUND = 12582912.0  # 1.5 * 2^23: adding and subtracting it rounds to an integer


# Up to this size, one kernel that calls the C library takes less time than the several
# kernels below take to start.
_FEW = 512


def _is_small_in_loop(x: Array) -> bool:
    """Whether `x` is small and computed inside a loop.

    Unknown while `vmap` traces a function, since the batch is not part of the shape.
    """
    return x.size <= _FEW and repetition() is not None and not is_mapping()


def _clamp(x: Array, low: float, high: float) -> Array:
    """`x` clamped to the bounds, NaN kept, in its own kernel."""
    return mx.contiguous(mx.where(x > high, high, mx.where(x < low, low, x)))


# ---- tanh ----

_TANH_P = (8.333316445350647e-2, 9.537399164400995e-4, 5.572243821916345e-8)
_TANH_Q = (1.1144290119409561e-1, 1.0264829033985734e-3)


def tanh(x: Array) -> Array:
    """2.5 ulp, 0.8 ns (mx.tanh: 2.1 ulp, 14 ns)."""
    if _is_small_in_loop(x):  # `mx.tanh` is inexact near 0
        return mx.where(mx.abs(x) < 2e-4, x, mx.tanh(x))
    # With u = 2 tanh(x / 2), tanh(x) = u / (1 + u^2 / 4), which damps the error of u
    # where tanh is close to 1. Both steps are "x minus a correction", which is exact
    # for small numbers, denormal ones included; `+ 0.0` keeps the sign of -0. u is a
    # minimax rational function that reaches 2 at 9, where tanh rounds to 1.
    x = _clamp(x, -9.0, 9.0)
    s = x * x
    p = s * (_TANH_P[0] + s * (_TANH_P[1] + s * _TANH_P[2]))
    q = 1.0 + s * (_TANH_Q[0] + s * _TANH_Q[1])
    u = mx.contiguous(x - (x * (p / q) + 0.0))
    w = 0.25 * (u * u)
    return u - (u * (w / (1.0 + w)) + 0.0)


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


def _expm1_parts(x: Array, again: Array) -> tuple[Array, Array]:
    """`t, e` with `exp(x) = (1 + t) * e * e` and `e` a power of two; `x` is clamped.

    `again` is `x` written differently, for the kernel of `e`.

    `e * e` covers the exponents of all floats, denormal ones included, and the last
    multiplication rounds once. `|t|` is at most 1; `e` is 1 for `|x| < log(2)`.
    """
    # The biased exponent as an integer, moved to the exponent bits of a float.
    # `_ROUND + 128` is even, as `_ROUND` is, so ties are rounded as in k. Since it is
    # written differently, MLX does not merge the two, which would cost a pass over
    # memory. Multiplied rather than shifted, since MLX's `vmap` of shifts is wrong.
    biased = (_HALF_LOG2_E * again + (_ROUND + 128.0)) - (_ROUND + 1.0)
    e = mx.view(biased.astype(mx.int32) * (1 << 23), mx.float32)
    k = (x * _HALF_LOG2_E + _ROUND) - _ROUND
    r = mx.contiguous((x - k * _LN4[0]) - k * _LN4[1])  # |r| <= log(2)
    s = r * r
    low = (_EXP[0] + _EXP[1] * r) + s * (_EXP[2] + _EXP[3] * r)
    high = (_EXP[4] + _EXP[5] * r) + s * _EXP[6]
    return r + s * (low + (s * s) * high), e


def exp(x: Array) -> Array:
    """1.5 ulp, 1.4 ns (mx.exp: 14 ulp, 10 to 14 ns); denormal results are exact too."""
    clamped = mx.where(x > _EXP_HIGH, _EXP_HIGH, mx.where(x < _EXP_LOW, _EXP_LOW, x))
    again = mx.where(x >= _EXP_LOW, x, _EXP_LOW)
    t, e = _expm1_parts(clamped, mx.where(x <= _EXP_HIGH, again, _EXP_HIGH))
    return ((1.0 + t) * e) * e


def expm1_of_negative(x: Array) -> Array:
    """`exp(min(x, 0)) - 1`: 1.8 ulp, 1.4 ns (mx.expm1: 14 ns)."""
    z = mx.where(x < 0, mx.where(x < _EXP_LOW, _EXP_LOW, x), 0.0)
    again = mx.where(x >= 0, 0.0, mx.where(x >= _EXP_LOW, x, _EXP_LOW))
    t, e = _expm1_parts(z, again)
    scale = e * e
    return (scale - 1.0) + scale * t


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


def exp_of_negative(x: Array) -> Array:
    """`exp(x)` for `x` that are not positive: 1.0 ulp, 1.0 ns."""
    # Results are at most 1, so 2^(k + 64) is a float and needs no square as in
    # `_expm1_parts`; that halves the range of the polynomial and its rounding errors.
    # The common subexpression of r and e is written twice, once for the kernel of each.
    again = mx.where(x >= _EXP_LOW, x, _EXP_LOW)
    x = mx.where(x < _EXP_LOW, _EXP_LOW, x)
    biased = (_LOG2_E * again + (_ROUND + 192.0)) - (_ROUND + 1.0)  # k + 127 + 64
    e = mx.view(biased.astype(mx.int32) * (1 << 23), mx.float32)
    k = (x * _LOG2_E + _ROUND) - _ROUND
    r = mx.contiguous((x - k * _LN2[0]) - k * _LN2[1])  # |r| <= log(2) / 2
    s = r * r
    p = (_EXP_NEAR_0[0] + _EXP_NEAR_0[1] * r) + s * (
        (_EXP_NEAR_0[2] + _EXP_NEAR_0[3] * r) + s * _EXP_NEAR_0[4]
    )
    return ((1.0 + (r + s * p)) * e) * 2.0**-64


def exp_minus_abs(x: Array) -> Array:
    """`exp(-|x|)`, in its own kernel."""
    return mx.contiguous(exp_of_negative(-mx.abs(x)))


# ---- sigmoid ----


def sigmoid(x: Array) -> Array:
    """1.9 ulp, 1.5 ns (mx.sigmoid: 15 ulp, 16 ns)."""
    if _is_small_in_loop(x):
        return _sigmoid_of_few(x)
    # E / (1 + E) or 1 / (1 + E) with E = exp(-|x|), as "1 or E, minus a correction", to
    # keep the relative precision in both tails.
    e = exp_minus_abs(x)
    numerator = mx.where(x < 0, e, 1.0)
    return numerator - numerator * (e / (1.0 + e))


_FAR = 86.0  # beyond which exp(x) is divided by 2^124 to avoid overflow
_FAR_LOG = (85.94921875, 0.0010316394332221535)  # 124 log(2), the first of 15 bits


def _sigmoid_of_few(x: Array) -> Array:
    """2.1 ulp, in one kernel."""
    # 1 / (1 + exp(|x|)), or 1 minus that. `mx.exp` has 14 ulp, `mx.expm1` has 1.
    a = mx.abs(x)
    far = a > _FAR
    e = mx.expm1(mx.where(far, (a - _FAR_LOG[0]) - _FAR_LOG[1], a))
    y = mx.where(far, 2.0**-124, 1.0) / (mx.where(far, 1.0, 2.0) + e)
    return mx.where(x < 0, y, 1.0 - y)


# ---- softplus ----

_LOG1P_P = (0.49999991059303284, 0.4507352411746979, 7.225351780653e-2)
_LOG1P_Q = (1.5681321620941162, 0.6899746656417847, 7.570209354162216e-2)


def softplus(x: Array) -> Array:
    """2.5 ulp, 1.6 ns (mx.logaddexp: 46 ns)."""
    return mx.where(x < 0, 0.0, x) + _log1p_exp_minus_abs(x)


def log_sigmoid(x: Array) -> Array:
    """2.5 ulp, 1.6 ns."""
    return mx.where(x > 0, 0.0, x) - _log1p_exp_minus_abs(x)


def _log1p_exp_minus_abs(x: Array) -> Array:
    """`log(1 + exp(-|x|))`, in its own kernel."""
    e = exp_minus_abs(x)
    p = _LOG1P_P[0] + e * (_LOG1P_P[1] + e * _LOG1P_P[2])
    q = 1.0 + e * (_LOG1P_Q[0] + e * (_LOG1P_Q[1] + e * _LOG1P_Q[2]))
    return mx.contiguous(e - e * (e * (p / q)))  # minimax on [0, 1]


# ---- erf ----

_ERF_SLOPE = 1.128379225730896  # at 0, rounded to float32
_ERF_P = (
    5.863538343753305e-08,
    -0.10277250320381714,
    -0.015915321988451227,
    -0.0018116357010599447,
)
_ERF_Q = (0.15689243961272445, 0.023689848226376414, 0.0003249220393938353)


def erf(x: Array) -> Array:
    """3.3 ulp, 1.5 ns (mx.erf: 1.5e-7 off even near 0, 25 to 39 ns)."""
    # tanh(x * g(x^2)): tanh damps the error of g where erf is close to 1. g is the
    # slope at 0 minus a minimax rational function. erf(4) rounds to 1.
    x = _clamp(x, -4.0, 4.0)
    s = x * x
    p = _ERF_P[0] + s * (_ERF_P[1] + s * (_ERF_P[2] + s * _ERF_P[3]))
    q = (1.0 + _ERF_Q[0] * s) + (s * s) * (_ERF_Q[1] + _ERF_Q[2] * s)
    return tanh(mx.contiguous(_ERF_SLOPE * x - (x * (p / q) + 0.0)))
