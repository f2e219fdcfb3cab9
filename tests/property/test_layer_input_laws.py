"""What every layer does with empty batches, integers and mixed dtypes."""

import itertools
from functools import reduce

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import random, tree
from tests.fusion import jitted
from tests.registry.case import over
from tests.registry.layer_case import EMPTY, PROMOTED, REAL
from tests.registry.layers import LAYERS
from tests.strategies import equal

TRAIN = pytest.mark.parametrize("train", [True, False])


def is_float(leaf):
    return mx.issubdtype(leaf.dtype, mx.floating)


def prepared(case):
    layer = case.make()
    params, state = layer.init(random.key(0))
    (x,) = case.inputs(np.random.default_rng(0))
    return layer, params, state, x


@TRAIN
@over(LAYERS, EMPTY)
@pytest.mark.parametrize("plain", [False, True], ids=["tuned", "plain"])
def test_an_empty_batch_has_an_empty_result_and_no_gradient(
    case, plain, train, monkeypatch
):
    monkeypatch.setenv("LUCID_FN_OPS", "plain" if plain else "tuned")
    layer, params, state, x = prepared(case)
    x = tree.map(lambda leaf: leaf[:0], x)
    leaves, structure = tree.flatten((params, x))
    movable = {i: leaf for i, leaf in enumerate(leaves) if is_float(leaf)}

    def outputs(movable):
        moved = [movable.get(i, leaf) for i, leaf in enumerate(leaves)]
        params, x = tree.unflatten(structure, moved)
        y, new = layer.apply(params, state, x, train=train, key=random.key(1))
        return y, new

    def loss(movable):
        return sum(mx.sum(y) for y in tree.leaves(outputs(movable)[0]) if is_float(y))

    y, new_state = outputs(movable)
    mx.eval(y, new_state)
    assert all(len(leaf) == 0 for leaf in tree.leaves(y))
    assert all(mx.all(mx.isfinite(leaf)) for leaf in tree.leaves(new_state))
    assert equal(lf.grad(loss)(movable), tree.zeros_like(movable))
    assert equal(jitted(lf.grad(loss), movable), tree.zeros_like(movable))


def with_integers(x):
    return tree.map(
        lambda leaf: mx.round(3 * leaf).astype(mx.int32) if is_float(leaf) else leaf, x
    )


@over(LAYERS, REAL)
def test_real_valued_layers_refuse_integers(case):
    layer, params, state, x = prepared(case)
    for train in (True, False):
        with pytest.raises(
            TypeError, match=r": \w+ must be .*float.* got .*int32; conv"
        ):
            layer.apply(params, state, with_integers(x), train=train, key=random.key(1))


@pytest.mark.parametrize(
    "case", [case for case in LAYERS if REAL in case.exempt], ids=lambda case: case.name
)
def test_other_layers_keep_integers(case):
    layer, params, state, x = prepared(case)
    if tree.leaves(params):  # they look rows up
        return
    whole = with_integers(x)
    y, _ = layer.apply(params, state, whole, train=False)
    expected, _ = layer.apply(params, state, whole.astype(mx.float32), train=False)
    y, expected = (tree.leaves(output)[0] for output in (y, expected))
    assert y.dtype == mx.int32
    assert mx.array_equal(y, expected.astype(mx.int32))


MIXED = [  # of x, and of params
    (mx.bfloat16, mx.float32),
    (mx.float32, mx.bfloat16),
    (mx.float16, mx.float32),
    (mx.float16, mx.bfloat16),
]


@over(LAYERS, PROMOTED)
def test_the_result_has_the_dtype_that_input_and_params_promote_to(case):
    layer, given, state, x = prepared(case)
    for (x_dtype, params_dtype), train in itertools.product(MIXED, (True, False)):
        params, mixed = tree.cast(given, params_dtype), tree.cast(x, x_dtype)
        dtypes = [z.dtype for z in tree.leaves((params, mixed)) if is_float(z)]
        y, new = layer.apply(params, state, mixed, train=train, key=random.key(1))
        found = {leaf.dtype for leaf in tree.leaves(y) if is_float(leaf)}
        assert found == {reduce(mx.result_type, dtypes)}, (x_dtype, params_dtype)
        assert [leaf.dtype for leaf in tree.leaves(new)] == [
            leaf.dtype for leaf in tree.leaves(state)
        ]
