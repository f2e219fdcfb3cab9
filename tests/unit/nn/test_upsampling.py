"""Upsampling: what is not a comparison with PyTorch."""

import mlx.core as mx
import pytest

from lucid_fn import nn, random


def apply(layer, x):
    return layer.apply({}, {}, x, train=False)[0]


@pytest.mark.parametrize("make", [nn.upsample_nearest, nn.upsample_linear])
def test_a_constant_image_stays_constant(make):
    assert mx.allclose(apply(make(2.5), mx.full((1, 4, 6, 2), 3.0)), mx.array(3.0))


@pytest.mark.parametrize("make", [nn.upsample_nearest, nn.upsample_linear])
def test_a_factor_for_each_axis(make):
    assert apply(make((2, 0.5)), mx.ones((1, 4, 6, 2))).shape == (1, 8, 3, 2)


def test_aligned_corners_are_the_corners(key):
    x = random.normal(key, (1, 4, 5, 2))
    y = apply(nn.upsample_linear(3, align_corners=True), x)
    assert mx.allclose(y[:, ::11, ::14], x[:, ::3, ::4], atol=1e-6)


@pytest.mark.parametrize("make", [nn.upsample_nearest, nn.upsample_linear])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "scale must be a positive number, or 2 of them, got 0"),
        ({"scale": (2, 2, 2)}, r"scale must be .*, got \(2, 2, 2\)"),
        ({"scale": 2, "dims": 4}, "dims must be 1, 2 or 3, got 4"),
    ],
)
def test_arguments_out_of_range_are_errors(make, arguments, message):
    with pytest.raises(ValueError, match=f"{make.__name__}: {message}"):
        make(**arguments)


@pytest.mark.parametrize("make", [nn.upsample_nearest, nn.upsample_linear])
def test_other_inputs_are_errors(make):
    with pytest.raises(ValueError, match=r"x must have shape \(N, H, W, C\), got"):
        apply(make(2), mx.ones((4, 4, 1)))
    with pytest.raises(ValueError, match=r"scale must leave a pixel, got \(0.1, 0.1\)"):
        apply(make(0.1), mx.ones((1, 4, 4, 1)))
    with pytest.raises(TypeError, match="x must be of a float dtype"):
        apply(make(2), mx.ones((1, 4, 4, 1), mx.uint8))
