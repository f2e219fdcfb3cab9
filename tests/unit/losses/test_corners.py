"""What the docstrings state of zeros, infinities and ties, in every float dtype."""

import math

import mlx.core as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

import lucid_fn as lf
from lucid_fn import losses

INF = math.inf
DTYPES = [mx.float32, mx.float16, mx.bfloat16]
both_halves = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def value_and_slope(loss, x, dtype):
    x = mx.array(x, dtype)
    total, slope = lf.value_and_grad(lambda x: mx.sum(loss(x)))(x)
    assert slope.dtype == dtype
    return total.item(), slope.tolist()


FIRST, SECOND = mx.array([1, 0]), mx.array([[0.0, -INF], [0.0, 0.0]])
NEVER = {
    "kl_divergence": (lambda x, one: losses.kl_divergence(x, one), [0, -INF]),
    "soft_target_cross_entropy": (
        lambda x, one: losses.soft_target_cross_entropy(x, one),
        [0, -INF],
    ),
    "cross_entropy of probabilities": (
        lambda x, one: losses.cross_entropy(x, one),
        [0, -INF],
    ),
    "nll of a class of weight 0": (
        lambda x, one: losses.nll(x[None], mx.array([1]), weight=one),
        [0, -INF],
    ),
    "sigmoid_binary_cross_entropy": (
        lambda x, one: losses.sigmoid_binary_cross_entropy(x, one),
        [INF, -INF],
    ),
    "positives of weight 0": (
        lambda x, one: losses.sigmoid_binary_cross_entropy(
            x, mx.ones_like(x), pos_weight=0 * one
        ),
        [-INF, INF],
    ),
    "focal": (lambda x, one: losses.focal(x, one), [INF, -INF]),
    "focal of gamma 1/2": (lambda x, one: losses.focal(x, one, gamma=0.5), [INF, -INF]),
    "focal of alpha 0": (
        lambda x, one: losses.focal(x, mx.ones_like(x), alpha=0.0),
        [-INF, -INF],
    ),
    "poisson_nll of no events": (
        lambda x, one: losses.poisson_nll(x, 0 * one, full=True),
        [-INF, -INF],
    ),
}


@both_halves
@pytest.mark.parametrize("name", NEVER)
def test_an_infinite_cost_of_no_weight_is_none(name, dtype):
    """`0 * inf` is 0, and so are the derivatives."""
    loss, x = NEVER[name]
    value, slope = value_and_slope(lambda x: loss(x, mx.array([1, 0], dtype)), x, dtype)
    assert value == 0
    assert np.isfinite(slope).all()


@both_halves
def test_a_class_of_weight_zero_costs_nothing_in_cross_entropy(dtype):
    def loss(x, **options):
        weight = mx.array([1, 0], dtype)
        return losses.cross_entropy(x, FIRST, weight=weight, **options)

    for smoothing in (0.0, 0.1):
        value, slope = value_and_slope(
            lambda x, e=smoothing: loss(x, label_smoothing=e),
            SECOND.tolist(),
            dtype,
        )
        # Of the second row alone: the label of the first has no weight.
        assert value == pytest.approx(math.log(2) * (1 - smoothing / 2), rel=1e-3)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("loss", ["kl_divergence", "soft_target_cross_entropy"])
def test_what_is_possible_and_excluded_costs_infinitely_much(loss):
    found = getattr(losses, loss)(mx.array([0, -INF]), mx.array([0.5, 0.5]))
    assert found.item() == INF


@both_halves
def test_nan_is_not_hidden_by_a_weight_of_zero(dtype):
    x, target = mx.array([0, math.nan], dtype), mx.array([1, 0], dtype)
    assert mx.isnan(losses.kl_divergence(x, target)).item()
    assert mx.isnan(losses.focal(x, target, alpha=1.0)).tolist()[1]


@both_halves
def test_distances_of_large_vectors_do_not_overflow(dtype):
    zero, far = mx.zeros((1, 2), dtype), mx.full((1, 2), 480.0, dtype)
    margin = losses.triplet_margin(far, zero, far).item()  # 480 sqrt(2) + 1
    assert margin == pytest.approx(679.8, rel=4e-3)
    similar = losses.cosine_embedding(far, far, mx.array([1]))
    assert similar.tolist() == pytest.approx([0], abs=1e-6)
    assert losses.cosine_embedding(zero, zero, mx.array([1])).tolist() == [1]
    wide = mx.ones((1, 70_000), dtype)
    assert losses.cosine_embedding(wide, wide, mx.array([-1])).tolist() == [1]
    assert losses.triplet_margin(zero, zero, zero).tolist() == [1]


@both_halves
def test_regression_losses_of_infinities_have_slopes(dtype):
    x, z = [INF, -INF, 0], mx.zeros((3,), dtype)
    for loss in (losses.huber, losses.smooth_l1, losses.l1, losses.log_cosh):
        value, slope = value_and_slope(lambda x, loss=loss: loss(x, z), x, dtype)
        assert value == INF
        assert slope == [1, -1, 0]


@both_halves
def test_the_slope_of_a_quadratic_and_a_line_at_nan_is_nan(dtype):
    for loss in (losses.huber, losses.smooth_l1):
        for x, z in (([math.nan, 1], [0, 0]), ([0, 1], [math.nan, 0])):
            z = mx.array(z, dtype)
            _, slope = value_and_slope(lambda x, z=z, f=loss: f(x, z), x, dtype)
            assert math.isnan(slope[0])
            assert slope[1] == 1


@both_halves
def test_binary_cross_entropy_of_certain_mistakes(dtype):
    target = mx.array([1, 0, 1, 0, 0.5], dtype)
    p = [0, 1, 1, 0, 0]
    value, slope = value_and_slope(
        lambda x: losses.binary_cross_entropy(x, target), p, dtype
    )
    assert value == 250  # 100 for each mistake, 50 for the half of one
    assert slope[2:4] == [0, 0]
    steep = 65504 if dtype == mx.float16 else 1e12
    assert_allclose(np.array(slope)[[0, 1, 4]], [-steep, steep, -steep / 2], rtol=4e-3)


@both_halves
def test_a_probability_outside_of_0_to_1_is_nan(dtype):
    p = mx.array([-0.5, 1.5], dtype)
    assert mx.isnan(losses.binary_cross_entropy(p, mx.array([1, 0]))).tolist()[1]
    assert mx.isnan(losses.binary_cross_entropy(p, mx.array([0, 1]))).tolist()[0]
    assert mx.isnan(losses.binary_cross_entropy(p, mx.array([1, 1]))).all().item()


@both_halves
def test_variances_at_and_beyond_their_bounds(dtype):
    x = mx.zeros((4,), dtype)
    variance = mx.array([0, INF, -1, math.nan], dtype)
    found = losses.gaussian_nll(x, x, variance).tolist()
    assert found[0] == pytest.approx(0.5 * math.log(1e-6), rel=4e-3)
    assert found[1] == INF
    assert np.isnan(found[2:]).all()


@both_halves
def test_dice_of_empty_full_and_apart_regions(dtype):
    empty, full = mx.zeros((1, 300, 300, 1), dtype), mx.ones((1, 300, 300, 1), dtype)
    assert losses.dice(empty, empty).tolist() == [[0]]
    assert losses.dice(full, full).tolist() == [[0]]
    assert losses.dice(full, empty).item() == pytest.approx(1 - 1 / 90_001, rel=1e-2)
    assert losses.dice(empty[:, :0], empty[:, :0]).tolist() == [[0]]


@both_halves
def test_multi_margin_of_large_scores_does_not_overflow(dtype):
    x = mx.array([[100, 0, -150]], dtype)
    exact = (101**2 + 0) / 3
    found = losses.multi_margin(x, mx.array([1]), p=2).item()
    assert found == pytest.approx(exact, rel=4e-3)


@both_halves
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_reduction_of_nothing(dtype, reduction):
    nothing = mx.zeros((0, 3), dtype)
    found = losses.mse(nothing, nothing, reduction=reduction)
    assert found.dtype == dtype
    assert_allclose(found.item(), {"mean": math.nan, "sum": 0}[reduction])


def test_a_perfect_prediction_costs_a_positive_zero():
    x, t = mx.array([100.0, 0.0]), mx.array([1.0, 0.0])
    assert str(losses.soft_target_cross_entropy(x, t).item()) == "0.0"
