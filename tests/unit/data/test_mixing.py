"""mixup and cutmix: images, targets and errors."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import data, losses, random
from lucid_fn.data.augmentation.mixing import rectangles_around
from tests.strategies import equal

N = 4000
MIXES = [data.mixup, data.cutmix]
each = pytest.mark.parametrize("mix", MIXES)


def drawn(mix, key, alpha=1.0, size=8):
    """Images of their own class, 0 or 1, mixed; and the targets."""
    labels = mx.arange(N) % 2
    pixels = mx.broadcast_to(labels[:, None, None, None], (N, size, size, 1))
    images = pixels.astype(mx.float32)
    mixed, targets = mix(key, images, labels, num_classes=2, alpha=alpha)
    return np.array(labels), np.array(mixed), np.array(targets)


@each
def test_targets_have_the_part_of_each_image_in_the_mixture(mix, key):
    _, mixed, targets = drawn(mix, key)
    np.testing.assert_allclose(targets[:, 1], mixed.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, 0, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_the_weights_of_mixup_are_of_the_beta_distribution(alpha, key):
    labels, _, targets = drawn(data.mixup, key, alpha)
    weights = targets[np.arange(N), labels]
    for power in (1, 2, 3):
        steps = np.arange(power)
        moment = np.prod((alpha + steps) / (2 * alpha + steps))
        error = np.std(weights**power) / np.sqrt(N)
        assert abs(np.mean(weights**power) - moment) < 5 * error


def test_rectangles_of_cutmix_are_torchvisions():
    # Its formula, one rectangle at a time.
    rng = np.random.default_rng(0)
    height, width, n = 9, 14, 200
    y, x = rng.integers(0, height, n), rng.integers(0, width, n)
    weight = rng.random(n).astype(np.float32)
    found = rectangles_around(
        *(mx.array(a)[:, None] for a in (y, x, weight)), height, width
    )
    got = np.array([np.array(part)[:, 0] for part in found]).T
    for i in range(n):
        r = 0.5 * np.sqrt(1 - weight[i])
        rw, rh = int(r * width), int(r * height)
        left, right = max(x[i] - rw, 0), min(x[i] + rw, width)
        top, bottom = max(y[i] - rh, 0), min(y[i] + rh, height)
        assert got[i].tolist() == [top, left, bottom - top, right - left]


def test_cutmix_copies_a_rectangle_of_the_image_before(key):
    x = mx.random.normal((16, 8, 8, 2), key=key)
    mixed, _ = data.cutmix(key, x, mx.zeros(16, mx.int32), num_classes=2)
    own, other = np.array(mixed == x), np.array(mixed == mx.roll(x, 1, 0))
    assert (own | other).all()
    for image in other[..., 0]:
        assert image.sum() == image.any(0).sum() * image.any(1).sum()


def test_half_precision_and_bytes_are_mixed_in_float32(key):
    x = mx.random.randint(0, 256, (8, 4, 4, 3), key=key)
    labels = mx.zeros(8, mx.int32)
    exact, _ = data.mixup(key, x.astype(mx.float32), labels, num_classes=1)
    for dtype in (mx.uint8, mx.float16):
        mixed, targets = data.mixup(key, x.astype(dtype), labels, num_classes=1)
        rounded = mx.round(exact) if dtype == mx.uint8 else exact
        assert mx.array_equal(mixed, rounded.astype(dtype))
        assert targets.dtype == mx.float32


@each
@pytest.mark.usefixtures("unfused")
def test_a_compiled_step_trains_on_mixtures(mix, key):
    labels = mx.arange(6) % 3

    @lf.jit
    def loss(weight, key, images):
        mixed, targets = mix(key, images, labels, num_classes=3)
        logits = mixed.reshape(6, -1) @ weight
        return mx.mean(losses.soft_target_cross_entropy(logits, targets))

    x = mx.random.normal((6, 4, 4, 1), key=key)
    values = [loss(mx.ones((16, 3)), random.key(seed), x).item() for seed in (0, 1)]
    assert values == pytest.approx([np.log(3)] * 2, rel=1e-5)


@pytest.mark.usefixtures("unfused")
def test_both_kinds_of_mixture_are_compiled_together(key):
    # MLX: of two rolls of one array `mx.compile` makes an IndexError.
    x, labels = mx.random.normal((4, 3, 3, 1), key=key), mx.arange(4)

    def both(key, x):
        return [mix(key, x + 1, labels, num_classes=4) for mix in MIXES]

    assert equal(lf.jit(both)(key, x), both(key, x))


@each
@pytest.mark.parametrize("dtype", [mx.int32, mx.uint8])
def test_targets_of_a_label_out_of_range_are_nan(mix, dtype, key):
    labels = mx.array([0, 1, 2, 200, 2], dtype)
    _, targets = mix(key, mx.ones((5, 4, 4, 1)), labels, num_classes=3)
    assert mx.isnan(targets).all(axis=1).tolist() == [False, False, False, True, True]


@each
def test_labels_that_do_not_fit_are_errors(mix, key):
    x = mx.ones((3, 4, 4, 1))
    name = mix.__name__
    with pytest.raises(TypeError, match=rf"{name}: labels must .* integers, got .*fl"):
        mix(key, x, mx.zeros(3), num_classes=2)
    with pytest.raises(ValueError, match=rf"{name}: labels must have shape \(3,\)"):
        mix(key, x, mx.zeros((4,), mx.int32), num_classes=2)
    with pytest.raises(ValueError, match=f"{name}: alpha must be positive and finite"):
        mix(key, x, mx.zeros(3, mx.int32), num_classes=2, alpha=0)
