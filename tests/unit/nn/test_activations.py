"""Activations as children, and the one with parameters."""

from functools import partial

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops
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
