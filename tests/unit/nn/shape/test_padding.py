"""Padding layers: arguments; the numbers are compared with PyTorch's."""

import mlx.core as mx
import pytest

from lucid_fn import nn

PADS = [nn.constant_pad, nn.reflect_pad, nn.replicate_pad, nn.circular_pad]


def apply(layer, x):
    return layer.apply({}, {}, x, train=False)[0]


@pytest.mark.parametrize("make", PADS)
def test_one_number_is_for_all_sides(make):
    x = mx.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    assert mx.array_equal(apply(make(2), x), apply(make(((2, 2), 2)), x))
    assert apply(make(2), x).shape == (2, 7, 8, 5)


@pytest.mark.parametrize("make", PADS)
def test_no_padding_is_the_identity(make):
    x = mx.ones((2, 3, 1))
    assert mx.array_equal(apply(make(0), x), x)


@pytest.mark.parametrize("make", PADS)
def test_wrong_paddings_are_errors(make):
    name = make.__name__
    with pytest.raises(ValueError, match=f"{name}: padding must be an integer of at"):
        make(-1)
    with pytest.raises(ValueError, match=rf"{name}: x must have shape \(N, \.\.\."):
        apply(make(1), mx.ones((2, 3)))
    with pytest.raises(
        ValueError, match=rf"{name}: x must .* with 2 spatial axes, got \(2, 3, 1\)"
    ):
        apply(make((1, 1)), mx.ones((2, 3, 1)))


def test_a_border_cannot_be_longer_than_what_it_repeats():
    x = mx.ones((1, 3, 1))
    with pytest.raises(ValueError, match="reflect_pad: padding must be at most 2 for"):
        apply(nn.reflect_pad(3), x)
    with pytest.raises(ValueError, match="circular_pad: padding must be at most 3 for"):
        apply(nn.circular_pad(((0, 4),)), x)
    with pytest.raises(ValueError, match="replicate_pad: x must have an edge, got an"):
        apply(nn.replicate_pad(1), mx.ones((1, 0, 1)))


@pytest.mark.parametrize("dtype", [mx.int32, mx.float16])
def test_the_value_is_of_the_inputs_dtype(dtype):
    y = apply(nn.constant_pad(1, value=3.0), mx.ones((1, 1, 1), dtype))
    assert y.dtype == dtype
    assert y.flatten().tolist() == [3, 1, 3]
