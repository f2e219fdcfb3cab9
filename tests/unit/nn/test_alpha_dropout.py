"""Dropout that keeps mean and variance."""

import mlx.core as mx
import pytest

from lucid_fn import nn, random


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("make", [nn.alpha_dropout, nn.feature_alpha_dropout])
def test_mean_and_variance_are_kept(make, rate, key):
    x = random.normal(key, (20000, 2, 4))
    y, _ = make(rate).apply({}, {}, x, train=True, key=random.split(key)[0])
    assert abs(mx.mean(y).item()) < 0.02
    assert abs(mx.var(y).item() - 1) < 0.03


@pytest.mark.parametrize("make", [nn.alpha_dropout, nn.feature_alpha_dropout])
def test_values_are_pytorchs(make, key):
    torch = pytest.importorskip("torch")
    x = mx.ones((50, 3, 40))
    y, _ = make(0.3).apply({}, {}, x, train=True, key=key)
    theirs = torch.nn.AlphaDropout(0.3).train()(torch.ones(10000))
    ours, expected = (sorted(set(v)) for v in (y.flatten().tolist(), theirs.tolist()))
    assert ours == pytest.approx(expected, rel=1e-5)


def test_channels_are_dropped_as_one(key):
    x = mx.ones((50, 6, 8))
    layer = nn.feature_alpha_dropout(0.5)
    y, _ = layer.apply({}, {}, x, train=True, key=key)
    assert mx.array_equal(y, mx.broadcast_to(y[:, :1], y.shape))
    assert len(set(y[:, 0].flatten().tolist())) == 2


def test_errors_name_the_layer(key):
    with pytest.raises(ValueError, match="alpha_dropout: train=True needs a key"):
        nn.alpha_dropout(0.5).apply({}, {}, mx.ones(3), train=True)
    with pytest.raises(ValueError, match="feature_alpha_dropout: rate must be in"):
        nn.feature_alpha_dropout(1.0)
    with pytest.raises(ValueError, match="feature_alpha_dropout: x must have shape"):
        nn.feature_alpha_dropout(0.5).apply({}, {}, mx.ones(3), train=True, key=key)
