"""The largest stretch of a weight."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, random


def test_the_largest_stretch_becomes_one(key):
    layer = nn.spectral_norm(nn.linear(6, 4, bias=False), iterations=50)
    params, state = layer.init(key)
    params = {"weight": params["weight"] * 7}
    y, _ = layer.apply(params, state, mx.eye(6), train=True)
    assert np.linalg.svd(np.array(y))[1][0] == pytest.approx(1, rel=1e-4)


def test_training_follows_a_weight_that_moves(key):
    layer = nn.spectral_norm(nn.linear(6, 4, bias=False))
    _, state = layer.init(key)
    moved = {"weight": random.normal(key, (4, 6))}
    sigma = np.linalg.svd(np.array(moved["weight"]))[1][0]
    for _ in range(60):
        y, state = layer.apply(moved, state, mx.eye(6), train=True)
    assert mx.allclose(y * sigma, moved["weight"].T, rtol=1e-3, atol=1e-3)


def test_the_state_of_the_layer_is_kept(key):
    block = nn.spectral_norm(nn.linear(3, 3), name="weight")
    model = nn.serial(block, nn.batch_norm(3))
    params, state = model.init(key)
    _, after = model.apply(params, state, random.normal(key, (5, 3)), train=True)
    assert list(after) == list(state) == ["0", "1"]
    assert list(after["0"]) == list(state["0"])


def test_errors(key):
    with pytest.raises(
        ValueError, match=r"spectral_norm: layer must have .* 'kernel' of at .*, got we"
    ):
        nn.spectral_norm(nn.linear(2, 2), name="kernel").init(key)
    with pytest.raises(ValueError, match="'weight' of at least two axes"):
        nn.spectral_norm(nn.layer_norm(3)).init(key)
    with pytest.raises(ValueError, match="spectral_norm: iterations must be at least"):
        nn.spectral_norm(nn.linear(2, 2), iterations=0)
    with pytest.raises(ValueError, match="axis must be one of the 2 of 'weight', got"):
        nn.spectral_norm(nn.linear(2, 2), axis=2).init(key)
    with pytest.raises(ValueError, match="spectral_norm: eps must be positive"):
        nn.spectral_norm(nn.linear(2, 2), eps=0.0)
    layer = nn.spectral_norm(nn.linear(2, 2))
    params, _ = layer.init(key)
    with pytest.raises(ValueError, match="spectral_norm: state must hold 'weight_u'"):
        layer.apply(params, {}, mx.ones((1, 2)), train=True)
