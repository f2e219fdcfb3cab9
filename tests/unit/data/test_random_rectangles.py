"""random_erasing and random_resized_crop: the rectangles, and what becomes of them."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data, random
from lucid_fn.data.augmentation.cropping import resized_windows
from lucid_fn.data.augmentation.rectangles import Rectangles

N = 4000


def holes(key, height, width, **options):
    """The first row and column, height and width of what is erased, one an image."""
    x = mx.ones((N, height, width, 1))
    erased = np.array(data.random_erasing(key, x, **options))[..., 0] == 0
    rows, columns = erased.any(2), erased.any(1)
    sides = rows.sum(1), columns.sum(1)
    assert (erased.sum((1, 2)) == sides[0] * sides[1]).all()  # all are rectangles
    return rows.argmax(1), columns.argmax(1), *sides


def torchvisions(rng, height, width, scale, ratio, strict, by_width):
    """The sides that the algorithm of torchvision draws, one image at a time."""
    found = []
    for _ in range(N):
        for _ in range(10):
            area = height * width * rng.uniform(*scale)
            aspect = np.exp(rng.uniform(*np.log(ratio)))
            a, b = (round(np.sqrt(s)) for s in (area * aspect, area / aspect))
            h, w = (b, a) if by_width else (a, b)
            if h < height + (not strict) and w < width + (not strict) and h * w > 0:
                found.append((h, w))
                break
        else:
            found.append((0, 0))
    return np.array(found)


def same_distribution(a, b):
    """Whether two samples agree: Kolmogorov-Smirnov, at a level of 1e-6."""
    points = np.unique(np.concatenate([a, b]))
    cdfs = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (a, b)]
    return np.abs(cdfs[0] - cdfs[1]).max() < 2.7 * np.sqrt(2 / N)


def test_erased_rectangles_have_the_distribution_of_torchvision(key):
    options = {"scale": (0.02, 0.33), "ratio": (0.3, 3.3)}
    _, _, h, w = holes(key, 16, 24, probability=1.0, **options)
    rng = np.random.default_rng(0)
    expected = torchvisions(rng, 16, 24, **options, strict=True, by_width=False)
    assert same_distribution(h, expected[:, 0])
    assert same_distribution(w, expected[:, 1])


def test_all_places_of_an_erased_rectangle_come_equally_often(key):
    one = {"scale": (0.25, 0.25), "ratio": (1.0, 1.0)}
    top, left, h, w = holes(key, 4, 4, probability=1.0, **one)
    assert (h == 2).all() and (w == 2).all()
    counts = np.bincount(3 * top + left, minlength=9)
    assert np.abs(counts - N / 9).max() < 5 * np.sqrt(N / 9)


def test_images_are_erased_with_the_given_probability(key):
    _, _, h, _ = holes(key, 8, 8, probability=0.3)
    assert abs((h > 0).sum() - 0.3 * N) < 5 * np.sqrt(0.21 * N)


def test_erased_pixels_have_the_value_that_is_given(key):
    x = mx.zeros((8, 8, 8, 3), mx.uint8)
    y = data.random_erasing(key, x, probability=1.0, value=7)
    assert set(np.unique(np.array(y))) == {0, 7}


def test_a_rectangle_that_never_fits_erases_nothing(key):
    x = mx.ones((8, 8, 8, 3))
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    y = data.random_erasing(key, x, probability=1.0, **whole)
    assert mx.array_equal(y, x)


def test_windows_have_the_distribution_of_torchvision(key):
    # An image of its own coordinates: the corners of an enlarged window tell its sides.
    height, width = 12, 8
    rows, columns = mx.meshgrid(mx.arange(height), mx.arange(width), indexing="ij")
    x = mx.broadcast_to(mx.stack([rows, columns], -1), (N, height, width, 2))
    crops = np.array(data.random_resized_crop(key, x.astype(mx.float32), (15, 15)))
    h, w = (np.round(crops[:, -1, -1, i] - crops[:, 0, 0, i]) + 1 for i in (0, 1))
    rng = np.random.default_rng(0)
    expected = torchvisions(
        rng, height, width, (0.08, 1.0), (3 / 4, 4 / 3), strict=False, by_width=True
    )
    expected[expected[:, 0] == 0] = (round(width / (3 / 4)), width)
    assert same_distribution(h, expected[:, 0])
    assert same_distribution(w, expected[:, 1])


def test_a_window_that_never_fits_is_the_largest_one_in_the_middle(key):
    x = mx.random.normal((3, 12, 4, 1), key=key)
    found = data.random_resized_crop(key, x, 4, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert mx.allclose(found, x[:, 4:8], atol=1e-6)


def test_a_window_of_the_size_of_the_result_is_a_slice():
    x = mx.arange(2 * 6 * 5 * 3).reshape(2, 6, 5, 3)
    top, left = mx.array([[0], [2]]), mx.array([[1], [0]])
    windows = Rectangles(top, left, mx.array([[4], [4]]), mx.array([[3], [3]]))
    y = resized_windows(x.astype(mx.float32), windows, 4, 3)
    assert mx.array_equal(y, mx.stack([x[0, :4, 1:4], x[1, 2:, :3]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (0.5, 0.2)}, r"scale must be \(low, high\), with low <= high"),
        ({"scale": (0.0, 0.2)}, r"scale must be in \(0, 1\], got 0\.0"),
        ({"scale": (0.5, 1.5)}, r"scale must be in \(0, 1\], got 1\.5"),
        ({"ratio": 2.0}, r"ratio must be \(low, high\), got 2.0"),
    ],
)
def test_ranges_are_pairs_of_positive_numbers(options, message, key):
    for name, size in (("random_erasing", ()), ("random_resized_crop", (4,))):
        with pytest.raises(ValueError, match=rf"{name}: {message}"):
            getattr(data, name)(key, mx.ones((1, 8, 8, 1)), *size, **options)


def test_bytes_are_rounded_to_the_nearest():
    x = mx.array([[[[0], [255]]]], mx.uint8)  # (1, 1, 2, 1)
    one, two = mx.array([[1]]), mx.array([[2]])
    whole = Rectangles(one - 1, one - 1, one, two)
    assert resized_windows(x, whole, 1, 1).tolist() == [[[[128]]]]


def test_the_key_alone_decides(key):
    x = mx.random.normal((4, 8, 8, 3), key=key)
    a, b, c = (data.random_resized_crop(k, x, 8) for k in (key, key, random.key(9)))
    assert mx.array_equal(a, b) and not mx.array_equal(a, c)
