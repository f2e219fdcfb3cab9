"""Instance norm with running statistics, and bags of embeddings, against PyTorch."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn

torch = pytest.importorskip("torch")

from tests.parity.layouts import (  # noqa: E402
    assert_close,
    grads_of,
    params_of,
    to_mlx,
    to_torch,
)

SHAPES = {1: (3, 7, 4), 2: (2, 5, 6, 4), 3: (2, 3, 4, 2, 4)}


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize(
    "kind", [{"affine": False}, {"affine": True}, {"affine": True, "bias": False}]
)
def test_running_statistics_and_their_use_are_pytorchs(dims, kind):
    options = {**kind, "momentum": 0.3, "track_running_stats": True}
    module = getattr(torch.nn, f"InstanceNorm{dims}d")(4, **options)
    layer = nn.instance_norm(4, **options)
    params, state = params_of(module), layer.init(mx.random.key(0))[1]
    rng = np.random.default_rng(0)
    for train in (True, True, False):
        module.train(train)
        x = rng.normal(1, 2, SHAPES[dims]).astype(np.float32)
        g = rng.normal(size=x.shape).astype(np.float32)
        their_x = to_torch(x).requires_grad_()
        theirs = module(their_x)
        theirs.backward(to_torch(g))

        def loss(x, train=train, state=state, g=g):
            y, moved = layer.apply(params, state, x, train=train)
            return mx.sum(y * mx.array(g)), (y, moved)

        (_, (y, state)), dx = lf.value_and_grad(loss, has_aux=True)(mx.array(x))
        assert_close(y, to_mlx(theirs))
        assert_close(dx, to_mlx(their_x.grad))
        for name in ("running_mean", "running_var"):
            assert_close(state[name], to_mlx(getattr(module, name), moved=False))


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_bags_of_embeddings_are_pytorchs(mode, padding_idx):
    options = {"mode": mode, "padding_idx": padding_idx}
    torch.manual_seed(0)
    module = torch.nn.EmbeddingBag(6, 4, **options)
    layer = nn.embedding_bag(6, 4, **options)
    x = np.array([[0, 1, 2, 5], [2, 2, 2, 2], [3, 4, 1, 0]])
    params = params_of(module, moved=False)
    g = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    theirs = module(torch.tensor(x))
    theirs.backward(torch.tensor(g))

    def loss(params):
        y, _ = layer.apply(params, {}, mx.array(x), train=True)
        return mx.sum(y * mx.array(g)), y

    (_, y), grads = lf.value_and_grad(loss, has_aux=True)(params)
    assert_close(y, to_mlx(theirs, moved=False))
    if mode != "max" or padding_idx is not None:  # PyTorch gives ties to one of them
        assert_close(grads, grads_of(module, moved=False))
