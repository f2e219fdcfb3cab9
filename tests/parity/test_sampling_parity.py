"""Sampling at grids, and windows as rows, against PyTorch."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from lucid_fn import ops

torch = pytest.importorskip("torch")
F = torch.nn.functional

SEEDS = st.integers(0, 2**32 - 1)


def check(ours, theirs, *arrays):
    """Equal values and gradients of all arrays, ours in float32."""
    leaves = [torch.tensor(a, dtype=torch.float64).requires_grad_() for a in arrays]
    expected = theirs(*leaves)
    g = np.random.default_rng(0).normal(size=expected.shape).astype(np.float32)
    grads = torch.autograd.grad(expected, leaves, torch.tensor(g, dtype=torch.float64))
    (found,), found_grads = mx.vjp(ours, [*map(mx.array, arrays)], [mx.array(g)])
    for mine, exact in zip([found, *found_grads], [expected, *grads], strict=True):
        exact = exact.detach().numpy()
        bound = 1e-5 * max(1.0, abs(exact).max(initial=0))
        np.testing.assert_allclose(np.array(mine), exact, rtol=0, atol=bound)


def channels_second(x):
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


@pytest.mark.parametrize(
    ("dims", "mode"),
    [(2, "bilinear"), (2, "nearest"), (2, "bicubic"), (3, "bilinear"), (3, "nearest")],
)
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@given(data=st.data(), align_corners=st.booleans(), seed=SEEDS)
@settings(max_examples=8)
def test_grid_sample_is_pytorchs(dims, mode, padding_mode, data, align_corners, seed):
    sizes = data.draw(st.tuples(*[st.integers(1, 4)] * dims))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *sizes, 3)).astype(np.float32)
    grid = rng.uniform(-1.6, 1.6, (2, *[3] * dims, dims)).astype(np.float32)
    # Where the slope jumps, rounding decides about it.
    scale = np.array(sizes[::-1]) - align_corners
    place = (grid + 1) / 2 * scale - (not align_corners) / 2
    assume(abs(2 * place - np.round(2 * place)).min(initial=1, where=scale > 0) > 1e-4)
    options = {
        "mode": mode,
        "padding_mode": padding_mode,
        "align_corners": align_corners,
    }
    check(
        lambda x, grid: ops.grid_sample(x, grid, **options),
        lambda x, grid: channels_last(
            F.grid_sample(channels_second(x), grid, **options)
        ),
        x,
        grid,
    )


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")  # of grids of one place
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=3),
    align_corners=st.booleans(),
    seed=SEEDS,
)
@settings(max_examples=20)
def test_affine_grid_is_pytorchs(sizes, align_corners, seed):
    dims = len(sizes)
    theta = np.random.default_rng(seed).normal(size=(2, dims, dims + 1))
    check(
        lambda t: ops.affine_grid(t, tuple(sizes), align_corners=align_corners),
        lambda t: F.affine_grid(t, (2, 1, *sizes), align_corners=align_corners),
        theta.astype(np.float32),
    )


@given(
    pairs=st.tuples(*[st.tuples(st.integers(1, 3), st.integers(1, 3))] * 3),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    shape=st.tuples(st.integers(7, 9), st.integers(7, 9)),
    seed=SEEDS,
)
@settings(max_examples=30)
def test_unfold_and_fold_are_pytorchs(pairs, padding, shape, seed):
    size, stride, dilation = pairs
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    rng = np.random.default_rng(seed)
    check(
        lambda x: ops.unfold(x, size, **options),
        lambda x: F.unfold(channels_second(x), size, **options).mT,
        rng.normal(size=(2, *shape, 3)).astype(np.float32),
    )
    rows = ops.unfold(mx.zeros((2, *shape, 3)), size, **options).shape
    check(
        lambda x: ops.fold(x, shape, size, **options),
        lambda x: channels_last(F.fold(x.mT, shape, size, **options)),
        rng.normal(size=rows).astype(np.float32),
    )
