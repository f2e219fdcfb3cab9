"""Laws of activations and softmax, over random numbers."""

import mlx.core as mx
from hypothesis import given, strategies as st

from lucid_fn import ops

ATOL = 2e-6

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1e-3, 0.3, 3.0, 30.0])
shapes = st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple)


def draw(shape, scale, seed):
    return scale * mx.random.normal(shape, key=mx.random.key(seed))


@given(shapes, scales, seeds)
def test_tanh_and_erf_are_odd(shape, scale, seed):
    x = draw(shape, scale, seed)
    assert mx.array_equal(ops.tanh(-x), -ops.tanh(x))
    assert mx.array_equal(ops.erf(-x), -ops.erf(x))


@given(shapes, scales, seeds)
def test_sigmoids_of_opposites_sum_to_one(shape, scale, seed):
    x = draw(shape, scale, seed)
    assert mx.allclose(ops.sigmoid(x) + ops.sigmoid(-x), mx.array(1.0), atol=ATOL)


@given(shapes, scales, seeds)
def test_tanh_is_a_sigmoid_of_twice_the_size(shape, scale, seed):
    x = draw(shape, scale, seed)
    assert mx.allclose(ops.tanh(x), 2 * ops.sigmoid(2 * x) - 1, atol=ATOL)


@given(shapes, scales, seeds)
def test_softplus_of_opposites_differ_by_x(shape, scale, seed):
    x = draw(shape, scale, seed)
    difference = ops.softplus(x) - ops.softplus(-x)
    assert mx.allclose(difference, x, rtol=1e-6, atol=ATOL)


@given(shapes, scales, seeds)
def test_log_sigmoid_is_the_logarithm_of_sigmoid(shape, scale, seed):
    x = draw(shape, min(scale, 3.0), seed)
    assert mx.allclose(ops.exp(ops.log_sigmoid(x)), ops.sigmoid(x), atol=ATOL)


@given(shapes, scales, seeds)
def test_increasing_functions_keep_the_order(shape, scale, seed):
    x = mx.sort(draw(shape, scale, seed), axis=-1)
    for function in (ops.tanh, ops.exp, ops.sigmoid, ops.softplus, ops.erf, ops.elu):
        y = function(x)
        # Within the rounding of neighbours that are almost the same number.
        slack = 1e-6 * mx.abs(y[..., 1:])
        assert mx.all((y[..., 1:] - y[..., :-1] >= -slack) | mx.isinf(y[..., 1:]))


@given(shapes, scales, seeds)
def test_softmax_is_a_distribution(shape, scale, seed):
    y = ops.softmax(draw(shape, scale, seed))
    assert mx.all(y >= 0)
    assert mx.allclose(y.sum(-1), mx.array(1.0), atol=ATOL)


@given(shapes, scales, seeds, st.integers(-30, 30))
def test_softmax_ignores_a_shift(shape, scale, seed, shift):
    x = draw(shape, min(scale, 3.0), seed)
    assert mx.allclose(ops.softmax(x + shift), ops.softmax(x), atol=1e-5)


@given(shapes, scales, seeds)
def test_the_gradient_of_log_softmax_sums_to_zero(shape, scale, seed):
    x = draw(shape, scale, seed)
    cotangent = mx.cos(x)
    total = mx.grad(lambda x: (ops.log_softmax(x) * cotangent).sum())(x).sum(-1)
    assert mx.allclose(total, mx.zeros_like(total), atol=1e-5)


@given(shapes, scales, seeds)
def test_logsumexp_is_between_the_maximum_and_the_maximum_plus_log_n(
    shape, scale, seed
):
    x = draw(shape, scale, seed)
    above = ops.logsumexp(x) - x.max(-1)
    assert mx.all(above >= -1e-5)
    assert mx.all(above <= mx.log(mx.array(float(shape[-1]))) + 1e-5)
