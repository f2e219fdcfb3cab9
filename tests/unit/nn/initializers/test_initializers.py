"""Initial draws: their distributions, and those of whole models."""

import math

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import models, nn, random, tree
from lucid_fn.nn import initializers as init

SHAPE = (64, 3, 3, 48)  # fan_in 432, fan_out 576; 27,648 draws
FAN_IN, FAN_OUT = 432, 576


def draws(initializer, seed=0, shape=SHAPE):
    return np.array(initializer(random.key(seed), shape))


def assert_deviation(x, deviation):
    """Mean and deviation within five of their standard errors."""
    error = deviation / math.sqrt(x.size)
    assert abs(x.mean()) < 5 * error
    assert x.std() == pytest.approx(deviation, abs=5 * error)


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [
        (init.uniform_by_fan_in, 1 / math.sqrt(3 * FAN_IN)),
        (init.normal_fan_out, math.sqrt(2 / FAN_OUT)),
        (init.normal(0.3), 0.3),
        (init.truncated_normal(0.3), 0.3 * 0.8796),
        (init.uniform(-1, 1), 1 / math.sqrt(3)),
        (init.xavier_uniform(), math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.xavier_normal(2.0), 2 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.kaiming_uniform(), math.sqrt(2 / FAN_IN)),
        (init.kaiming_normal(fan=init.fan_out), math.sqrt(2 / FAN_OUT)),
        (init.kaiming_normal(init.TANH_GAIN), 5 / 3 / math.sqrt(FAN_IN)),
        (init.lecun_uniform, 1 / math.sqrt(FAN_IN)),
        (init.lecun_normal, 1 / math.sqrt(FAN_IN)),
    ],
)
def test_mean_and_deviation(initializer, deviation):
    assert_deviation(draws(initializer), deviation)


@pytest.mark.parametrize(
    ("initializer", "bound"),
    [
        (init.uniform_by_fan_in, 1 / math.sqrt(FAN_IN)),
        (init.xavier_uniform(), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        (init.kaiming_uniform(), math.sqrt(6 / FAN_IN)),
        (init.truncated_normal(0.5), 1.0),
    ],
)
def test_bounds_are_kept_and_reached(initializer, bound):
    largest = np.abs(draws(initializer)).max()
    assert 0.99 * bound < largest <= bound * (1 + 1e-6)


def test_normal_draws_are_normal():
    x = draws(init.normal_fan_out) / math.sqrt(2 / FAN_OUT)
    share = [(np.abs(x) < width).mean() for width in (1, 2, 3)]
    np.testing.assert_allclose(share, [0.6827, 0.9545, 0.9973], atol=0.015)


def test_the_mean_of_a_normal():
    assert draws(init.normal(0.1, mean=2.0)).mean() == pytest.approx(2.0, abs=0.01)


def test_zeros_ones_and_constants():
    assert np.all(draws(init.zeros) == 0)
    assert np.all(draws(init.ones) == 1)
    assert np.all(draws(init.constant(0.5)) == 0.5)


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (4, 2, 2, 3), (7, 7)])
def test_orthogonal_rows_or_columns(shape):
    matrix = draws(init.orthogonal(2.0), shape=shape).reshape(shape[0], -1)
    small = (
        matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    )
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_orthogonal_has_no_preferred_sign():
    diagonals = [
        draws(init.orthogonal(), seed, (3, 3)).diagonal() for seed in range(99)
    ]
    assert abs(np.mean(np.sign(diagonals))) < 0.3


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.linear(4, 4, bias=False, weight_init=init.identity), (2, 4)),
        (
            nn.conv2d(
                4, 4, (3, 5), padding=(1, 2), bias=False, weight_init=init.identity
            ),
            (2, 6, 7, 4),
        ),
        (
            nn.conv1d(4, 4, 3, padding=1, bias=False, weight_init=init.identity),
            (2, 6, 4),
        ),
    ],
)
def test_identity_returns_its_input(layer, shape, key):
    x = random.normal(key, shape)
    y, _ = layer.apply(*layer.init(key), x, train=False)
    assert mx.allclose(x, y, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (init.LINEAR_GAIN, ("linear",)),
        (init.TANH_GAIN, ("tanh",)),
        (init.RELU_GAIN, ("relu",)),
        (init.SELU_GAIN, ("selu",)),
        (init.leaky_relu_gain(0.2), ("leaky_relu", 0.2)),
    ],
)
def test_gains_are_pytorchs(ours, name):
    torch = pytest.importorskip("torch")
    assert ours == pytest.approx(torch.nn.init.calculate_gain(*name))


def test_fans_of_a_matrix_and_a_convolution():
    assert init.fans((10, 84)) == (84, 10)
    assert init.fans((64, 7, 7, 3)) == (147, 3136)
    assert init.fan_mean((10, 84)) == 47


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: init.fans((3,)),
            r"fans: shape must have at least two axes, got \(3,\)",
        ),
        (lambda: init.uniform(1.0, 0.0), "high must be at least"),
        (
            lambda: init.normal(-1.0),
            "normal: std must be at least 0 and finite, got -1.0",
        ),
        (
            lambda: init.truncated_normal(-1.0),
            "std must be at least 0 and finite, got -1.0",
        ),
        (
            lambda: init.xavier_uniform(-1.0),
            "gain must be at least 0 and finite, got -1.0",
        ),
        (
            lambda: init.kaiming_normal(-1.0),
            "gain must be at least 0 and finite, got -1.0",
        ),
        (lambda: init.orthogonal(-1.0), "gain must be at least 0 and finite, got -1.0"),
    ],
)
def test_arguments_out_of_range_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_layers_take_initializers_for_weight_and_bias(key):
    for layer in (
        nn.linear(3, 4, weight_init=init.ones, bias_init=init.constant(2.0)),
        nn.conv1d(3, 4, 2, weight_init=init.ones, bias_init=init.constant(2.0)),
    ):
        params, _ = layer.init(key)
        assert mx.all(params["weight"] == 1)
        assert mx.all(params["bias"] == 2)


def test_transposed_convolutions_draw_as_pytorch_does():
    params, _ = nn.conv_transpose2d(48, 64, 3).init(random.key(0))
    bound = 1 / math.sqrt(64 * 9)  # PyTorch's fan_in of a transposed weight
    for leaf in (params["weight"], params["bias"]):
        assert 0.9 * bound < mx.max(mx.abs(leaf)).item() <= bound * (1 + 1e-6)


def test_a_resnet_draws_its_convolutions_by_fan_out():
    params, _ = models.cifar_resnet18().init(random.key(42))
    for path, leaf in tree.named_leaves(params).items():
        if leaf.ndim == 4:
            fan_out = leaf.shape[0] * leaf.shape[1] * leaf.shape[2]
            assert_deviation(np.array(leaf), math.sqrt(2 / fan_out))
        elif not path.startswith("fc"):
            expected = (
                mx.ones_like(leaf) if path.endswith("weight") else mx.zeros_like(leaf)
            )
            assert mx.array_equal(leaf, expected), path


def test_attention_draws_as_pytorch_does():
    params, _ = nn.multi_head_attention(64, 4).init(random.key(0))
    bound = math.sqrt(6 / (64 + 3 * 64))
    largest = mx.max(mx.abs(params["in_proj_weight"])).item()
    assert 0.99 * bound < largest <= bound
    largest = mx.max(mx.abs(params["out_proj"]["weight"])).item()
    assert 0.99 / 8 < largest <= 1 / 8
    assert mx.all(params["in_proj_bias"] == 0) and mx.all(
        params["out_proj"]["bias"] == 0
    )
