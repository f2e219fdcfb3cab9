"""Every layer can be exported, and is in the file what its plain formulation is."""

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import ops, random, tree
from tests.registry.case import over
from tests.registry.layer_case import COUNT
from tests.registry.layers import LAYERS


@over(LAYERS)
def test_an_exported_layer_is_the_plain_one_bit_for_bit(case, tmp_path):
    layer = case.make()
    params, state = layer.init(random.key(0))
    (x,) = case.inputs(np.random.default_rng(0))

    def apply(params, state, x):
        return layer.apply(params, state, x, train=False)

    lf.export(apply, tmp_path / "layer.mlxfn", params, state, x)
    with ops.plain():
        expected = apply(params, state, x)
    got = lf.load_exported(tmp_path / "layer.mlxfn")(params, state, x)
    assert repr(tree.flatten(got)[1]) == repr(tree.flatten(expected)[1])
    for a, b in zip(tree.leaves(got), tree.leaves(expected), strict=True):
        assert mx.array_equal(a, b, equal_nan=True)


@over(LAYERS, COUNT)
def test_an_exported_layer_takes_any_number_of_examples(case, tmp_path):
    layer = case.make()
    params, state = layer.init(random.key(0))
    (x,) = case.inputs(np.random.default_rng(0))

    def apply(x):
        return layer.apply(params, state, x, train=False)[0]

    lf.export(apply, tmp_path / "layer.mlxfn", x, batch_argnums=0)
    more = tree.map(lambda leaf: mx.concatenate([leaf, leaf[:1], leaf]), x)
    with ops.plain():
        expected = apply(more)
    got = lf.load_exported(tmp_path / "layer.mlxfn")(more)
    for a, b in zip(tree.leaves(got), tree.leaves(expected), strict=True):
        assert mx.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
