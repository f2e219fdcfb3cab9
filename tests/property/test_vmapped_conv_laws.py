"""Convolutions mapped over their weights are those of the single weights."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import ops, random
from tests.assertions import assert_close

MODELS = 3
SHAPES = {  # of x and weight, and options
    "few channels": ((2, 7, 6, 1), (5, 3, 3, 1), {"padding": 1}),
    "large": ((8, 12, 12, 16), (16, 3, 3, 16), {"padding": 1}),
    "strided": ((4, 16, 16, 16), (4, 3, 2, 16), {"stride": 2, "padding": (1, 0)}),
    "grouped": ((8, 12, 12, 16), (8, 3, 3, 4), {"groups": 4}),
    "depthwise": ((2, 6, 5, 4), (8, 2, 2, 1), {"groups": 4}),
}


def rows(arrays, axes, i):
    pairs = zip(arrays, axes, strict=True)
    return [x if axis is None else mx.take(x, i, axis) for x, axis in pairs]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("axes", [(None, 0), (0, 0), (1, 3), (0, None)])
def test_mapped_convolutions_and_their_gradients_are_the_single_ones(key, shapes, axes):
    x_shape, weight_shape, options = SHAPES[shapes]
    arrays = [
        mx.moveaxis(random.normal(k, (MODELS, *shape)), 0, axis)
        if axis is not None
        else random.normal(k, shape)
        for k, shape, axis in zip(
            random.split(key), (x_shape, weight_shape), axes, strict=True
        )
    ]

    def value(x, weight):
        return mx.sum(mx.sin(ops.conv2d(x, weight, **options)))

    def slope(x, weight):
        dx, dweight = lf.grad(value, argnums=(0, 1))(x, weight)
        return mx.sum(dx**2) + mx.sum(dweight**2)

    for fn in (lf.value_and_grad(value, argnums=(0, 1)), lf.grad(slope, argnums=1)):
        got = lf.jit(lf.vmap(fn, in_axes=axes))(*arrays)
        for i in range(MODELS):
            one = lf.jit(fn)(*rows(arrays, axes, i))
            mine = lf.tree.map(lambda leaf, i=i: leaf[i], got)
            assert_close(mine, one, rtol=1e-3, of_largest=1e-5)


def weights_of_convolutions(monkeypatch, fn, *arrays):
    """The shapes of the weights that MLX's convolution is called with."""
    found, convolve = [], mx.conv_general

    def counted(x, weight, **options):
        found.append(weight.shape)
        return convolve(x, weight, **options)

    monkeypatch.setattr(mx, "conv_general", counted)
    with ops.plain():
        fn(*arrays)
    return found


def test_weights_that_share_images_are_one_convolution(monkeypatch):
    x, weights = mx.ones((2, 6, 6, 3)), mx.ones((MODELS, 4, 3, 3, 3))
    mapped = lf.vmap(ops.conv2d, in_axes=(None, 0))
    *_, last = weights_of_convolutions(monkeypatch, mapped, x, weights)
    assert last == (MODELS * 4, 3, 3, 3)


@pytest.mark.parametrize(("images", "calls"), [(64, MODELS), (1, 0)])
def test_large_batches_of_their_own_are_convolved_one_by_one(
    monkeypatch, images, calls
):
    x, weights = mx.ones((MODELS, images, 8, 8, 3)), mx.ones((MODELS, 4, 3, 3, 3))
    mapped = lf.vmap(ops.conv2d)
    found = weights_of_convolutions(monkeypatch, mapped, x, weights)
    assert found[1:] == [(4, 3, 3, 3)] * calls  # the first is the trace
