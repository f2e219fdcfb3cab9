"""Nothing is asked of a GPU that MLX implements on CPUs only.

No GPU is needed: the graphs of the plain formulations are listed, operation by
operation. `ops.linalg`, which moves to the CPU and back, is in no layer, loss or
optimizer.
"""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import ops, random, tree
from lucid_fn.ops import exporting
from tests.registry.case import over
from tests.registry.layers import LAYERS
from tests.registry.losses import LOSSES
from tests.registry.optimizers import OPTIMIZERS

# What throws on Metal or CUDA (mlx/backend/metal/primitives.cpp, cuda/primitives.cpp).
CPU_ONLY = {"LUF", "QRF", "SVD", "Inverse", "Cholesky", "Eig", "Eigh"}
CPU_ONLY_DTYPES = {mx.float64}


def operations(fn, *args):
    """The names and result dtypes of all operations in the graph of `fn`."""
    leaves, structure = tree.flatten(args)
    found = []

    def flat(*arrays):
        with exporting.exporting(arrays[0]):
            return tree.leaves(fn(*tree.unflatten(structure, list(arrays))))

    def look(seen):
        if seen["type"] == "primitive":
            dtypes = [dtype for _, _, dtype in seen["outputs"]]
            found.append((seen["name"], dtypes))

    with ops.plain():
        mx.export_function(look, flat, *leaves)
    return found


def check(found):
    assert found
    names = {name for name, _ in found}
    dtypes = {dtype for _, outputs in found for dtype in outputs}
    assert not names & CPU_ONLY
    assert not dtypes & CPU_ONLY_DTYPES


def test_an_operation_of_cpus_is_noticed():
    found = operations(lambda x: mx.linalg.inv(x, stream=mx.cpu), mx.eye(2))
    with pytest.raises(AssertionError):
        check(found)
    found = operations(lambda x: x.astype(mx.float64) + 1, mx.eye(2))
    with pytest.raises(AssertionError):
        check(found)


@over(LAYERS)
def test_layers_and_their_gradients(case):
    layer = case.make()
    params, state = layer.init(random.key(0))
    (x,) = case.inputs(np.random.default_rng(0))

    def step(params, state, x, key):
        def loss(params):
            y, new_state = layer.apply(params, state, x, train=True, key=key)
            floats = [y for y in tree.leaves(y) if mx.issubdtype(y.dtype, mx.floating)]
            return sum(map(mx.sum, floats)), new_state

        if not tree.leaves(params):
            return loss(params)
        return lf.value_and_grad(loss, has_aux=True)(params)

    check(operations(step, params, state, x, random.key(1)))


@over(LOSSES)
def test_losses_and_their_gradients(case):
    predictions, *others = case.inputs(np.random.default_rng(0))

    def step(predictions, *others):
        return lf.grad(lambda x: mx.sum(case.make()(x, *others)))(predictions)

    check(operations(step, predictions, *others))


@over(OPTIMIZERS)
def test_updates_of_optimizers(case):
    optimizer = case.make()
    params = {"weight": mx.ones((3, 4)), "other": mx.ones((4, 2))}
    check(operations(optimizer.update, params, optimizer.init(params), params))
