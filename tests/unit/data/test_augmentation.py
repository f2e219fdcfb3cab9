"""Augmentations: what they do to an image, their laws, and their errors."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn import data, random

AUGMENTATIONS = {
    "random_crop": data.random_crop,
    "random_flip": data.random_flip,
    "cutout": lambda key, images: data.cutout(key, images, 3),
}
each = pytest.mark.parametrize("name", AUGMENTATIONS)
seeds = st.integers(0, 2**32)
sides = st.integers(1, 9)


def images(n, height, width, channels=2, dtype=mx.int32):
    """Images whose pixels are all different, and none of them 0."""
    shape = (n, height, width, channels)
    return mx.arange(1, 1 + n * height * width * channels, dtype=dtype).reshape(shape)


@each
@pytest.mark.parametrize("dtype", [mx.uint8, mx.float32, mx.float16, mx.bfloat16])
def test_shape_and_dtype_are_kept(name, dtype, key):
    x = mx.ones((3, 7, 5, 3), dtype)
    y = AUGMENTATIONS[name](key, x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)


@each
def test_the_result_is_a_function_of_the_key(name):
    x = images(16, 8, 8)
    a, b, c = (AUGMENTATIONS[name](random.key(seed), x) for seed in (0, 0, 1))
    assert mx.array_equal(a, b)
    assert not mx.array_equal(a, c)


@each
def test_images_of_a_batch_are_changed_differently(name, key):
    x = mx.broadcast_to(images(1, 8, 8), (32, 8, 8, 2))
    y = np.array(AUGMENTATIONS[name](key, x))
    assert len({image.tobytes() for image in y}) > 1


@each
def test_the_argument_is_unchanged(name, key):
    x = images(4, 6, 6)
    AUGMENTATIONS[name](key, x)
    assert mx.array_equal(x, images(4, 6, 6))


@each
def test_compiled_and_vmapped_as_eager(name):
    augment = AUGMENTATIONS[name]
    keys, x = random.split(random.key(5), 3), images(6, 8, 8).reshape(3, 2, 8, 8, 2)
    expected = mx.stack([augment(k, part) for k, part in zip(keys, x, strict=True)])
    assert mx.array_equal(mx.vmap(augment)(keys, x), expected)
    assert mx.array_equal(mx.compile(augment)(keys[0], x[0]), expected[0])


@each
def test_the_gradient_is_that_of_a_selection_of_pixels(name, key):
    x = mx.random.normal((4, 6, 6, 1), key=key)
    ones = mx.grad(lambda x: mx.sum(AUGMENTATIONS[name](key, x)))(x)
    assert set(np.unique(np.array(ones))) <= {0.0, 1.0}


@given(n=st.integers(1, 5), height=sides, width=sides, padding=sides, seed=seeds)
def test_each_crop_is_a_window_of_the_padded_image(n, height, width, padding, seed):
    x = images(n, height, width)
    crops = np.array(data.random_crop(random.key(seed), x, padding=padding))
    padded = np.pad(np.array(x), [(0, 0), (padding,) * 2, (padding,) * 2, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    windows = windows.transpose(0, 1, 2, 4, 5, 3)  # (N, 2p+1, 2p+1, H, W, C)
    for crop, places in zip(crops, windows, strict=True):
        assert (places == crop).all((2, 3, 4)).any()


@given(height=sides, width=sides, seed=seeds)
def test_a_crop_without_padding_is_the_identity(height, width, seed):
    x = images(3, height, width)
    assert mx.array_equal(data.random_crop(random.key(seed), x, padding=0), x)


def test_all_places_of_a_crop_come_equally_often(key):
    n = 9000
    x = mx.broadcast_to(images(1, 3, 3, 1), (n, 3, 3, 1))
    centres = np.array(data.random_crop(key, x, padding=1))[:, 1, 1, 0]
    counts = np.bincount(centres, minlength=10)[1:]
    assert np.abs(counts - n / 9).max() < 5 * np.sqrt(n / 9)


@given(n=st.integers(1, 9), height=sides, width=sides, seed=seeds)
def test_flipping_twice_with_the_same_key_is_the_identity(n, height, width, seed):
    x, key = images(n, height, width), random.key(seed)
    assert mx.array_equal(data.random_flip(key, data.random_flip(key, x)), x)


@given(n=st.integers(1, 9), height=sides, width=sides, seed=seeds)
def test_each_image_is_itself_or_its_mirror_image(n, height, width, seed):
    x = images(n, height, width)
    for before, after in zip(x, data.random_flip(random.key(seed), x), strict=True):
        assert mx.array_equal(after, before) or mx.array_equal(after, before[:, ::-1])


def test_half_of_the_images_are_flipped(key):
    n = 4000
    x = mx.broadcast_to(images(1, 1, 2, 1), (n, 1, 2, 1))
    flipped = np.sum(np.array(data.random_flip(key, x))[:, 0, 0, 0] == 2)
    assert abs(flipped - n / 2) < 5 * np.sqrt(n / 4)


@given(height=sides, width=sides, size=st.integers(1, 12), seed=seeds)
def test_cutout_zeroes_a_square_clipped_to_the_image(height, width, size, seed):
    x = np.array(images(4, height, width))
    cut = np.array(data.cutout(random.key(seed), mx.array(x), size))
    squares = [
        (slice(max(0, y - size // 2), y - size // 2 + size),
         slice(max(0, z - size // 2), z - size // 2 + size))
        for y in range(height) for z in range(width)
    ]  # fmt: skip
    for before, after in zip(x, cut, strict=True):
        assert any((after == _zeroed(before, square)).all() for square in squares)


def _zeroed(image, square):
    out = image.copy()
    out[square] = 0
    return out


def test_all_centres_of_a_hole_come_equally_often(key):
    n = 9000
    cut = np.array(data.cutout(key, mx.ones((n, 3, 3, 1)), 1))
    counts = np.sum(cut == 0, axis=0).ravel()
    assert counts.sum() == n
    assert np.abs(counts - n / 9).max() < 5 * np.sqrt(n / 9)


@each
@pytest.mark.parametrize("shape", [(8, 8, 3), (0, 8, 8, 3), (2, 2, 8, 8, 3)])
def test_images_must_have_four_axes(name, shape, key):
    with pytest.raises(
        ValueError, match=rf"{name}: images must have shape \(N, H, W, C\) .* images\["
    ):
        AUGMENTATIONS[name](key, mx.ones(shape))


@each
def test_images_must_be_mlx_arrays(name, key):
    with pytest.raises(
        TypeError, match=f"{name}: images must be an MLX array, got nda"
    ):
        AUGMENTATIONS[name](key, np.ones((1, 8, 8, 3)))


@each
def test_the_key_must_be_a_key(name):
    with pytest.raises(
        TypeError, match=rf"{name}: key must be a key .* got 0; make one"
    ):
        AUGMENTATIONS[name](0, images(1, 8, 8))


@each
def test_swapped_arguments_are_explained(name, key):
    with pytest.raises(
        TypeError, match=r"got .*int32 \(1, 8, 8, 2\); .* before the im"
    ):
        AUGMENTATIONS[name](images(1, 8, 8), key)


def test_the_padding_must_not_be_negative(key):
    with pytest.raises(ValueError, match="padding must be at least 0, got -1"):
        data.random_crop(key, images(1, 8, 8), padding=-1)


def test_the_side_of_the_hole_must_be_positive(key):
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        data.cutout(key, images(1, 8, 8), 0)


@pytest.mark.parametrize("value", [1.5, True, None])
def test_sizes_must_be_integers(value, key):
    with pytest.raises(TypeError, match="padding must be an integer, got"):
        data.random_crop(key, images(1, 8, 8), padding=value)
    with pytest.raises(TypeError, match="size must be an integer, got"):
        data.cutout(key, images(1, 8, 8), value)
