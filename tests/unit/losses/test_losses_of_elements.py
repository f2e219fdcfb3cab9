"""Losses of single elements and of regions: corners and messages."""

import mlx.core as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

import lucid_fn as lf
from lucid_fn import losses, random

PAIRS = [
    losses.mse,
    losses.l1,
    losses.smooth_l1,
    losses.huber,
    losses.log_cosh,
    losses.sigmoid_binary_cross_entropy,
    losses.binary_cross_entropy,
    losses.focal,
    losses.dice,
    losses.hinge,
    losses.hinge_embedding,
    losses.poisson_nll,
]


@pytest.mark.parametrize("loss", PAIRS)
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(
        ValueError, match=rf"{loss.__name__}: targets must have the shape of .*\(4, 1\)"
    ):
        loss(mx.zeros((4,)), mx.zeros((4, 1)))


@pytest.mark.parametrize("loss", PAIRS)
def test_wrong_kinds_are_refused(loss):
    x = mx.zeros((4, 1))
    with pytest.raises(TypeError, match=r"must be of a float dtype, got .*int32"):
        loss(x.astype(mx.int32), x)
    message = r"must be an MLX array, got float; .* write mx\.full\(\w+\.shape, 0\.0\)"
    with pytest.raises(TypeError, match=message):
        loss(x, 0.0)
    with pytest.raises(TypeError, match=r"targets must be real, got .*complex64"):
        loss(x, x.astype(mx.complex64))


def test_class_labels_for_regions_are_told_how_to_become_masks():
    probabilities, labels = mx.full((2, 4, 3), 1 / 3), mx.zeros((2, 4), mx.int32)
    with pytest.raises(
        ValueError, match=r"convert class labels with mx\.eye\(3\)\[targets\]"
    ):
        losses.dice(probabilities, labels)
    assert losses.dice(probabilities, mx.eye(3)[labels]).shape == (2, 3)


@pytest.mark.parametrize("loss", PAIRS)
@pytest.mark.parametrize("dtype", [mx.int32, mx.uint8, mx.bool_])
def test_whole_targets_are_as_good_as_floats(loss, dtype):
    x, ones = mx.full((3, 2), 0.25), mx.ones((3, 2))
    assert_allclose(loss(x, ones.astype(dtype)), loss(x, ones))


def test_the_slope_of_a_logit_of_zero_is_minus_a_half():
    slope = mx.grad(losses.sigmoid_binary_cross_entropy)(mx.array(0.0), mx.array(1.0))
    assert slope.item() == -0.5


def test_the_curvature_of_log_cosh_at_zero_is_one():
    curvature = mx.grad(mx.grad(losses.log_cosh))(mx.array(0.0), mx.array(0.0))
    assert curvature.item() == 1


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_extreme_logits_are_finite(logit):
    x, y = mx.array(logit), mx.array(0.5)
    for loss in (losses.sigmoid_binary_cross_entropy, losses.focal):
        value, slope = mx.value_and_grad(loss)(x, y)
        assert mx.isfinite(value).item() and mx.isfinite(slope).item()


def test_a_certain_mistake_costs_100_nats_and_has_a_slope():
    value, slope = mx.value_and_grad(losses.binary_cross_entropy)(
        mx.array(0.0), mx.array(1.0)
    )
    assert value.item() == 100
    assert_allclose(slope, -1e12, rtol=1e-6)


def test_forward_derivatives_of_binary_cross_entropy_are_the_backward_ones():
    p, z = mx.array([0.0, 0.3, 1.0]), mx.array([1.0, 0.5, 1.0])
    ones = mx.ones_like(p)
    _, (tangent,) = mx.jvp(lambda p: losses.binary_cross_entropy(p, z), [p], [ones])
    slope = mx.grad(lambda p: mx.sum(losses.binary_cross_entropy(p, z)))(p)
    assert_allclose(tangent, slope, rtol=1e-6)


def test_dice_is_zero_for_equal_masks_and_one_for_apart_ones():
    mask = mx.array([[1.0, 0.0], [1.0, 0.0]])[None, ..., None]  # (1, 2, 2, 1)
    assert losses.dice(mask, mask).tolist() == [[0.0]]
    assert_allclose(losses.dice(mask, 1 - mask, smooth=1e-6), [[1.0]], rtol=1e-5)


def test_dice_of_two_empty_masks_is_zero():
    empty = mx.zeros((2, 5, 3))
    assert losses.dice(empty, empty).tolist() == [[0.0] * 3] * 2


def test_pos_weight_broadcasts_from_the_right_and_no_further():
    x = mx.zeros((4, 3))
    weighted = losses.sigmoid_binary_cross_entropy(
        x, mx.ones_like(x), pos_weight=mx.array([1.0, 2.0, 3.0])
    )
    assert_allclose(weighted[0] / weighted[0, 0], [1, 2, 3], rtol=1e-6)
    for shape in ((4,), (2, 4, 3)):
        with pytest.raises(ValueError, match=r"pos_weight must broadcast .*\(4, 3\)"):
            losses.sigmoid_binary_cross_entropy(x, x, pos_weight=mx.ones(shape))
    with pytest.raises(TypeError, match="pos_weight must be an MLX array, got float"):
        losses.sigmoid_binary_cross_entropy(x, x, pos_weight=2.0)


@pytest.mark.parametrize(
    ("loss", "option", "value", "message"),
    [
        (losses.smooth_l1, "beta", -1.0, "beta must be at least 0 and finite, got -1"),
        (losses.huber, "delta", 0.0, "delta must be positive and finite, got 0"),
        (losses.focal, "alpha", 1.5, r"alpha must be in \[0, 1\], got 1.5"),
        (losses.focal, "gamma", -1.0, "gamma must be at least 0 and finite, got -1"),
        (losses.dice, "smooth", 0.0, "smooth must be positive and finite, got 0"),
    ],
)
def test_hyperparameters_are_checked(loss, option, value, message):
    x = mx.zeros((2, 2))
    with pytest.raises(ValueError, match=f"{loss.__name__}: {message}"):
        loss(x, x, **{option: value})


def test_dice_needs_a_batch_and_classes():
    with pytest.raises(ValueError, match=r"shape \(N, ..., num_classes\), got \(3,\)"):
        losses.dice(mx.zeros(3), mx.zeros(3))


@pytest.mark.parametrize("d", [1e-4, 1e-3, 0.1, 0.999, 1.001, 30.0, 1e30])
def test_log_cosh_keeps_its_digits_at_any_size(d):
    far = d + np.log1p(np.exp(-2 * d)) - np.log(2)
    exact = np.log1p(np.sinh(d) ** 2) / 2 if d < 1 else far
    for sign in 1, -1:
        x = mx.array([sign * d])
        found, slope = lf.value_and_grad(lambda x: losses.log_cosh(x, 0 * x).sum())(x)
        assert found.item() == pytest.approx(exact, rel=1e-5)
        assert slope.item() == pytest.approx(sign * np.tanh(d), rel=1e-5)


def test_log_cosh_of_infinities_is_infinite():
    x = mx.array([mx.inf, -mx.inf])
    assert losses.log_cosh(x, mx.zeros((2,))).tolist() == [mx.inf, mx.inf]


def test_dice_of_half_precision_masks_is_that_of_float32():
    mask = random.bernoulli(random.key(0), 0.6, (1, 300, 300, 1)).astype(mx.float32)
    p = random.uniform(random.key(1), mask.shape)
    half = losses.dice(p.astype(mx.float16), mask.astype(mx.float16))
    assert half.dtype == mx.float16
    assert half.item() == pytest.approx(losses.dice(p, mask).item(), rel=2e-3)
