"""Pooling layers: arguments and shapes; the numbers are those of `lucid_fn.ops`."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn


def apply(layer, *shape):
    return layer.apply({}, {}, mx.ones(shape), train=False)[0]


@pytest.mark.parametrize("pool", [nn.max_pool1d, nn.avg_pool1d])
def test_sequences_get_shorter(pool):
    assert apply(pool(3, stride=2, padding=1), 2, 7, 4).shape == (2, 4, 4)


@pytest.mark.parametrize("pool", [nn.max_pool3d, nn.avg_pool3d])
def test_volumes_get_smaller(pool):
    assert apply(pool((1, 2, 3)), 2, 4, 4, 6, 1).shape == (2, 4, 2, 2, 1)


def test_padding_that_is_not_counted():
    layer = nn.avg_pool2d(2, stride=1, padding=1, count_include_pad=False)
    assert mx.all(apply(layer, 1, 3, 3, 1) == 1)


@pytest.mark.parametrize("pool", [nn.adaptive_avg_pool1d, nn.adaptive_max_pool1d])
def test_adaptive_pools_of_sequences(pool):
    assert apply(pool(3), 2, 8, 4).shape == (2, 3, 4)
    with pytest.raises(
        ValueError, match=r"x must have shape \(N, L, C\), got \(2, 4\)"
    ):
        apply(pool(3), 2, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.max_pool2d(0), "max_pool2d: size must be an integer of at least 1"),
        (lambda: nn.max_pool1d((2, 2)), r"size must be .*, got \(2, 2\)"),
        (
            lambda: nn.avg_pool3d(2, stride=0),
            "avg_pool3d: stride must be an integer of",
        ),
        (
            lambda: nn.avg_pool2d(2, padding=-1),
            "padding must be an integer of at least 0",
        ),
        (lambda: nn.max_pool2d(2, padding=2), "padding must be at most half of size"),
        (
            lambda: nn.adaptive_avg_pool2d(0),
            "output_size must be an integer of at least",
        ),
        (lambda: nn.adaptive_max_pool2d((1, 0)), r"output_size must be .*got \(1, 0\)"),
        (
            lambda: nn.adaptive_avg_pool1d(0),
            "output_size must be an integer of at least",
        ),
        (
            lambda: nn.adaptive_max_pool1d(0),
            "output_size must be an integer of at least",
        ),
    ],
)
def test_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_another_number_of_axes_is_an_error():
    with pytest.raises(ValueError, match=r"x must have shape \(N, H, W, C\), got"):
        apply(nn.max_pool2d(2), 4, 4, 1)


@pytest.mark.parametrize("size", [[2, 2], np.int64(2), (np.int32(2), 2)])
def test_sizes_may_be_lists_and_numpys_integers(size):
    x = mx.ones((1, 4, 4, 3))
    for pool in nn.max_pool2d, nn.avg_pool2d:
        y, _ = pool(size, stride=size).apply({}, {}, x, train=False)
        assert y.shape == (1, 2, 2, 3)
    for pool in nn.adaptive_avg_pool2d, nn.adaptive_max_pool2d:
        assert pool(size).apply({}, {}, x, train=False)[0].shape == (1, 2, 2, 3)


@pytest.mark.parametrize("make", [nn.adaptive_avg_pool3d, nn.adaptive_max_pool3d])
def test_adaptive_pools_of_volumes_refuse_other_shapes(make):
    with pytest.raises(
        ValueError, match=rf"{make.__name__}: x must have shape \(N, D, H, W, C\)"
    ):
        make(2).apply({}, {}, mx.ones((2, 3, 4, 5)), train=False)
    with pytest.raises(ValueError, match=f"{make.__name__}: output_size must be"):
        make(0)
