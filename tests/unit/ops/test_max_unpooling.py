"""Max unpooling: transformations, indices that are out of range, and errors."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, random


def pooled(key, *shape):
    return ops.max_pool2d(random.normal(key, shape), 2, return_indices=True)


def test_what_is_unpooled_is_pooled_to_the_same(key):
    y, indices = pooled(key, 2, 6, 4, 3)
    again = ops.max_pool2d(
        ops.max_unpool2d(mx.abs(y) + 1, indices, 2), 2, return_indices=True
    )
    assert mx.array_equal(again.y, mx.abs(y) + 1)
    assert mx.array_equal(again.indices, indices)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.usefixtures("unfused")
def test_examples_one_by_one_are_the_batch(jit, key):
    x = random.normal(key, (3, 6, 4, 2))

    def loss(x):
        y, indices = ops.max_pool2d(x[None], 2, return_indices=True)
        return mx.sum(ops.max_unpool2d(mx.sin(y), indices, 2) ** 2)

    run = lf.vmap(lf.value_and_grad(loss))
    values, grads = (lf.jit(run) if jit else run)(x)
    for i in range(3):
        value, grad = lf.value_and_grad(loss)(x[i])
        assert mx.allclose(values[i], value, atol=1e-6)
        assert mx.allclose(grads[i], grad, atol=1e-6)


def test_examples_may_share_their_indices(key):
    y, indices = pooled(key, 1, 4, 4, 2)
    many = mx.concatenate([y, 2 * y, 3 * y])[:, None]
    found = lf.vmap(lambda y: ops.max_unpool2d(y, indices, 2))(many)
    expected = [ops.max_unpool2d(y, indices, 2) for y in many]
    assert mx.array_equal(found, mx.stack(expected))


@pytest.mark.parametrize(
    "index",
    [mx.array(4), mx.array(-1), mx.array(2**32, mx.int64), mx.array(255, mx.uint8)],
    ids=str,
)
def test_an_index_that_is_no_pixel_makes_its_channel_nan(index):
    indices = mx.stack([index, mx.array(3, index.dtype)]).reshape(1, 1, 1, 2)
    y = ops.max_unpool2d(mx.ones((1, 1, 1, 2)), indices, 2)
    assert mx.all(mx.isnan(y[..., 0])).item()
    assert y[..., 1].flatten().tolist() == [0, 0, 0, 1]


def test_small_indices_may_be_bytes(key):
    y = random.normal(key, (1, 10, 10, 1))
    small = ops.max_unpool2d(y, mx.full(y.shape, 7, mx.uint8), 2)
    assert np.flatnonzero(small).tolist() == [7]  # of 400 pixels


def test_large_batches_keep_their_indices(key):
    """They are divided among the cores, and so are the indices."""
    model = nn.serial(nn.max_pool2d(2, return_indices=True), nn.max_unpool2d(2))
    x = random.normal(key, (64, 32, 32, 3))
    whole, _ = model.apply({}, {}, x, train=False)
    assert mx.array_equal(whole[:1], model.apply({}, {}, x[:1], train=False)[0])
    output, _ = nn.max_pool2d(2, return_indices=True).apply({}, {}, x, train=False)
    assert isinstance(output, nn.MaxPoolOutput)
    assert output.indices.shape == (64, 16, 16, 3)


def test_empty_batches_have_empty_results():
    empty = mx.zeros((0, 2, 2, 3))
    assert ops.max_unpool2d(empty, empty.astype(mx.int32), 2).shape == (0, 4, 4, 3)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x": mx.ones((2, 2, 1))}, ValueError, r"x must have shape \(N, H, W, C\)"),
        ({"x": mx.ones((1, 2, 2, 1), mx.int32)}, TypeError, "x must be"),
        ({"indices": mx.ones((1, 2, 2, 1))}, TypeError, "indices must be integers"),
        (
            {"indices": mx.ones((1, 2, 1, 1), mx.int32)},
            ValueError,
            r"indices must have the shape of x, \(1, 2, 2, 1\), got \(1, 2, 1, 1\)",
        ),
        ({"size": 0}, ValueError, "size must be an integer of at least 1"),
        ({"stride": 0}, ValueError, "stride must be an integer of at least 1"),
        ({"padding": 2}, ValueError, "the output must not be empty"),
        (
            {"output_size": 6},
            ValueError,
            r"output_size must differ by less than stride, \(2, 2\), from the",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(given, error, message):
    x = mx.ones((1, 2, 2, 1))
    options = {"x": x, "indices": x.astype(mx.int32), "size": 2, **given}
    with pytest.raises(error, match=f"max_unpool2d: {message}"):
        ops.max_unpool2d(**options)


def test_a_layer_refuses_an_array_without_indices():
    layer = nn.max_unpool2d(2)
    with pytest.raises(TypeError, match=r"nn.MaxPoolOutput\(y, indices\), got array"):
        layer.apply({}, {}, mx.ones((1, 2, 2, 1)), train=False)


def test_a_layer_after_the_pool_takes_one_of_its_arrays(key):
    model = nn.serial(nn.max_pool2d(2, return_indices=True), nn.linear(1, 1))
    params, state = model.init(key)
    with pytest.raises(TypeError, match=r"got MaxPoolOutput; take one of x\.\w+, x\."):
        model.apply(params, state, mx.ones((1, 2, 2, 1)), train=False)
