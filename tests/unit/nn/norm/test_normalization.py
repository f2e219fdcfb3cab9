"""Norms of single examples: what is not a comparison with PyTorch."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, random

NORMS = {
    "layer_norm": nn.layer_norm(4),
    "rms_norm": nn.rms_norm(4),
    "group_norm": nn.group_norm(2, 4),
    "instance_norm": nn.instance_norm(4),
}


def apply(layer, x, key):
    return layer.apply(*layer.init(key), x, train=True)[0]


@pytest.mark.parametrize("layer", NORMS.values(), ids=NORMS)
def test_the_scale_of_the_input_does_not_matter(layer, key):
    x = random.normal(key, (3, 6, 4))
    assert mx.allclose(apply(layer, 100 * x, key), apply(layer, x, key), atol=1e-3)


@pytest.mark.parametrize("layer", NORMS.values(), ids=NORMS)
def test_constant_inputs_have_gradients(layer, key):
    params, _ = layer.init(key)
    x = mx.full((2, 6, 4), 3.0)

    def loss(x):
        return mx.sum(layer.apply(params, {}, x, train=True)[0])

    assert mx.all(mx.isfinite(mx.grad(loss)(x)))


def test_values_far_from_zero_keep_their_digits(key):
    x = np.random.default_rng(0).normal(1e3, 1, (64, 256)).astype(np.float32)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(
        exact.var(-1, keepdims=True) + 1e-5
    )
    y = apply(nn.layer_norm(256), mx.array(x), key)
    np.testing.assert_allclose(np.array(y), exact, atol=1e-5)


def test_one_group_is_a_layer_norm_of_the_whole_example(key):
    x = random.normal(key, (3, 5, 4))
    whole = apply(nn.layer_norm((5, 4), affine=False), x, key)
    assert mx.allclose(apply(nn.group_norm(1, 4), x, key), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            nn.layer_norm((2, 4)),
            (3, 4),
            r"x must have shape \(..., 2, 4\), got \(3, 4\)",
        ),
        (nn.rms_norm(4), (3, 5), r"rms_norm: x must have shape \(..., 4\), got"),
        (
            nn.group_norm(2, 4),
            (4,),
            r"group_norm: x must have shape \(N, ..., 4\), got",
        ),
        (
            nn.instance_norm(4),
            (3, 4),
            r"instance_norm: x must have shape \(N, ..., 4\)",
        ),
        (nn.instance_norm(4), (3, 1, 4), "at least 2 values to normalize, got 1"),
        (nn.group_norm(4, 4), (3, 4), "at least 2 values to normalize, got 1"),
    ],
)
def test_another_shape_is_an_error(layer, shape, message, key):
    with pytest.raises(ValueError, match=message):
        apply(layer, mx.ones(shape), key)


@pytest.mark.parametrize("layer", NORMS.values(), ids=NORMS)
def test_integers_are_an_error(layer, key):
    with pytest.raises(TypeError, match="x must be of a float dtype, got"):
        apply(layer, mx.ones((2, 3, 4), mx.int32), key)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.layer_norm(0), "normalized_shape must be an integer of at least 1"),
        (lambda: nn.layer_norm(()), r"normalized_shape must have an axis, got \(\)"),
        (
            lambda: nn.rms_norm(4, eps=0.0),
            "rms_norm: eps must be positive and finite, got 0.0",
        ),
        (
            lambda: nn.group_norm(3, 4),
            "num_groups must divide num_channels, got 3 and 4",
        ),
        (lambda: nn.instance_norm(4, eps=-1.0), "instance_norm: eps must be positive"),
    ],
)
def test_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
