"""dropout: the mask, the scale, and when it does nothing."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, nn, random

LAYER = nn.dropout(0.25)


def drop(layer, x, key, train=True):
    return layer.apply({}, {}, x, train=train, key=key)[0]


def test_values_are_zero_or_scaled(key):
    x = random.normal(key, (1000,))
    y = drop(LAYER, x, key)
    assert mx.all((y == 0) | (mx.abs(y - x / 0.75) < 1e-6))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_the_probability_of_dropping(key, rate):
    y = drop(nn.dropout(rate), mx.ones((40_000,)), key)
    dropped = mx.mean((y == 0).astype(mx.float32)).item()
    assert dropped == pytest.approx(rate, abs=5 * (rate * (1 - rate) / 40_000) ** 0.5)
    assert mx.mean(y).item() == pytest.approx(1, abs=0.1)


def test_masks_are_functions_of_the_key():
    x = mx.ones((100,))
    first, again, other = (drop(LAYER, x, random.key(i)) for i in (0, 0, 1))
    assert mx.array_equal(first, again) and not mx.array_equal(first, other)


def test_each_value_has_its_own_draw(key):
    y = drop(LAYER, mx.ones((8, 8)), key)
    assert len({tuple(row) for row in y.tolist()}) > 1
    assert len({tuple(row) for row in y.T.tolist()}) > 1


def test_in_eval_mode_it_is_the_identity_and_needs_no_key():
    x = mx.array([1.0, 2.0])
    assert drop(LAYER, x, None, train=False) is x


def test_a_rate_of_zero_needs_no_key():
    x = mx.array([1.0, 2.0])
    assert drop(nn.dropout(0), x, None) is x


def test_the_gradient_is_the_mask(key):
    x = random.normal(key, (50,))
    slope = grad(lambda x: mx.sum(drop(LAYER, x, key)))(x)
    assert mx.array_equal(slope, drop(LAYER, mx.ones((50,)), key))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_dropped_value_is_zero_whatever_it_was(key, bad):
    y = drop(LAYER, mx.full((100,), bad), key)
    assert mx.any(y == 0)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays(key, dtype):
    assert drop(LAYER, mx.ones((4,), dtype), key).dtype == dtype


def test_it_has_neither_params_nor_state(key):
    assert LAYER.init(key) == ({}, {})


@pytest.mark.parametrize("rate", [1.0, -0.1, 2, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_a_value_error(rate):
    with pytest.raises(ValueError, match=r"dropout: rate must be in \[0, 1\), got"):
        nn.dropout(rate)


@pytest.mark.parametrize("rate", ["0.5", None, True, mx.array(0.5), (0.5,)])
def test_a_rate_that_is_no_number_is_a_type_error(rate):
    with pytest.raises(TypeError, match=r"dropout: rate must be a number in \[0, 1\)"):
        nn.dropout(rate)


def test_training_needs_a_key():
    message = (
        r"dropout: train=True needs a key, got None; call apply\(params, state, x, t"
    )
    with pytest.raises(ValueError, match=message):
        drop(LAYER, mx.ones((2,)), None)


@pytest.mark.parametrize("key", [0, np.array([0, 1], np.uint32), mx.array([0, 1])])
def test_a_key_of_another_kind_is_told(key):
    with pytest.raises(TypeError, match="key must be a key"):
        drop(LAYER, mx.ones((2,)), key)


@pytest.mark.parametrize("x", [[1.0], 1.0, mx.array([1, 2])])
def test_an_input_that_is_no_float_array_is_told(key, x):
    with pytest.raises(TypeError, match="dropout: x must be"):
        drop(LAYER, x, key)
