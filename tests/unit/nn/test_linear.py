"""linear: values, initialisation, wrong sizes, wrong params."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, random


def test_it_is_x_times_the_transposed_weight_plus_the_bias():
    params = {
        "weight": mx.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "bias": mx.ones(3),
    }
    y, state = nn.linear(2, 3).apply(params, {}, mx.array([[1.0, 10.0]]), train=True)
    assert y.tolist() == [[22.0, 44.0, 66.0]] and state == {}


@pytest.mark.parametrize("shape", [(2,), (5, 2), (4, 5, 2), (0, 2)])
def test_it_acts_on_the_last_axis(key, shape):
    layer = nn.linear(2, 3)
    y, _ = layer.apply(*layer.init(key), mx.ones(shape), train=False)
    assert y.shape == (*shape[:-1], 3)


def test_without_a_bias_there_is_none(key):
    layer = nn.linear(2, 3, bias=False)
    params, _ = layer.init(key)
    assert set(params) == {"weight"}
    y, _ = layer.apply(params, {}, mx.zeros((1, 2)), train=False)
    assert y.tolist() == [[0.0, 0.0, 0.0]]


def test_params_are_uniform_within_one_over_the_root_of_the_inputs(key):
    params, _ = nn.linear(16, 2000).init(key)
    for array in params.values():
        assert mx.max(mx.abs(array)).item() <= 0.25
        assert abs(mx.mean(array).item()) < 0.02
        assert mx.var(array).item() == pytest.approx(0.25**2 / 3, rel=0.1)


def test_weight_and_bias_have_different_keys(key):
    params, _ = nn.linear(1, 3).init(key)
    assert params["weight"].reshape(-1).tolist() != params["bias"].tolist()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays(key, dtype):
    params = {name: p.astype(dtype) for name, p in nn.linear(2, 3).init(key)[0].items()}
    y, _ = nn.linear(2, 3).apply(params, {}, mx.ones((1, 2), dtype), train=True)
    assert y.dtype == dtype


@pytest.mark.parametrize(
    ("sizes", "kind", "words"),
    [
        ((0, 3), ValueError, "in_features must be at least 1, got 0"),
        ((3, -1), ValueError, "out_features must be at least 1, got -1"),
        ((3.0, 3), TypeError, r"in_features must be an integer, got 3\.0"),
        ((3, "4"), TypeError, "out_features must be an integer, got '4'"),
        ((True, 3), TypeError, "in_features must be an integer, got True"),
    ],
)
def test_sizes_are_positive_integers(sizes, kind, words):
    with pytest.raises(kind, match=f"linear: {words}"):
        nn.linear(*sizes)


def test_sizes_may_be_numpy_integers():
    assert nn.linear(np.int64(2), 3).init(random.key(0))[0]["weight"].shape == (3, 2)


@pytest.mark.parametrize("shape", [(5, 3), (2, 1), ()])
def test_an_input_of_another_size_is_told(key, shape):
    layer = nn.linear(2, 3)
    with pytest.raises(
        ValueError, match=r"linear: x must have shape \(\.\.\., 2\), got"
    ):
        layer.apply(*layer.init(key), mx.zeros(shape), train=False)


@pytest.mark.parametrize("x", [[1.0, 2.0], 3.0, None, "a"])
def test_an_input_that_is_no_array_is_told(key, x):
    layer = nn.linear(2, 3)
    with pytest.raises(TypeError, match="linear: x must be an MLX array, got"):
        layer.apply(*layer.init(key), x, train=False)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (
            {"weight": mx.ones((7, 2)), "bias": mx.ones(7)},
            r"\['weight'\] .* \(3, 2\), got",
        ),
        (
            {"weight": mx.ones((2, 3)), "bias": mx.ones(3)},
            r"\['weight'\] .* \(3, 2\), got",
        ),
        (
            {"weight": mx.ones((3, 2)), "bias": mx.ones(1)},
            r"\['bias'\] must have shape",
        ),
        ({"weight": 3, "bias": mx.ones(3)}, r"\['weight'\] must have shape .* got int"),
    ],
)
def test_params_of_another_layer_are_told(params, words):
    with pytest.raises(ValueError, match=rf"linear: params{words}"):
        nn.linear(2, 3).apply(params, {}, mx.ones((1, 2)), train=False)


def test_a_bias_that_would_be_passed_over_is_told(key):
    params, _ = nn.linear(2, 3).init(key)
    with pytest.raises(
        ValueError, match=r"params\['bias'\] must be absent, got \(3,\)"
    ):
        nn.linear(2, 3, bias=False).apply(params, {}, mx.ones((1, 2)), train=False)


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_a_missing_parameter_is_named(key, missing):
    params, _ = nn.linear(2, 3).init(key)
    del params[missing]
    with pytest.raises(ValueError, match=f"params must hold '{missing}', got"):
        nn.linear(2, 3).apply(params, {}, mx.ones((1, 2)), train=False)
