"""Streaming metrics: exactness over many updates, use in a compiled step, messages."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import metrics


def test_a_mean_before_the_first_value_is_nan():
    mean = metrics.streaming_mean()
    assert mx.isnan(mean.result(mean.init())).item()


@pytest.mark.parametrize("transform", [lambda f: f, mx.compile], ids=["eager", "jit"])
def test_counts_do_not_stop_at_2_to_the_24(transform):
    mean = metrics.streaming_mean()
    update = transform(lambda state, value: mean.update(state, value))
    state = mean.update(mean.init(), mx.array(1.0), 2**24)
    for _ in range(100):
        state = update(state, mx.array(1.0))
    total = sum(int(np.float64(x.item())) for x in state.weight)
    assert total == 2**24 + 100


def test_small_values_are_not_lost_in_a_large_sum():
    mean = metrics.streaming_mean()
    state = mean.update(mean.init(), mx.array(1e6))
    for _ in range(1000):
        state = mean.update(state, mx.array(0.01))
    assert mean.result(state).item() == pytest.approx(1_000_010 / 1001, rel=1e-7)


def test_a_value_of_weight_zero_does_not_count_be_it_nan():
    mean = metrics.streaming_mean()
    values, weights = mx.array([1.0, mx.nan]), mx.array([1.0, 0.0])
    assert mean.result(mean.update(mean.init(), values, weights)).item() == 1


def test_a_value_of_nan_that_counts_is_not_hidden():
    mean = metrics.streaming_mean()
    state = mean.update(mean.init(), mx.array([1.0, mx.nan]))
    assert mx.isnan(mean.result(state)).item()


@pytest.mark.parametrize("value", [mx.inf, -mx.inf])
def test_an_infinite_value_makes_the_mean_infinite(value):
    mean = metrics.streaming_mean()
    state = mean.update(mean.init(), mx.array([1.0, value]))
    for x in (1.0, 2.0):
        state = mean.update(state, mx.array(x))
        assert mean.result(state).item() == value
    assert mx.isnan(mean.result(mean.update(state, mx.array(-value)))).item()


def test_half_precision_is_summed_in_float32():
    mean = metrics.streaming_mean()
    state = mean.update(mean.init(), mx.full((100_000,), 1.0, mx.float16))
    assert mean.result(state).item() == 1


def test_states_live_in_a_compiled_step_that_is_traced_once():
    mean, matrix, traces = metrics.streaming_mean(), metrics.streaming_confusion(2), []

    @mx.compile
    def step(state, logits, labels):
        traces.append(1)
        predictions = mx.argmax(logits, axis=-1)
        return {
            "accuracy": mean.update(state["accuracy"], predictions == labels),
            "confusion": matrix.update(state["confusion"], predictions, labels),
        }

    state = {"accuracy": mean.init(), "confusion": matrix.init()}
    for i in range(10):
        logits = mx.array([[1.0, 0.0], [0.0, 1.0]])
        state = step(state, logits, mx.array([0, i % 2]))
    assert len(traces) == 1
    assert mean.result(state["accuracy"]).item() == 0.75
    assert matrix.result(state["confusion"]).tolist() == [[10, 5], [0, 5]]


def test_messages():
    mean = metrics.streaming_mean()
    with pytest.raises(TypeError, match="streaming_mean: values must be an MLX array"):
        mean.update(mean.init(), 1.0)
    with pytest.raises(
        ValueError, match=r"weights must have shape \(\) or .*\(3,\), got \(2,\)"
    ):
        mean.update(mean.init(), mx.zeros(3), mx.zeros(2))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        metrics.streaming_confusion(0)
