"""Activations: hand values, kinks, dtypes, errors."""

import math

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import ops

ACTIVATIONS = [
    ops.celu,
    ops.elu,
    ops.gelu,
    ops.gelu_sigmoid,
    ops.gelu_tanh,
    ops.hard_shrink,
    ops.hard_sigmoid,
    ops.hard_swish,
    ops.hard_tanh,
    ops.leaky_relu,
    ops.mish,
    ops.relu,
    ops.relu6,
    ops.relu_squared,
    ops.selu,
    ops.silu,
    ops.soft_shrink,
    ops.softsign,
    ops.step,
    ops.tanh_shrink,
]
named = pytest.mark.parametrize("function", ACTIVATIONS, ids=lambda f: f.__name__)
HALVES = [mx.float16, mx.bfloat16]


def slopes(function, x):
    return mx.grad(lambda x: function(x).sum())(x)


@named
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_float32_rounded_once(function, dtype):
    x = mx.linspace(-4, 4, 33).astype(dtype)
    for fn in function, lambda x: slopes(function, x):
        assert mx.array_equal(fn(x), fn(x.astype(mx.float32)).astype(dtype))
        assert fn(x).dtype == dtype


@named
def test_slopes_are_finite_differences(function):
    x = mx.array([-3.7, -1.3, -0.2, 0.3, 1.1, 2.6, 6.4])
    difference = (function(x + 5e-3) - function(x - 5e-3)) / 1e-2
    assert mx.allclose(slopes(function, x), difference, atol=2e-3)


@named
def test_single_examples_are_mapped(function):
    x = mx.linspace(-3, 3, 13)
    assert mx.allclose(mx.vmap(function)(x), function(x))
    assert mx.allclose(mx.vmap(mx.grad(function))(x), slopes(function, x))


@named
def test_nan_stays(function):
    y = function(mx.array([math.nan, 1.0]))
    assert mx.isnan(y).tolist() == [function is not ops.step, False]


@named
def test_tuned_and_plain_agree(function):
    x = mx.linspace(-6, 6, 101)
    tuned = mx.compile(function)(x), slopes(function, x)
    with ops.plain():
        plain = function(x), slopes(function, x)
    for ours, theirs in zip(tuned, plain, strict=True):
        assert mx.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "at", "slope"),
    [
        (ops.relu, 0, 0),
        (ops.relu6, 6, 0),
        (ops.hard_tanh, 1, 0),
        (ops.leaky_relu, 0, 0.01),
        (ops.elu, 0, 1),
        (ops.hard_shrink, 0.5, 0),
        (ops.soft_shrink, 0.5, 0),
    ],
)
def test_the_slope_at_a_kink_is_the_documented_one(function, at, slope):
    assert mx.grad(function)(mx.array(float(at))).item() == pytest.approx(slope)


def test_gelu_is_x_times_the_normal_distribution():
    x = np.linspace(-6, 6, 2001)
    exact = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    y = np.array(ops.gelu(mx.array(x.astype(np.float32))))
    assert np.abs(y - exact).max() <= 1e-6


def test_gelu_approximations_are_as_far_off_as_they_say():
    x = mx.linspace(-6, 6, 2001)
    assert mx.abs(ops.gelu_tanh(x) - ops.gelu(x)).max().item() <= 5e-4
    assert mx.abs(ops.gelu_sigmoid(x) - ops.gelu(x)).max().item() <= 2.1e-2


def test_prelu_has_a_weight_a_channel_or_one_for_all():
    x = mx.array([[-1.0, 2.0, -4.0]])
    y = ops.prelu(x, mx.array([0.5, 0.5, 0.25]))
    assert y.tolist() == [[-0.5, 2, -1]]
    assert ops.prelu(x, mx.array(0.5)).tolist() == [[-0.5, 2, -2]]


def test_the_gradient_of_prelu_reaches_the_weight():
    x = mx.array([[-1.0, 2.0], [-3.0, -1.0]])
    dweight = mx.grad(lambda w: ops.prelu(x, w).sum())(mx.array([0.5, 0.5]))
    assert dweight.tolist() == [-4, -1]


def test_glu_gates_the_first_half_with_the_second():
    x = mx.array([[2.0, 4.0], [0.0, 100.0]])
    assert ops.glu(x, axis=0).tolist() == [[1, 4]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: ops.celu(x, 0.0),
            "celu: alpha must be positive and finite, got 0.0",
        ),
        (lambda x: ops.glu(x), r"glu: axis must be .*of even length, got -1 for x"),
        (lambda x: ops.glu(x, 5), "glu: axis must be one of x"),
        (lambda x: ops.hard_tanh(x, 1.0, 1.0), "hard_tanh: low must be below high"),
        (lambda x: ops.soft_shrink(x, -1.0), "soft_shrink: threshold must be at least"),
        (lambda x: ops.prelu(x, mx.ones((2,))), r"prelu: weight must .*got \(2,\)"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call(mx.ones((2, 3)))


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("name", ["elu", "celu", "selu"])
def test_slopes_of_half_precision_are_those_of_float32_rounded(name, dtype):
    activation = getattr(ops, name)
    x = mx.array([-9.0, -6.0, -5.0, -1.0, 2.0], dtype)
    found = mx.grad(lambda x: activation(x).sum())(x)
    exact = mx.grad(lambda x: activation(x).sum())(x.astype(mx.float32))
    assert found.dtype == dtype
    assert mx.allclose(found.astype(mx.float32), exact, rtol=1e-2, atol=0)


def test_hard_swish_of_large_float16_numbers_is_finite():
    assert ops.hard_swish(mx.array([20_000.0], mx.float16)).item() == 20_000
