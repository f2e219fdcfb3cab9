"""Elementary functions against float64, over all exponents of float32."""

import inspect
import math

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import ops
from lucid_fn.ops.elementwise import exp_of_negative, expm1_of_negative
from lucid_fn.tracing import as_outside_loops, repeating

TUNED = pytest.mark.tuned("MLX's own functions are less exact")

# Units in the last place; the largest errors found over every seventh float (softplus
# and log_sigmoid every 17th, exp_of_negative every 29th): 2.50, 1.49, 1.87, 2.41, 2.41,
# 3.29, 1.78, 0.98.
MOST_ULPS = {
    "tanh": 2.75,
    "exp": 1.75,
    "sigmoid": 2.0,
    "softplus": 2.75,
    "log_sigmoid": 2.75,
    "erf": 3.75,
    "expm1_of_negative": 2.25,
    "exp_of_negative": 1.25,
}
FUNCTIONS = {name: getattr(ops, name) for name in MOST_ULPS if hasattr(ops, name)}
FUNCTIONS["expm1_of_negative"] = expm1_of_negative
# Beyond 0 it is not defined.
FUNCTIONS["exp_of_negative"] = lambda x: exp_of_negative(mx.minimum(x, 0))
HALVES = [mx.float16, mx.bfloat16]


def softplus64(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


REFERENCES = {
    "tanh": np.tanh,
    "exp": np.exp,
    "sigmoid": lambda x: np.exp(-softplus64(-x)),
    "softplus": softplus64,
    "log_sigmoid": lambda x: -softplus64(-x),
    "erf": np.vectorize(math.erf),
    "expm1_of_negative": lambda x: np.expm1(np.minimum(x, 0)),
    "exp_of_negative": lambda x: np.exp(np.minimum(x, 0)),
}


def floats(step):
    """Every `step`-th finite float32, of both signs, denormal ones included."""
    bits = np.arange(0, 0x7F800000, step, dtype=np.int32)
    positive = bits.view(np.float32)
    return np.concatenate([positive, -positive])


def ulps(y, exact):
    """Distance of float32 from float64, in units of the last place of the latter."""
    spacing = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(y == exact.astype(np.float32), 0, np.abs(y - exact) / spacing)


@TUNED
@pytest.mark.parametrize("name", MOST_ULPS)
def test_every_size_of_number_is_within_the_bound(name):
    x = floats(step=40009)
    dense = np.random.default_rng(0).uniform(-12, 12, 40000).astype(np.float32)
    x = np.concatenate([x, dense])
    y = np.array(mx.compile(FUNCTIONS[name])(mx.array(x))).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        exact = REFERENCES[name](x.astype(np.float64))
        assert ulps(y, exact).max() <= MOST_ULPS[name]


@TUNED
@pytest.mark.parametrize(("name", "bound"), [("tanh", 2.25), ("sigmoid", 2.25)])
def test_few_numbers_in_the_turns_of_a_loop_are_within_a_bound(name, bound):
    rng = np.random.default_rng(0)
    dense = [rng.uniform(-width, width, 2000) for width in (1, 12, 105)]
    x = np.concatenate([floats(step=4000037), *dense]).astype(np.float32)
    for piece in np.split(x, range(256, len(x), 256)):
        with repeating("scan"):
            y = np.array(FUNCTIONS[name](mx.array(piece))).astype(np.float64)
        exact = REFERENCES[name](piece.astype(np.float64))
        assert ulps(y, exact).max() <= bound


@TUNED
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_rows_mapped_over_in_a_loop_take_the_kernels_of_many_numbers(name):
    x = mx.array(np.random.default_rng(0).standard_normal((600, 4)), mx.float32)
    with repeating("scan"):
        rows = lf.vmap(FUNCTIONS[name])(x)
    assert np.array_equal(np.array(rows), np.array(FUNCTIONS[name](x)))


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_steps_that_run_in_a_loop_have_the_numbers_of_a_call(name):
    x = mx.linspace(-9, 9, 99)
    with repeating("scan"), as_outside_loops():
        y = FUNCTIONS[name](x)
    assert np.array_equal(np.array(y), np.array(FUNCTIONS[name](x)))


@pytest.mark.parametrize(
    ("name", "at_minus_infinity", "at_infinity"),
    [
        ("tanh", -1, 1),
        ("exp", 0, math.inf),
        ("sigmoid", 0, 1),
        ("softplus", 0, math.inf),
        ("log_sigmoid", -math.inf, 0),
        ("erf", -1, 1),
        ("exp_of_negative", 0, 1),
    ],
)
def test_infinities_have_limits_and_nan_stays(name, at_minus_infinity, at_infinity):
    y = FUNCTIONS[name](mx.array([-math.inf, math.inf, math.nan])).tolist()
    assert y[:2] == [at_minus_infinity, at_infinity]
    assert math.isnan(y[2])


@TUNED
@pytest.mark.parametrize("function", [ops.tanh, ops.erf])
def test_odd_functions_keep_the_sign_of_zero(function):
    y = np.array(function(mx.array([0.0, -0.0])))
    assert np.signbit(y).tolist() == [False, True]


@TUNED
def test_exp_overflows_and_underflows_where_float32_does():
    x = np.array([88.72283, 88.72284, -103.97, -103.98], np.float32)
    y = np.array(ops.exp(mx.array(x)))
    assert np.isinf(y).tolist() == [False, True, False, False]
    assert (y[2:] > 0).tolist() == [True, False]


def test_sigmoid_keeps_its_precision_in_the_tail():
    y = ops.sigmoid(mx.array(-80.0)).item()
    assert y == pytest.approx(math.exp(-80), rel=3e-7)


@TUNED
def test_tanh_of_a_small_number_is_that_number():
    x = np.array([1e-4, 1e-20, 1e-38, 1e-45], np.float32)
    assert np.array_equal(np.array(ops.tanh(mx.array(x))), x)


@pytest.mark.parametrize("name", MOST_ULPS)
def test_tuned_and_plain_agree(name):
    x = mx.linspace(-6, 6, 1001)
    tuned = FUNCTIONS[name](x)
    with ops.plain():
        plain = FUNCTIONS[name](x)
    assert mx.allclose(tuned, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", MOST_ULPS)
def test_half_precision_is_float32_rounded_once(name, dtype):
    x = mx.linspace(-6, 6, 101).astype(dtype)
    y = FUNCTIONS[name](x)
    assert y.dtype == dtype
    assert mx.array_equal(y, FUNCTIONS[name](x.astype(mx.float32)).astype(dtype))


@pytest.mark.parametrize("name", MOST_ULPS)
def test_integers_are_refused(name):
    with pytest.raises(TypeError, match="x must be of a float dtype, got"):
        FUNCTIONS[name](mx.array([-1, 0, 2]))


@pytest.mark.parametrize("name", MOST_ULPS)
def test_derivatives_are_those_that_mlx_finds_in_the_plain_function(name):
    x = mx.array([-3.0, -1.0, -0.3, 0.2, 1.5, 4.0])

    def derivatives(function):
        def slope(x):
            return mx.grad(lambda x: function(x).sum())(x)

        def curvature(x):
            return mx.grad(lambda x: slope(x).sum())(x)

        tangent = mx.jvp(function, [x], [mx.ones_like(x)])[1][0]
        mixed = mx.jvp(slope, [x], [mx.ones_like(x)])[1][0]
        single = mx.vmap(mx.grad(function))(x)
        return slope(x), tangent, single, curvature(x), mixed

    plain = inspect.unwrap(FUNCTIONS[name])
    if name == "exp_of_negative":
        plain = lambda x: mx.exp(mx.minimum(x, 0))  # noqa: E731  # as in FUNCTIONS
    expected = derivatives(plain)
    for ours, theirs in zip(derivatives(FUNCTIONS[name]), expected, strict=True):
        assert mx.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
