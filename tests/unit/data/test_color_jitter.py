"""color_jitter: torchvision's formulas, ranges and errors."""

import colorsys

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data
from lucid_fn.data.augmentation.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

X = np.random.default_rng(0).random((3, 5, 4, 3)).astype(np.float32)
FACTORS = np.array([0.2, 1.0, 1.7], np.float32).reshape(3, 1, 1, 1)
GRAY = X @ np.array([0.2989, 0.587, 0.114], np.float32)


def blended(other):
    """torchvision's `_blend` of float images."""
    return np.clip(FACTORS * X + (1 - FACTORS) * other, 0, 1)


@pytest.mark.parametrize(
    ("adjust", "other"),
    [
        (adjust_brightness, np.zeros_like(X)),
        (adjust_contrast, GRAY.mean((1, 2))[:, None, None, None]),
        (adjust_saturation, GRAY[..., None]),
    ],
)
def test_factors_blend_as_torchvisions(adjust, other):
    found = adjust(mx.array(X), mx.array(FACTORS))
    np.testing.assert_allclose(np.array(found), blended(other), 0, atol=1e-6)


@pytest.mark.parametrize("shift", [-0.5, -0.13, 0.0, 0.21, 0.5])
def test_the_hue_is_moved_as_by_colorsys(shift):
    colors = np.concatenate([X.reshape(-1, 3), np.eye(3), np.zeros((1, 3))])
    colors = np.concatenate([colors, 1 - np.eye(3), np.full((1, 3), 0.4)])
    expected = []
    for color in colors:
        hue, saturation, value = colorsys.rgb_to_hsv(*color)
        expected.append(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value))
    pixels = mx.array(colors.astype(np.float32))[None, None]
    found = np.array(adjust_hue(pixels, mx.array(shift)))[0, 0]
    np.testing.assert_allclose(found, expected, 0, atol=2e-6)


@pytest.mark.parametrize("width", [0.4, 1.5])
def test_factors_are_uniform_around_1_and_not_negative(width, key):
    n = 4000
    factors = np.array(
        data.color_jitter(key, mx.full((n, 1, 1, 3), 0.1), brightness=width)
    )[:, 0, 0, 0]
    low, high = max(0.0, 1 - width), 1 + width
    quantiles = np.sort(factors / 0.1)
    assert low - 1e-6 <= quantiles[0] and quantiles[-1] <= high + 1e-6
    expected = low + (high - low) * (np.arange(n) + 0.5) / n
    assert np.abs(quantiles - expected).max() < 2.7 * (high - low) / np.sqrt(n)


def test_without_widths_it_is_the_identity(key):
    assert mx.array_equal(data.color_jitter(key, mx.array(X)), mx.array(X))


def test_bytes_are_the_floats_rounded_once(key):
    options = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1}
    x = mx.array((X * 255).astype(np.uint8))
    exact = data.color_jitter(key, x.astype(mx.float32) / 255, **options)
    found = data.color_jitter(key, x, **options)
    assert found.dtype == mx.uint8
    assert mx.array_equal(found, mx.round(exact * 255).astype(mx.uint8))


def test_gray_images_have_brightness_and_contrast_only(key):
    x = mx.array(X[..., :1])
    assert mx.allclose(data.color_jitter(key, x, saturation=0.9, hue=0.5), x)
    assert not mx.allclose(data.color_jitter(key, x, contrast=0.9), x)


def test_each_change_has_a_draw_of_its_own(key):
    alone = data.color_jitter(key, mx.array(X[..., :1]), brightness=0.5)
    both = data.color_jitter(key, mx.array(X[..., :1]), brightness=0.5, hue=0.5)
    assert mx.array_equal(alone, both)


def test_other_images_are_refused(key):
    with pytest.raises(TypeError, match=r"floats from 0 to 1, or uint8, got .*int32"):
        data.color_jitter(key, mx.ones((1, 4, 4, 3), mx.int32))
    with pytest.raises(ValueError, match=r"must have 1 or 3 channels on .* got"):
        data.color_jitter(key, mx.ones((1, 3, 8, 8)))
    with pytest.raises(ValueError, match=r"hue must be in \[0, 0\.5\], got 0\.7"):
        data.color_jitter(key, mx.ones((1, 8, 8, 3)), hue=0.7)
