"""A product of two inputs: its errors."""

import mlx.core as mx
import pytest

from lucid_fn import nn


@pytest.mark.parametrize(
    ("pair", "error", "message"),
    [
        (mx.ones((2, 3)), TypeError, "bilinear: x must be a pair of arrays, got array"),
        (
            (mx.ones((2, 4)), mx.ones((2, 4))),
            ValueError,
            r"bilinear: x must have shape \(\.\.\., 3\), got \(2, 4\)",
        ),
        (
            (mx.ones((2, 3)), mx.ones((5, 4))),
            ValueError,
            r"bilinear: both inputs must have the same leading axes, got \(2, 3\) and",
        ),
    ],
)
def test_other_inputs_are_errors(pair, error, message, key):
    layer = nn.bilinear(3, 4, 2)
    with pytest.raises(error, match=message):
        layer.apply(*layer.init(key), pair, train=False)


def test_the_params_of_another_layer_are_an_error(key):
    params, _ = nn.bilinear(3, 4, 2).init(key)
    with pytest.raises(ValueError, match=r"bilinear: params\['weight'\] must have"):
        nn.bilinear(4, 3, 2).apply(
            params, {}, (mx.ones((1, 4)), mx.ones((1, 3))), train=False
        )


def test_bounds_are_pytorchs(key):
    params, _ = nn.bilinear(16, 50, 9).init(key)
    assert 0.24 < mx.max(mx.abs(params["weight"])).item() <= 0.25  # 1 / sqrt(16)
    assert mx.max(mx.abs(params["bias"])).item() <= 0.25


def test_sizes_out_of_range_are_errors():
    with pytest.raises(ValueError, match="bilinear: in2_features must be at least 1"):
        nn.bilinear(1, 0, 1)
