"""Activations as children, and those with parameters or draws."""

from functools import partial

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, random
from tests.registry.activations import ACTIVATIONS


@pytest.mark.parametrize("function", ACTIVATIONS, ids=lambda f: f.__name__)
def test_plain_activations_are_those_of_ops(function):
    assert getattr(ops, function.__name__) is function


def test_partial_binds_other_hyper_parameters(key):
    model = nn.serial(partial(nn.leaky_relu, negative_slope=0.5))
    y, _ = model.apply({}, {}, mx.array([-2.0, 2.0]), train=True)
    assert y.tolist() == [-1.0, 2.0]


def test_one_weight_for_each_channel():
    x = mx.array([[-1.0, -1.0], [2.0, 2.0]])
    params = {"weight": mx.array([0.5, 0.0])}
    y, _ = nn.prelu(2).apply(params, {}, x, train=True)
    assert y.tolist() == [[-0.5, 0.0], [2.0, 2.0]]


def test_a_single_number_stays_one(key):
    layer = nn.prelu()
    params, state = layer.init(key)
    y, _ = layer.apply(params, state, mx.array(-2.0), train=True)
    assert y.shape == ()
    assert y.item() == -0.5
    grads = lf.grad(lambda p: layer.apply(p, state, mx.array(-2.0), train=True)[0])(
        params
    )
    assert grads["weight"].tolist() == [-2.0]


def test_other_channels_are_an_error(key):
    with pytest.raises(ValueError, match=r"prelu: x must have shape \(..., 2\), got"):
        nn.prelu(2).apply(*nn.prelu(2).init(key), mx.ones((4, 3)), train=True)


def test_a_number_of_parameters_out_of_range_is_an_error():
    with pytest.raises(ValueError, match="num_parameters must be at least 1, got 0"):
        nn.prelu(0)


def test_rrelu_draws_a_slope_for_each_negative_number(key):
    layer, x = nn.rrelu(0.25, 0.75), random.normal(random.key(1), (100, 100))

    def loss(x):
        y, _ = layer.apply({}, {}, x, train=True, key=key)
        return mx.sum(y), y

    (_, y), slope = lf.value_and_grad(loss, has_aux=True)(x)
    assert mx.allclose(y, slope * x, atol=1e-6)
    slope = np.array(slope)[np.array(x) <= 0]
    assert 0.25 <= slope.min() < 0.26 and 0.74 < slope.max() < 0.75
    assert abs(slope.mean() - 0.5) < 0.01
    assert mx.array_equal(mx.where(x > 0, x, 0), mx.maximum(y, 0))


def test_rrelu_needs_a_key_only_while_it_trains():
    layer, x = nn.rrelu(), mx.array([-24.0, 2.0])
    assert layer.apply({}, {}, x, train=False)[0].tolist() == [-5.5, 2.0]
    with pytest.raises(ValueError, match="rrelu: train=True needs a key, got None"):
        layer.apply({}, {}, x, train=True)


def test_an_upper_slope_below_the_lower_is_an_error():
    with pytest.raises(ValueError, match=r"rrelu: upper must be .*, got 0.1"):
        nn.rrelu(0.2, 0.1)
