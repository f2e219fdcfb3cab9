"""R2 and perplexity: corners and messages."""

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


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 1000, 100_003])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-20, 12345.678, -1e15])
def test_constant_targets_of_any_value_have_no_variance(value, n):
    targets = mx.full((n,), value)
    assert metrics.r2(targets, targets).item() == 1
    assert metrics.r2(1.1 * targets, targets).item() == 0


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32])
def test_one_constant_output_does_not_spoil_the_mean(dtype):
    targets = mx.stack([mx.arange(7), mx.full((7,), 0.1)], axis=1).astype(dtype)
    assert metrics.r2(targets, targets).item() == 1
    wrong = targets + mx.array([0, 1], dtype)
    assert metrics.r2(wrong, targets).item() == 0.5


def test_targets_a_last_digit_apart_are_not_constant():
    ulp = 2.0**-23
    targets = mx.array([1, 1 + ulp, 1 + 2 * ulp, 1 + 3 * ulp])
    assert metrics.r2(targets, targets).item() == 1
    shifted = mx.array([1 + ulp, 1 + ulp, 1 + 2 * ulp, 1 + 3 * ulp])
    assert metrics.r2(shifted, targets).item() == pytest.approx(1 - 1 / 5)


def test_r2_in_half_precision_does_not_overflow():
    targets = mx.array([-3e4, 0, 3e4], mx.float16)
    assert metrics.r2(-targets, targets).item() == -3


def test_perplexity_of_a_label_outside_is_nan():
    assert mx.isnan(metrics.perplexity(mx.zeros((1, 2)), mx.array([2]))).item()


def test_messages_of_r2():
    x, metric = mx.zeros((3,)), metrics.r2
    with pytest.raises(ValueError, match=r"targets must have shape \(N, \.\.\.\)"):
        metric(mx.array(1.0), mx.array(1.0))
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
