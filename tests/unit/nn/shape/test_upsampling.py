"""Upsampling: what is not a comparison with PyTorch."""

import mlx.core as mx
import pytest

from lucid_fn import nn, random
from lucid_fn.cpu.parallel.split_batch import DividedBatch

MAKERS = [nn.upsample_nearest, nn.upsample_linear, nn.upsample_cubic]


def apply(layer, x):
    return layer.apply({}, {}, x, train=False)[0]


@pytest.mark.parametrize("make", MAKERS)
def test_a_constant_image_stays_constant(make):
    y = apply(make(2.5), mx.full((1, 4, 6, 2), 3.0))
    assert y.shape == (1, 10, 15, 2)
    assert mx.allclose(y, mx.array(3.0))


@pytest.mark.parametrize("make", MAKERS)
def test_a_factor_for_each_axis(make):
    assert apply(make((2, 0.5)), mx.ones((1, 4, 6, 2))).shape == (1, 8, 3, 2)


def test_aligned_corners_are_the_corners(key):
    x = random.normal(key, (1, 4, 5, 2))
    y = apply(nn.upsample_linear(3, align_corners=True), x)
    assert mx.allclose(y[:, ::11, ::14], x[:, ::3, ::4], atol=1e-6)


@pytest.mark.parametrize("make", [nn.upsample_linear, nn.upsample_cubic])
def test_antialiasing_takes_a_pattern_that_is_too_fine_away(make):
    stripes = mx.array([1.0, -1.0] * 32).reshape(1, 64, 1)
    smooth = apply(make(size=4, antialias=True, dims=1), stripes)
    assert mx.max(mx.abs(smooth)).item() < 0.02
    assert mx.max(mx.abs(apply(make(size=21, dims=1), stripes))).item() > 0.9


@pytest.mark.parametrize("make", [nn.upsample_linear, nn.upsample_cubic])
def test_antialiasing_keeps_a_nan_where_it_is(make):
    x = mx.where(mx.arange(32) == 31, mx.nan, 1.0).reshape(1, 32, 1)
    y = apply(make(size=4, antialias=True, dims=1), x).flatten()
    assert mx.isnan(y).tolist() == [False, False, make is nn.upsample_cubic, True]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale must be a positive number, or 2 of them, got 0"),
        ({"scale": (2, 2, 2)}, r"scale must be .*, got \(2, 2, 2\)"),
        ({"scale": 2, "dims": 4}, "dims must be 1, 2 or 3, got 4"),
        ({"scale": mx.inf}, "scale must be a positive number, or 2 of them, got inf"),
        ({}, "one of scale and size must be given, got scale=None and size=None"),
        ({"scale": 2, "size": 4}, "one of scale and size must be given, got scale=2 "),
        ({"size": 0}, "size must be an integer of at least 1, or 2 of them, got 0"),
        ({"size": (4, 4, 4)}, r"size must be an integer of .*, got \(4, 4, 4\)"),
    ],
)
def test_arguments_out_of_range_are_errors(make, arguments, message):
    with pytest.raises(ValueError, match=f"{make.__name__}: {message}"):
        make(**arguments)


@pytest.mark.parametrize("make", MAKERS)
def test_other_inputs_are_errors(make):
    with pytest.raises(ValueError, match=r"x must have shape \(N, H, W, C\), got"):
        apply(make(2), mx.ones((4, 4, 1)))
    with pytest.raises(ValueError, match=r"scale must leave a pixel, got \(0.1, 0.1\)"):
        apply(make(0.1), mx.ones((1, 4, 4, 1)))
    with pytest.raises(ValueError, match="no spatial axis may be empty"):
        apply(make(size=2), mx.ones((1, 0, 4, 1)))
    with pytest.raises(TypeError, match="x must be of a float dtype"):
        apply(make(2), mx.ones((1, 4, 4, 1), mx.bool_))
    with pytest.raises(TypeError, match="scale must be a number, got '2'"):
        make("2")


@pytest.mark.parametrize("make", MAKERS)
def test_a_skip_connection_has_the_size_that_it_is_given(make):
    below, skip = mx.ones((2, 11, 11, 3)), mx.ones((2, 15, 30, 5))
    y = apply(make(size=skip.shape[1:3]), below)
    assert mx.concatenate([y, skip], axis=-1).shape == (2, 15, 30, 8)


@pytest.mark.parametrize("make", MAKERS)
def test_a_divided_batch_is_resized_in_parts(make):
    x = random.normal(random.key(0), (4, 6, 5, 3))
    parts = DividedBatch([x[:2], x[2:]])
    y = apply(make(1.7), parts)
    assert isinstance(y, DividedBatch)
    assert mx.array_equal(y.join(), apply(make(1.7), x))
