"""Global pooling: nan, equal numbers, shapes, dtypes."""

import math

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import ops, random

POOLS = [
    (1, ops.global_avg_pool1d, ops.global_max_pool1d),
    (2, ops.global_avg_pool2d, ops.global_max_pool2d),
    (3, ops.global_avg_pool3d, ops.global_max_pool3d),
]


@pytest.mark.parametrize(("dims", "mean", "most"), POOLS)
def test_they_are_mean_and_maximum(dims, mean, most, key):
    x = random.normal(key, (2, *range(3, 3 + dims), 4))
    axes = tuple(range(1, dims + 1))
    assert mx.allclose(mean(x), mx.mean(x, axis=axes), atol=1e-6)
    assert mx.array_equal(most(x), mx.max(x, axis=axes))


@pytest.mark.parametrize(("dims", "mean", "most"), POOLS)
def test_other_shapes_are_errors(dims, mean, most):
    for pool in mean, most:
        for shape in [(2, 3), (2, *[0] * dims, 4)]:
            with pytest.raises(ValueError, match=f"{pool.__name__}: x must have"):
                pool(mx.ones(shape))


def test_the_gradient_goes_to_the_first_maximum():
    x = mx.array([[[1.0], [3.0], [3.0]]])
    grad = lf.grad(lambda x: mx.sum(ops.global_max_pool1d(x)))(x)
    assert grad.flatten().tolist() == [0.0, 1.0, 0.0]


def test_a_channel_with_a_nan_gives_nan():
    x = mx.array([[[1.0], [math.nan], [3.0]]])
    assert math.isnan(ops.global_max_pool1d(x).item())


def test_integers_have_no_mean():
    with pytest.raises(TypeError, match="global_avg_pool1d: x must be of a float"):
        ops.global_avg_pool1d(mx.ones((1, 2, 3), mx.int32))


@pytest.mark.parametrize(("dims", "mean", "_"), POOLS)
def test_the_mean_of_a_million_places_keeps_its_digits(dims, mean, _):
    side = {1: 1 << 20, 2: 1 << 10, 3: 100}[dims]
    y = mean(mx.full((1, *[side] * dims, 2), 0.1))
    assert y.tolist() == [pytest.approx([0.1, 0.1], rel=1e-6)]


@pytest.mark.parametrize(("dims", "mean", "_"), POOLS)
def test_the_mean_of_float64_keeps_its_digits(dims, mean, _):
    x = mx.full((1, *[3] * dims, 1), 1 + 1e-12, mx.float64)
    assert mean(x).item() - 1 == pytest.approx(1e-12, rel=1e-3)
