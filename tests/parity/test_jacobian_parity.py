"""Jacobians and Hessians of a small network beside those of torch.func."""

import mlx.core as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

import lucid_fn as lf

torch = pytest.importorskip("torch")

PARAMS = {"w": (4, 3), "b": (4,), "v": (2, 4)}
NAMES = ["jacrev", "jacfwd", "hessian"]


def draws():
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape) for name, shape in PARAMS.items()}
    return params, rng.normal(size=(5, 3))


def network(tanh):
    def fn(params, x):
        hidden = tanh(x @ params["w"].T + params["b"])
        return {"y": hidden @ params["v"].T}, hidden

    return fn


def side_by_side(name, argnums):
    """The leaves by path, of ours in float32 and of PyTorch's in float64."""
    params, x = draws()
    theirs = getattr(torch.func, name)(network(torch.tanh), argnums)(
        {key: torch.tensor(value) for key, value in params.items()}, torch.tensor(x)
    )
    ours = getattr(lf, name)(network(mx.tanh), argnums)(
        {key: mx.array(value, mx.float32) for key, value in params.items()},
        mx.array(x, mx.float32),
    )
    return lf.tree.named_leaves(ours), lf.tree.named_leaves(theirs)


# PyTorch's forward derivatives load what it has itself deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argnums", [0, (0, 1)])
def test_derivatives_and_their_structure_are_those_of_torch_func(name, argnums):
    ours, theirs = side_by_side(name, argnums)
    assert ours.keys() == theirs.keys()
    for path, array in theirs.items():
        assert ours[path].shape == tuple(array.shape)
        assert_allclose(ours[path], array, rtol=1e-4, atol=1e-5)
