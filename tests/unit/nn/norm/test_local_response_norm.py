"""Normalization by neighbouring channels: its errors and large numbers."""

import mlx.core as mx
import pytest

from lucid_fn import nn


def test_arguments_out_of_range_are_errors():
    with pytest.raises(ValueError, match="local_response_norm: size must be at least"):
        nn.local_response_norm(0)
    with pytest.raises(ValueError, match="local_response_norm: k must be positive"):
        nn.local_response_norm(3, k=0.0)
    with pytest.raises(ValueError, match="local_response_norm: x must have shape"):
        nn.local_response_norm(3).apply({}, {}, mx.ones(3), train=False)


def test_squares_of_half_precision_do_not_overflow():
    x = mx.full((1, 4), 3000.0, mx.float16)
    layer = nn.local_response_norm(1, alpha=1.0, beta=0.5)
    y, _ = layer.apply({}, {}, x, train=False)
    assert mx.allclose(y, mx.ones((1, 4)), atol=1e-3)
