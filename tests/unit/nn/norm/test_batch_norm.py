"""Batch norm: what is not a comparison with PyTorch."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn

LAYER = nn.batch_norm(3)


@pytest.fixture
def held(key):
    return LAYER.init(key)


def images(key, *shape):
    return mx.random.normal(shape or (4, 5, 5, 3), key=key)


def test_the_statistics_of_a_batch_by_hand():
    layer = nn.batch_norm(1, momentum=0.5)
    params, state = layer.init(mx.random.key(0))
    _, state = layer.apply(params, state, mx.array([[1.0], [3.0], [8.0]]), train=True)
    assert state["running_mean"].item() == 2.0  # half of 4
    assert state["running_var"].item() == 7.0  # half of 1, half of 26 / 2
    assert state["num_batches_tracked"].item() == 1


def test_no_momentum_averages_the_batches():
    layer = nn.batch_norm(1, momentum=None)
    params, state = layer.init(mx.random.key(0))
    for value in (1.0, 2.0, 6.0):
        x = mx.array([[value - 1], [value + 1]])
        _, state = layer.apply(params, state, x, train=True)
    assert state["running_mean"].item() == pytest.approx(3.0)


def test_the_output_has_mean_zero_and_variance_one(held, key):
    y, _ = LAYER.apply(*held, images(key) * 7 + 3, train=True)
    assert mx.allclose(mx.mean(y, axis=(0, 1, 2)), mx.zeros(3), atol=1e-5)
    assert mx.allclose(mx.var(y, axis=(0, 1, 2)), mx.ones(3), atol=1e-4)


def test_scaling_and_shifting_the_input_changes_nothing(held, key):
    x = images(key)
    y, _ = LAYER.apply(*held, x, train=True)
    moved, _ = LAYER.apply(*held, 5 * x - 2, train=True)
    assert mx.allclose(y, moved, atol=1e-4)


def test_no_gradient_flows_into_the_state(held, key):
    def loss(x):
        _, state = LAYER.apply(*held, x, train=True)
        return mx.sum(state["running_mean"]) + mx.sum(state["running_var"])

    assert mx.all(lf.grad(loss)(images(key)) == 0)


def test_the_state_carries_no_graph_from_step_to_step(held, key):
    """A loss that reads the running statistics of the step before sees constants."""
    params, state = held

    def loss(x):
        _, moved = LAYER.apply(params, state, x, train=True)
        y, _ = LAYER.apply(params, moved, mx.ones((1, 3)), train=False)
        return mx.sum(y)

    assert mx.all(lf.grad(loss)(images(key)) == 0)


def test_running_statistics_keep_their_dtype(held, key):
    params, state = held
    half = {
        name: leaf if leaf.dtype == mx.int32 else leaf.astype(mx.bfloat16)
        for name, leaf in state.items()
    }
    _, moved = LAYER.apply(params, half, images(key), train=True)
    assert moved["running_var"].dtype == mx.bfloat16


def test_without_affine_there_are_no_params(key):
    assert nn.batch_norm(3, affine=False).init(key)[0] == {}


def test_without_tracking_there_is_no_state(key):
    layer = nn.batch_norm(3, track_running_stats=False)
    params, state = layer.init(key)
    assert state == {}
    x = images(key)
    train, _ = layer.apply(params, state, x, train=True)
    assert mx.array_equal(train, layer.apply(params, state, x, train=False)[0])


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)])
def test_one_value_a_channel_is_an_error_in_training(held, shape):
    with pytest.raises(ValueError, match=r"at least 2 values per channel, got 1, x of"):
        LAYER.apply(*held, mx.ones(shape), train=True)
    assert LAYER.apply(*held, mx.ones(shape), train=False)[0].shape == shape


def test_a_forgotten_state_is_an_error(held, key):
    message = "batch_norm: state must hold 'running_mean', got nothing"
    for train in (False, True):
        with pytest.raises(ValueError, match=message):
            LAYER.apply(held[0], {}, images(key), train=train)


def test_missing_params_are_called_params(held, key):
    with pytest.raises(ValueError, match="params must hold 'weight', got nothing"):
        LAYER.apply({}, held[1], images(key), train=True)


@pytest.mark.parametrize("shape", [(3,), (4, 5, 5, 2), ()])
def test_another_shape_is_an_error(held, shape):
    with pytest.raises(ValueError, match=r"x must have shape \(N, ..., 3\), got"):
        LAYER.apply(*held, mx.ones(shape), train=False)


def test_integers_are_an_error(held):
    with pytest.raises(TypeError, match="batch_norm: x must be of a float dtype"):
        LAYER.apply(*held, mx.ones((4, 3), mx.int32), train=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.5}, r"momentum must be in \[0, 1\], got 1.5"),
        ({"eps": 0.0}, "eps must be positive and finite, got 0.0"),
    ],
)
def test_arguments_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match="batch_norm: " + message):
        nn.batch_norm(3, **options)


def test_numpy_arrays_are_taken(held):
    y, _ = LAYER.apply(*held, np.ones((2, 3), np.float32), train=False)
    assert isinstance(y, mx.array)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_an_empty_batch_moves_the_count_alone(key, momentum):
    layer = nn.batch_norm(3, momentum=momentum)
    params, state = layer.init(key)
    y, new = layer.apply(params, state, mx.zeros((0, 4, 4, 3)), train=True)
    assert y.shape == (0, 4, 4, 3)
    assert new.pop("num_batches_tracked").item() == 1  # as in PyTorch
    for name, leaf in new.items():
        assert mx.array_equal(leaf, state[name])
