"""`normalize` against its equation, and its errors."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3) * 10


def test_a_number_normalizes_all_channels():
    expected = (PIXELS / 255 - 0.5) / 0.25
    np.testing.assert_allclose(
        data.normalize(PIXELS, 0.5, 0.25), expected, rtol=0, atol=1e-6
    )


def test_each_channel_has_its_own_mean_and_deviation():
    out = data.normalize(PIXELS, data.CIFAR10_MEAN, data.CIFAR10_STD)
    for c in range(3):
        expected = (PIXELS[..., c] / 255 - data.CIFAR10_MEAN[c]) / data.CIFAR10_STD[c]
        np.testing.assert_allclose(out[..., c], expected, rtol=0, atol=1e-6)


def test_the_result_is_float32_and_the_argument_is_unchanged():
    before = PIXELS.copy()
    assert data.normalize(PIXELS, 0.5, 0.5).dtype == np.float32
    np.testing.assert_array_equal(PIXELS, before)


def test_mlx_arrays_give_the_same_numbers_also_compiled():
    expected = data.normalize(PIXELS, data.CIFAR10_MEAN, data.CIFAR10_STD)

    def fn(x):
        return data.normalize(x, data.CIFAR10_MEAN, data.CIFAR10_STD)

    for out in (fn(mx.array(PIXELS)), mx.compile(fn)(mx.array(PIXELS))):
        assert out.dtype == mx.float32
        np.testing.assert_array_equal(np.array(out), expected)


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10"])
def test_the_constants_are_those_of_the_reference_experiments(name):
    constants = {
        "MNIST": (0.1307, 0.3081),
        "CIFAR10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    }
    found = getattr(data, f"{name}_MEAN"), getattr(data, f"{name}_STD")
    assert found == constants[name]


def test_a_memory_map_gives_an_array(tmp_path):
    pixels = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(2, 2))
    assert type(data.normalize(pixels, 0.5, 0.5)) is np.ndarray


def test_floats_are_refused():
    with pytest.raises(
        TypeError, match=r"images must be uint8, .* float64; for images"
    ):
        data.normalize(PIXELS / 255, 0.5, 0.5)


def test_other_kinds_than_arrays_are_refused():
    with pytest.raises(TypeError, match="must be a NumPy or MLX array, got list"):
        data.normalize([[1, 2]], 0.5, 0.5)


@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.5), [[0.5, 0.5, 0.5]]])
@pytest.mark.parametrize("name", ["mean", "std"])
def test_the_number_of_channels_is_checked(name, values):
    arguments = {"mean": 0.5, "std": 0.5, name: values}
    with pytest.raises(ValueError, match=f"{name} must be a number or .* 3 channels"):
        data.normalize(PIXELS, **arguments)


@pytest.mark.parametrize("std", [0.0, -1.0, (0.5, 0.0, 0.5)])
def test_the_deviation_must_be_positive(std):
    with pytest.raises(ValueError, match="std must be positive, got"):
        data.normalize(PIXELS, 0.5, std)


@pytest.mark.parametrize(
    ("mean", "std", "name"),
    [(float("nan"), 1.0, "mean"), (0.0, float("inf"), "std")],
)
def test_mean_and_deviation_must_be_finite(mean, std, name):
    with pytest.raises(ValueError, match=f"{name} must be finite, got"):
        data.normalize(PIXELS, mean, std)


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10"])
def test_the_numbers_are_those_of_torch_to_the_last_bit(name):
    torch = pytest.importorskip("torch")
    mean, std = getattr(data, f"{name}_MEAN"), getattr(data, f"{name}_STD")
    every_byte = np.arange(256, dtype=np.uint8)[:, None].repeat(np.size(mean), axis=1)
    scaled = torch.from_numpy(every_byte).to(torch.float32).div(255)  # ToTensor
    expected = scaled.sub(torch.tensor(mean)).div(torch.tensor(std))  # Normalize
    np.testing.assert_array_equal(
        data.normalize(every_byte, mean, std), expected.numpy()
    )


@pytest.mark.parametrize("make", [np.asarray, mx.array])
def test_reversed_views_are_taken(make):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    mean, std = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]], np.float32)
    expected = data.normalize(
        make(pixels[..., ::-1].copy()), mean[::-1].copy(), std[::-1].copy()
    )
    given = pixels[..., ::-1] if make is np.asarray else mx.array(pixels)[..., ::-1]
    found = data.normalize(given, mean[::-1], std[::-1])
    np.testing.assert_array_equal(np.array(found), np.array(expected))


@pytest.mark.parametrize("mean", ["0.5", [[0.1], [0.1, 0.2]], object(), None])
def test_means_that_are_not_numbers_are_named(mean):
    with pytest.raises((TypeError, ValueError), match=r"^normalize: mean must be"):
        data.normalize(np.zeros((1, 2, 2, 3), np.uint8), mean, 1.0)


def test_masked_images_are_refused():
    pixels = np.ma.masked_array(np.zeros((1, 2, 2, 3), np.uint8), True)
    with pytest.raises(TypeError, match="images must be an array without a mask"):
        data.normalize(pixels, 0.5, 0.5)
