"""Errors of regression, and perplexity: corners and messages."""

import mlx.core as mx
import pytest

from lucid_fn import metrics, random


def test_r2_of_constant_targets_is_one_if_met_else_zero():
    ones = mx.ones((3,))
    assert metrics.r2(ones, ones).item() == 1
    assert metrics.r2(2 * ones, ones).item() == 0


def test_r2_of_several_outputs_is_the_mean_of_theirs():
    targets = mx.array([[0.0, 0.0], [1.0, 1.0]])
    predictions = mx.array([[0.0, 0.5], [1.0, 0.5]])
    assert metrics.r2(predictions, targets).item() == 0.5


def test_half_precision_does_not_overflow():
    far = mx.full((2,), 1000.0, mx.float16)
    assert metrics.mse(far, mx.zeros_like(far)).item() == 1e6


def test_perplexity_of_a_label_outside_is_nan():
    assert mx.isnan(metrics.perplexity(mx.zeros((1, 2)), mx.array([2]))).item()


@pytest.mark.parametrize("metric", [metrics.mse, metrics.mae, metrics.r2])
def test_messages(metric):
    x = mx.zeros((3,))
    with pytest.raises(ValueError, match=r"targets must have the shape of predictions"):
        metric(x, mx.zeros((3, 1)))
    with pytest.raises(
        TypeError, match=r"targets must be of a float dtype, got .*int32"
    ):
        metric(x, mx.zeros((3,), mx.int32))
    with pytest.raises(TypeError, match="predictions must be an MLX array, got list"):
        metric([0.0], x)


def test_messages_of_perplexity():
    with pytest.raises(TypeError, match="perplexity: logits must be of a float dtype"):
        metrics.perplexity(mx.zeros((2, 3), mx.int32), mx.array([0, 1]))
    with pytest.raises(ValueError, match=r"perplexity: labels must have shape \(2,\)"):
        metrics.perplexity(mx.zeros((2, 3)), mx.array([0]))


def test_r2_of_millions_of_targets_far_from_zero_keeps_its_digits():
    noise = random.normal(random.key(0), (2, 1_000_000))
    targets = 100 + noise[0]
    found = metrics.r2(targets + 0.5 * noise[1], targets).item()
    assert found == pytest.approx(0.75, abs=2e-3)
