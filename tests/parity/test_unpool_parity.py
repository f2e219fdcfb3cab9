"""Max pooling with indices, and max unpooling, against PyTorch."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import nn, ops

torch = pytest.importorskip("torch")
from tests.parity.layouts import channels_last, to_torch  # noqa: E402  # needs torch

F = torch.nn.functional


@st.composite
def poolings(draw):
    """An input, half of them with ties, and the options of a pooling that fit it."""
    dims = draw(st.integers(1, 3))
    size = [draw(st.integers(1, 3)) for _ in range(dims)]
    options = {
        "stride": [draw(st.integers(1, 3)) for _ in range(dims)],
        "padding": [draw(st.integers(0, k // 2)) for k in size],
        "dilation": [draw(st.integers(1, 2)) for _ in range(dims)],
        "ceil_mode": draw(st.booleans()),
    }
    shape = [draw(st.integers(6, 8)) for _ in range(dims)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(2, *shape, 3)).astype(np.float32)
    return (np.round(x) if draw(st.booleans()) else x), size, options, rng


@given(poolings())
def test_indices_are_pytorchs(case):
    x, size, options, _ = case
    dims = len(size)
    y, indices = getattr(ops, f"max_pool{dims}d")(
        mx.array(x), tuple(size), return_indices=True, **options
    )
    theirs = getattr(F, f"max_pool{dims}d")(
        to_torch(x), size, return_indices=True, **options
    )
    np.testing.assert_array_equal(np.array(y), channels_last(theirs[0]))
    np.testing.assert_array_equal(np.array(indices), channels_last(theirs[1]))


def test_the_index_of_a_nan_is_pytorchs():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, [0, 1, 2], [1, 0, 3]] = np.nan
    indices = ops.max_pool2d(mx.array(x), 2, return_indices=True).indices
    theirs = F.max_pool2d(to_torch(x), 2, return_indices=True)[1]
    np.testing.assert_array_equal(np.array(indices), channels_last(theirs))


@given(poolings(), st.booleans())
@settings(max_examples=60)
def test_unpooling_is_pytorchs(case, default):
    """Of windows that do not overlap: each number has a place of its own."""
    x, size, options, rng = case
    dims, padding = len(size), options["padding"]
    indices = getattr(ops, f"max_pool{dims}d")(
        mx.array(x), tuple(size), padding=padding, return_indices=True
    ).indices
    windows = zip(indices.shape[1:-1], size, padding, strict=True)
    sizes = [n * k - 2 * p for n, k, p in windows] if default else x.shape[1:-1]
    if np.array(indices).max() >= np.prod(sizes):  # an error there, nan here
        sizes, default = x.shape[1:-1], False
    given = rng.normal(size=indices.shape).astype(np.float32)
    layer = getattr(nn, f"max_unpool{dims}d")(
        tuple(size), padding=padding, output_size=None if default else sizes
    )

    def ours(values):
        pooled = nn.MaxPoolOutput(values, indices)
        return layer.apply({}, {}, pooled, train=False)[0]

    t = to_torch(given).requires_grad_()
    unpool = getattr(F, f"max_unpool{dims}d")
    places = to_torch(indices).long()
    y = unpool(t, places, size, padding=padding, output_size=list(sizes))
    g = rng.normal(size=(2, *sizes, 3)).astype(np.float32)
    (grad,) = torch.autograd.grad(y, t, to_torch(g))
    (found,), (found_grad,) = mx.vjp(ours, [mx.array(given)], [mx.array(g)])
    np.testing.assert_array_equal(np.array(found), channels_last(y.detach()))
    np.testing.assert_array_equal(np.array(found_grad), channels_last(grad))


def test_numbers_with_one_place_all_get_its_gradient_as_in_pytorch():
    x = np.array([1.0, 3.0, 2.0, 0.0], np.float32).reshape(1, 4, 1)
    y, indices = ops.max_pool1d(mx.array(x), 2, stride=1, return_indices=True)
    t = to_torch(np.array(y)).requires_grad_()
    theirs = F.max_unpool1d(t, to_torch(indices).long(), 2, stride=1)
    g = np.arange(1.0, 5.0, dtype=np.float32).reshape(1, 4, 1)
    (grad,) = torch.autograd.grad(theirs, t, to_torch(g))
    (found,), (found_grad,) = mx.vjp(
        lambda y: ops.max_unpool1d(y, indices, 2, stride=1), [y], [mx.array(g)]
    )
    np.testing.assert_array_equal(np.array(found), channels_last(theirs.detach()))
    np.testing.assert_array_equal(np.array(found_grad), channels_last(grad))
