"""Pooling against PyTorch: values and gradients, over sizes that do not divide."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn import ops

torch = pytest.importorskip("torch")
F = torch.nn.functional

ATOL = 2e-6  # float32 sums of up to 25 numbers of size 1, in another order


def check(pool, torch_pool, x, seed, summed=1):
    """`pool` of NHWC agrees with `torch_pool` of NCHW, and so do the gradients.

    The rounding grows with the numbers that are `summed`; means and maxima sum none.
    """
    bounds = {"rtol": 0, "atol": ATOL * summed}
    theirs = torch.tensor(x.transpose(0, 3, 1, 2)).requires_grad_()
    y = torch_pool(theirs)
    g = np.random.default_rng(seed).normal(size=y.shape).astype(np.float32)
    (dx,) = torch.autograd.grad(y, theirs, torch.tensor(g))
    (ours,), (our_dx,) = mx.vjp(
        pool, [mx.array(x)], [mx.array(g.transpose(0, 2, 3, 1))]
    )
    np.testing.assert_allclose(
        np.array(ours).transpose(0, 3, 1, 2), y.detach().numpy(), **bounds
    )
    np.testing.assert_allclose(
        np.array(our_dx).transpose(0, 3, 1, 2), dx.numpy(), **bounds
    )


@st.composite
def poolings(draw):
    """An image and `(size, stride, padding)` that fit it; half of them have ties."""
    size = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    shape = tuple(draw(st.integers(k, 9)) for k in size)
    seed = draw(st.integers(0, 2**32 - 1))
    x = np.random.default_rng(seed).normal(size=(2, *shape, 3)).astype(np.float32)
    return (np.round(x) if draw(st.booleans()) else x), size, stride, padding, seed


@given(poolings())
def test_max_pool_is_pytorchs(case):
    x, size, stride, padding, seed = case
    check(
        lambda x: ops.max_pool2d(x, size, stride=stride, padding=padding),
        lambda x: F.max_pool2d(x, size, stride, padding),
        x,
        seed,
    )


@given(poolings(), st.booleans())
def test_avg_pool_is_pytorchs(case, count_include_pad):
    x, size, stride, padding, seed = case
    check(
        lambda x: ops.avg_pool2d(
            x,
            size,
            stride=stride,
            padding=padding,
            count_include_pad=count_include_pad,
        ),
        lambda x: F.avg_pool2d(
            x, size, stride, padding, count_include_pad=count_include_pad
        ),
        x,
        seed,
    )


@given(poolings(), st.tuples(st.integers(1, 3), st.integers(1, 3)), st.booleans())
def test_dilated_max_pool_is_pytorchs(case, dilation, ceil_mode):
    x, size, stride, padding, seed = case
    x = np.pad(x, [(0, 0), (0, 8), (0, 8), (0, 0)], "wrap")
    options = {"dilation": dilation, "ceil_mode": ceil_mode}
    check(
        lambda x: ops.max_pool2d(x, size, stride=stride, padding=padding, **options),
        lambda x: F.max_pool2d(x, size, stride, padding, **options),
        x,
        seed,
    )


@given(poolings(), st.booleans())
def test_pools_with_sizes_rounded_up_are_pytorchs(case, count_include_pad):
    x, size, stride, padding, seed = case
    for ours, theirs, options in (
        (ops.max_pool2d, F.max_pool2d, {}),
        (ops.avg_pool2d, F.avg_pool2d, {"count_include_pad": count_include_pad}),
    ):
        options = {**options, "ceil_mode": True}
        check(
            lambda x, f=ours, options=options: f(
                x, size, stride=stride, padding=padding, **options
            ),
            lambda x, f=theirs, options=options: f(x, size, stride, padding, **options),
            x,
            seed,
        )


@given(poolings(), st.sampled_from([1, 2, 4]), st.booleans())
def test_lp_pool_is_pytorchs(case, p, ceil_mode):
    x, size, stride, _, seed = case
    x = x if p > 1 else abs(x)
    check(
        lambda x: ops.lp_pool2d(x, p, size, stride=stride, ceil_mode=ceil_mode),
        lambda x: F.lp_pool2d(x, p, size, stride, ceil_mode),
        x,
        seed,
        summed=size[0] * size[1],
    )


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    output_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 2**32 - 1),
)
def test_adaptive_pools_are_pytorchs(shape, output_size, seed):
    x = np.random.default_rng(seed).normal(size=(2, *shape, 3)).astype(np.float32)
    for ours, theirs in (
        (ops.adaptive_avg_pool2d, F.adaptive_avg_pool2d),
        (ops.adaptive_max_pool2d, F.adaptive_max_pool2d),
    ):
        check(
            lambda x, f=ours: f(x, output_size),
            lambda x, f=theirs: f(x, output_size),
            x,
            seed,
        )


def test_max_pool_treats_nan_as_pytorch_does():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 2)).astype(np.float32)
    x[0, 2, 3, 0] = np.nan
    ours = ops.max_pool2d(mx.array(x), 3, stride=2, padding=1)
    theirs = F.max_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), 3, 2, 1)
    np.testing.assert_array_equal(np.array(ours).transpose(0, 3, 1, 2), theirs.numpy())


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_integers_have_maxima(dtype, padding):
    rng = np.random.default_rng(0)
    low = 0 if dtype == np.uint8 else -100
    x = rng.integers(low, 100, (2, 6, 7, 3)).astype(dtype)
    theirs = F.max_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), 3, 2, padding)
    ours = ops.max_pool2d(mx.array(x), 3, stride=2, padding=padding)
    assert ours.dtype == mx.array(x).dtype
    assert np.array_equal(np.array(ours).transpose(0, 3, 1, 2), theirs.numpy())
