"""Optimizers side by side: ours, PyTorch's, and transcriptions of papers."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import optim

STEPS = 20
SHAPES = {"weight": (4, 3), "bias": (5,), "scale": ()}
IN_FLOAT64 = 1e-9
"""The bound of all comparisons in float64: a number that was float32 is 1e-8 off."""

rates = st.floats(1e-4, 0.1)
decays = st.floats(0.0, 0.999)
# A second moment of one gradient is as small as that, and its rounding as large.
long_decays = st.floats(0.5, 0.999)
eps = st.floats(1e-10, 1e-3)
weight_decays = st.sampled_from([0.0, 1e-4, 1e-2, 0.3])
momenta = st.floats(0.1, 0.99)
seeds = st.integers(0, 2**32 - 1)


def several(**strategies):
    """Ten settings, each with a seed of its own."""

    def decorate(test):
        return settings(max_examples=10)(given(seed=seeds, **strategies)(test))

    return decorate


def draw(seed):
    """Params, and a gradient for each step; one number never has any."""
    rng = np.random.default_rng(seed)
    params = {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}
    scales = 10.0 ** rng.uniform(-3, 1, STEPS)
    grads = [
        {n: (k * rng.normal(size=s)).astype(np.float32) for n, s in SHAPES.items()}
        for k in scales
    ]
    for g in grads:
        g["bias"][0] = 0.0
    return params, grads


def ours(optimizer, params, grads, dtype=mx.float32):
    """The params and the state after a step for each gradient."""
    params = {name: mx.array(p, dtype) for name, p in params.items()}
    opt_state = optimizer.init(params)
    for g in grads:
        g = {name: mx.array(x, dtype) for name, x in g.items()}
        updates, opt_state = optimizer.update(g, opt_state, params)
        params = optim.apply_updates(params, updates)
    return {name: np.array(p) for name, p in params.items()}, opt_state


def theirs(make, params, grads, dtype="float32"):
    """The params after PyTorch's steps, whose scalars are of the dtype too."""
    torch = pytest.importorskip("torch")
    dtype, before = getattr(torch, dtype), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        tensors = {n: torch.tensor(p, dtype=dtype) for n, p in params.items()}
        optimizer = make([tensor.requires_grad_() for tensor in tensors.values()])
        for g in grads:
            for name, tensor in tensors.items():
                tensor.grad = torch.tensor(g[name], dtype=dtype)
            optimizer.step()
    finally:
        torch.set_default_dtype(before)
    return {name: t.detach().numpy() for name, t in tensors.items()}


def check(optimizer, make, seed, bound=4e-6):
    """Raises unless ours are PyTorch's in float32 and in float64.

    The bounds of float32 are a few units in the last place of params near 1, added up
    over the steps.
    """
    params, grads = draw(seed)
    for dtype, limit in (("float32", bound), ("float64", IN_FLOAT64)):
        got, _ = ours(optimizer, params, grads, getattr(mx, dtype))
        for name, expected in theirs(make, params, grads, dtype).items():
            np.testing.assert_allclose(
                got[name], expected, rtol=limit, atol=limit, err_msg=f"{dtype} {name}"
            )
