"""Params in one dtype, products in another, statistics always in float32."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, random, testing, tree

HALF = pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])


def seen_by(child):
    """A function on arrays that notes their dtypes."""
    seen = []

    def noting(x):
        seen.append(x.dtype)
        return child(x)

    return noting, seen


@HALF
def test_products_are_computed_in_half_precision_and_gradients_are_not(dtype):
    noting, seen = seen_by(nn.relu)
    model = nn.mixed_precision(nn.serial(nn.linear(4, 8), noting), dtype)
    params, state = model.init(random.key(0))
    x = random.normal(random.key(1), (5, 4))

    def loss(params):
        y, _ = model.apply(params, state, x, train=True)
        assert y.dtype == mx.float32
        return mx.sum(y * y)

    grads = lf.grad(loss)(params)
    assert set(seen) == {dtype}
    assert {leaf.dtype for leaf in tree.leaves((params, grads))} == {mx.float32}


@HALF
def test_gradients_of_small_layers_over_many_rows_follow_those_in_float32(dtype):
    """Such sums are formed in pieces, in float32."""
    model = nn.serial(nn.linear(4, 8), nn.relu, nn.linear(8, 3))
    params, state = model.init(random.key(0))
    x = random.normal(random.key(1), (1200, 4))

    def gradients(model):
        def loss(params):
            y, _ = model.apply(params, state, x, train=True)
            return mx.mean(mx.square(y))

        return lf.grad(loss)(params)

    half = gradients(nn.mixed_precision(model, dtype))
    testing.assert_close(half, gradients(model), rtol=0.02, atol=1e-3)


@HALF
@pytest.mark.parametrize("norm", [nn.batch_norm(3), nn.layer_norm(3), nn.rms_norm(3)])
def test_norms_compute_their_statistics_in_float32(dtype, norm):
    """Squares of 300 overflow in float16, and bfloat16 has two digits."""
    x = mx.array(np.random.default_rng(0).normal(300, 5, (64, 3)).astype(np.float32))
    model = nn.mixed_precision(norm, dtype)
    params, state = model.init(random.key(0))
    y, new = model.apply(params, state, x, train=True)
    exact, expected = norm.apply(
        params, state, tree.cast(tree.cast(x, dtype), mx.float32), train=True
    )
    testing.assert_close(new, expected, rtol=1e-5)
    assert {leaf.dtype for leaf in tree.leaves(new)} <= {mx.float32, mx.int32}
    eps = mx.finfo(dtype).eps
    testing.assert_close(y, exact, rtol=4 * eps, atol=4 * eps)


def test_labels_and_tokens_are_not_cast():
    model = nn.mixed_precision(nn.embedding(300, 4))
    params, state = model.init(random.key(0))
    y, _ = model.apply(params, state, mx.array([299]), train=False)
    testing.assert_close(y[0], params["weight"][299], rtol=0.01)


def test_params_may_be_stored_in_half_precision():
    model = nn.mixed_precision(
        nn.linear(2, 2), mx.float32, param_dtype=mx.float16, output_dtype=mx.float16
    )
    params, state = model.init(random.key(0))
    y, _ = model.apply(params, state, mx.ones((1, 2)), train=False)
    assert y.dtype == params["weight"].dtype == mx.float16


@pytest.mark.parametrize("name", ["compute_dtype", "param_dtype", "output_dtype"])
@pytest.mark.parametrize("value", [mx.int32, "bfloat16"])
def test_what_is_not_a_float_dtype_is_refused(name, value):
    with pytest.raises(TypeError, match=f"mixed_precision: {name} must be a float"):
        nn.mixed_precision(nn.linear(2, 2), **{name: value})
