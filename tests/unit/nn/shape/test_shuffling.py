"""Shuffles: what they undo, and their errors."""

import mlx.core as mx
import pytest
from hypothesis import given, strategies as st

from lucid_fn import nn, random


def apply(layer, x):
    return layer.apply({}, {}, x, train=False)[0]


@given(factor=st.integers(1, 4), channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_pixel_unshuffle_undoes_pixel_shuffle(factor, channels, seed):
    x = random.normal(random.key(seed), (2, 3, 2, channels * factor**2))
    y = apply(nn.pixel_shuffle(factor), x)
    assert mx.array_equal(apply(nn.pixel_unshuffle(factor), y), x)


@given(groups=st.integers(1, 4), each=st.integers(1, 4))
def test_shuffling_twice_with_both_numbers_is_the_identity(groups, each):
    x = mx.arange(2.0 * groups * each).reshape(2, groups * each)
    y = apply(nn.channel_shuffle(groups), x)
    assert mx.array_equal(apply(nn.channel_shuffle(each), y), x)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            nn.pixel_shuffle(2),
            (1, 2, 2, 6),
            "pixel_shuffle: channels must be a multiple of 4, got 6",
        ),
        (
            nn.pixel_shuffle(2),
            (2, 2, 4),
            r"pixel_shuffle: x must have shape \(N, H, W, C\)",
        ),
        (
            nn.pixel_unshuffle(2),
            (1, 3, 2, 1),
            "pixel_unshuffle: height and width must be multiples of 2, got 3 and 2",
        ),
        (
            nn.channel_shuffle(2),
            (1, 3),
            "channel_shuffle: groups must divide the channels, got 2 for x of shape",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_errors(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        apply(layer, mx.ones(shape))


@pytest.mark.parametrize(
    "make", [nn.pixel_shuffle, nn.pixel_unshuffle, nn.channel_shuffle]
)
def test_numbers_out_of_range_are_errors(make):
    with pytest.raises(ValueError, match=f"{make.__name__}: .* must be at least 1"):
        make(0)
