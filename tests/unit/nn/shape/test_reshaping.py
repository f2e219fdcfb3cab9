"""flatten and identity."""

import mlx.core as mx
import pytest

from lucid_fn import nn


@pytest.mark.parametrize(
    ("shape", "flat"),
    [((2, 3, 4), (2, 12)), ((5,), (5, 1)), ((2, 3), (2, 3)), ((0, 3, 2), (0, 6))],
)
def test_flatten_keeps_the_first_axis(shape, flat):
    assert nn.flatten(mx.zeros(shape)).shape == flat


def test_flatten_keeps_the_order():
    assert nn.flatten(mx.arange(8).reshape(2, 2, 2)).tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_flatten_wants_an_axis():
    with pytest.raises(
        ValueError, match=r"flatten: x must have shape \(N, \.\.\.\), got"
    ):
        nn.flatten(mx.array(1.0))


def test_flatten_wants_an_array():
    with pytest.raises(TypeError, match="flatten: x must be an MLX array, got list"):
        nn.flatten([1.0])


def test_identity_is_its_argument():
    x = mx.zeros(2)
    assert nn.identity(x) is x


def test_unflatten_undoes_flatten():
    x = mx.arange(24.0).reshape(2, 3, 4)
    y, _ = nn.unflatten(3, 4).apply({}, {}, nn.flatten(x), train=False)
    assert mx.array_equal(y, x)


def test_unflatten_wants_the_product():
    with pytest.raises(
        ValueError,
        match=r"must have size 12, the product of \(3, 4\), got .*11\)",
    ):
        nn.unflatten(3, 4).apply({}, {}, mx.ones((2, 11)), train=False)
    with pytest.raises(ValueError, match="unflatten: shape must be at least 1, got 0"):
        nn.unflatten(3, 0)
    with pytest.raises(ValueError, match="unflatten: shape must have at least one"):
        nn.unflatten()
