"""What every layer promises, over the registry."""

import functools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import lucid_fn as lf
from lucid_fn import random, tree
from lucid_fn.tree import leaves
from tests import assertions
from tests.registry.case import over
from tests.registry.layers import DRAWN, EVAL, EXAMPLES, LAYERS, SLOPE
from tests.strategies import equal

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=3)

# float32, in another order of additions
assert_close = functools.partial(assertions.assert_close, rtol=1e-5, atol=1e-5)
STEP = 2e-3  # of central differences of float32 numbers, whose error is about:
SLOPES = {"rel": 1e-2, "abs": 2e-2}


def prepared(case, seed):
    """A layer with params, state, an input and a key, all drawn."""
    layer = case.make()
    params, state = layer.init(random.key(seed))
    (x,) = case.inputs(np.random.default_rng(seed))
    return layer, params, state, x, random.key(seed + 1)


def is_float(leaf):
    return mx.issubdtype(leaf.dtype, mx.floating)


def floats(values):
    return [leaf for leaf in tree.leaves(values) if is_float(leaf)]


def described(values):
    return tree.map(lambda leaf: (str(leaf.dtype), leaf.shape), values)


def copied(values):
    """The same numbers in memory of their own."""
    return tree.map(lambda leaf: mx.array(np.array(leaf)), values)


def product(a, b):
    """The inner product, in float64."""
    return np.vdot(np.array(a, np.float64), np.array(b, np.float64))


@over(LAYERS)
@few
@given(seed=SEEDS)
def test_init_is_a_function_of_the_key(case, seed):
    key = random.key(seed)
    assert equal(case.make().init(key), case.make().init(key))


@over(LAYERS)
def test_no_two_leaves_are_one_array(case):
    # A compiled function may not take as an argument what it also captures.
    leaves = tree.leaves(case.make().init(random.key(0)))
    assert len({id(leaf) for leaf in leaves}) == len(leaves)


@over(LAYERS)
def test_params_are_float_arrays(case):
    params, _ = case.make().init(random.key(0))
    assert len(floats(params)) == len(tree.leaves(params))


@over(LAYERS, DRAWN)
def test_matrices_among_the_params_depend_on_the_key(case):
    layer = case.make()
    first, second = (layer.init(random.key(seed))[0] for seed in (0, 1))
    for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True):
        assert a.ndim < 2 or not equal(a, b)


@over(LAYERS)
@few
@given(seed=SEEDS, train=st.booleans())
def test_apply_leaves_its_arguments_and_repeats_its_result(case, seed, train):
    layer, params, state, x, key = prepared(case, seed)
    before = copied((params, state, x, key))
    first = layer.apply(params, state, x, train=train, key=key)
    assert equal(first, layer.apply(params, state, x, train=train, key=key))
    assert equal(before, (params, state, x, key))


@over(LAYERS)
@few
@given(seed=SEEDS)
def test_the_new_state_has_the_form_of_the_state(case, seed):
    layer, params, state, x, key = prepared(case, seed)
    _, new_state = layer.apply(params, state, x, train=True, key=key)
    assert described(new_state) == described(state)
    assert list(new_state) == list(state)


@over(LAYERS)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_a_state_keeps_its_dtypes(case, dtype):
    """Running statistics in 16 bits would stop to move."""
    layer, params, state, x, key = prepared(case, 0)
    half = tree.cast(params, dtype), state, tree.cast(x, dtype)
    _, new_state = layer.apply(*half, train=True, key=key)
    assert described(new_state) == described(state)


@over(LAYERS)
def test_train_has_no_default(case):
    layer, params, state, x, key = prepared(case, 0)
    for options in ({}, {"train": None}, {"train": 1}):
        with pytest.raises(TypeError, match="train"):
            layer.apply(params, state, x, key=key, **options)


@over(LAYERS, EVAL)
@few
@given(seed=SEEDS)
def test_eval_needs_no_key_and_keeps_the_state(case, seed):
    layer, params, state, x, _ = prepared(case, seed)
    _, new_state = layer.apply(params, state, x, train=False)
    assert equal(new_state, state)


@over(LAYERS)
def test_compiled_is_eager(case):
    layer, params, state, x, key = prepared(case, 0)

    def apply(params, state, x, key):
        return layer.apply(params, state, x, train=True, key=key)

    assert_close(lf.jit(apply)(params, state, x, key), apply(params, state, x, key))


@over(LAYERS)
def test_a_gradient_and_another_pass_are_compiled_together(case):
    """MLX fails where both split one array by `mx.split`."""
    layer, params, state, x, key = prepared(case, 0)
    floating = {"params": params, **({"x": x} if all(map(is_float, leaves(x))) else {})}

    def passes(floating, state, x, key):
        def loss(floating):
            given = floating.get("x", x)
            y, _ = layer.apply(floating["params"], state, given, train=True, key=key)
            return sum(map(mx.sum, floats(y)))

        grads = lf.grad(loss)(floating) if leaves(floating) else ()
        return grads, layer.apply(floating["params"], state, x, train=False)

    arguments = floating, state, x, key
    assert_close(lf.jit(passes)(*arguments), passes(*arguments))


@over(LAYERS, EXAMPLES)
@few
@given(seed=SEEDS)
def test_a_batch_is_its_examples(case, seed):
    layer, params, state, x, key = prepared(case, seed)
    whole, _ = layer.apply(params, state, x, train=True, key=key)
    size = tree.leaves(x)[0].shape[0]
    for i in range(size):
        example = tree.map(lambda leaf, i=i: leaf[i : i + 1], x)
        y, _ = layer.apply(params, state, example, train=True, key=key)
        assert_close(y, tree.map(lambda leaf, i=i: leaf[i : i + 1], whole))


@over(LAYERS)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("train", [True, False])
def test_half_precision_stays(case, dtype, train):
    layer, params, state, x, key = prepared(case, 0)
    exact, _ = layer.apply(params, state, x, train=train, key=key)
    half = (tree.cast(params, dtype), state, tree.cast(x, dtype))
    y, _ = layer.apply(*half, train=train, key=key)
    assert all(leaf.dtype == dtype for leaf in floats(y))
    coarse = 40 * mx.finfo(dtype).eps
    assert_close(tree.cast(y, mx.float32), exact, rtol=coarse, atol=coarse)


@over(LAYERS, SLOPE)
@few
@given(seed=SEEDS)
def test_the_gradient_is_the_slope(case, seed):
    layer, params, state, x, key = prepared(case, seed)
    rng = np.random.default_rng([seed, 1])
    leaves, structure = tree.flatten((params, x))
    movable = {i: leaf for i, leaf in enumerate(leaves) if is_float(leaf)}

    def direction(leaf):
        return mx.array(rng.normal(size=leaf.shape).astype(np.float32))

    def outputs(movable):
        moved = [movable.get(i, leaf) for i, leaf in enumerate(leaves)]
        params, x = tree.unflatten(structure, moved)
        return floats(layer.apply(params, state, x, train=True, key=key)[0])

    weights = [direction(y) for y in outputs(movable)]
    towards = tree.map(direction, movable)

    def loss(movable):
        pairs = zip(weights, outputs(movable), strict=True)
        return sum(mx.sum(weight * y) for weight, y in pairs)

    def at(step):
        moved = tree.map(lambda p, d: p + step * d, movable, towards)
        return sum(map(product, weights, outputs(moved)))

    grads = lf.grad(loss)(movable)
    assert described(grads) == described(movable)
    slope = sum(map(product, grads.values(), towards.values()))
    # Two central differences, so that the third derivative cancels.
    near, far = ((at(h) - at(-h)) / (2 * h) for h in (STEP, 2 * STEP))
    assert slope == pytest.approx((4 * near - far) / 3, **SLOPES)


@over(LAYERS)
def test_vectorized_gradients_are_those_of_the_single_inputs(case):
    layer, params, state, x, key = prepared(case, 0)
    (other,) = case.inputs(np.random.default_rng(1))
    both = tree.map(lambda a, b: mx.stack([a, b]), x, other)
    moving = {"params": params, "x": both}
    leaves, structure = tree.flatten(moving)
    movable = {i: leaf for i, leaf in enumerate(leaves) if is_float(leaf)}

    def score(params, x):
        y, _ = layer.apply(params, state, x, train=True, key=key)
        return sum(mx.sum(mx.sin(leaf)) for leaf in floats(y))

    def total(movable, run):
        filled = [movable.get(i, leaf) for i, leaf in enumerate(leaves)]
        given = tree.unflatten(structure, filled)
        return mx.sum(run(given["params"], given["x"]))

    def one_by_one(params, xs):
        pair = (tree.map(lambda leaf, i=i: leaf[i], xs) for i in range(2))
        return mx.stack([score(params, x) for x in pair])

    vectorized = lf.vmap(score, in_axes=(None, 0))
    got, expected = (lf.grad(total)(movable, run) for run in (vectorized, one_by_one))
    assert_close(got, expected, rtol=1e-4, atol=1e-4)
    if not tree.leaves(params):
        return
    each = lf.vmap(lf.grad(score), in_axes=(None, 0))(params, both)
    for i in range(2):
        one = lf.grad(score)(params, tree.map(lambda leaf, i=i: leaf[i], both))
        assert_close(
            tree.map(lambda leaf, i=i: leaf[i], each), one, rtol=1e-4, atol=1e-4
        )


def without(values, path):
    return tree.partition(lambda other: other != path, values)[0]


def with_a_row_more(values, path):
    def longer(other, leaf):
        return mx.concatenate([leaf, leaf[:1]]) if other == path else leaf

    return tree.map_with_path(longer, values)


@over(LAYERS)
@pytest.mark.parametrize("damage", [without, with_a_row_more])
def test_a_leaf_of_params_or_state_that_is_not_its_own_is_told(case, damage):
    layer, params, state, x, key = prepared(case, 0)
    both = {"params": params, "state": state}
    for path, leaf in zip(tree.paths(both), tree.leaves(both), strict=True):
        if leaf.ndim == 0 and damage is with_a_row_more:
            continue
        kind, _, inner = path.partition(".")
        held = {"params": params, "state": state}
        held[kind] = damage(held[kind], inner)
        for train in (True, False):
            with pytest.raises(ValueError, match=inner.rpartition(".")[2]):
                layer.apply(held["params"], held["state"], x, train=train, key=key)
