"""What every layer promises, over the registry."""

import itertools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import random, tree
from lucid_fn.testing import layer_laws as laws
from tests.registry.case import over
from tests.registry.layer_case import DRAWN, EVAL, EXAMPLES, SLOPE
from tests.registry.layers import LAYERS
from tests.strategies import equal

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=3)


def prepared(case, seed):
    """A layer with params, state, an input and a key, all drawn."""
    (x,) = case.inputs(np.random.default_rng(seed))
    return laws.subject(case.make(), x, seed)


@over(LAYERS)
@few
@given(seed=SEEDS)
def test_init_is_a_function_of_the_key(case, seed):
    key = random.key(seed)
    assert equal(case.make().init(key), case.make().init(key))
    laws.init_is_a_function_of_the_key(prepared(case, seed))


@over(LAYERS)
def test_no_two_leaves_are_one_array(case):
    laws.no_two_leaves_are_one_array(prepared(case, 0))


@over(LAYERS)
def test_params_are_float_arrays(case):
    laws.params_are_float_arrays(prepared(case, 0))


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
    laws.apply_is_pure(prepared(case, seed), train)


@over(LAYERS)
@few
@given(seed=SEEDS)
def test_the_new_state_has_the_form_of_the_state(case, seed):
    laws.the_new_state_has_the_form_of_the_state(prepared(case, seed))


@over(LAYERS)
def test_a_state_keeps_its_dtypes(case):
    for dtype in laws.HALF:
        laws.a_state_keeps_its_dtypes(prepared(case, 0), dtype)


@over(LAYERS)
def test_train_has_no_default(case):
    laws.train_has_no_default(prepared(case, 0))


@over(LAYERS, EVAL)
@few
@given(seed=SEEDS)
def test_eval_needs_no_key_and_keeps_the_state(case, seed):
    laws.eval_needs_no_key_and_keeps_the_state(prepared(case, seed))


@over(LAYERS)
def test_compiled_is_eager(case):
    laws.compiled_is_eager(prepared(case, 0))


@over(LAYERS)
def test_a_gradient_and_another_pass_are_compiled_together(case):
    laws.a_gradient_and_another_pass_are_compiled_together(prepared(case, 0))


@over(LAYERS, EXAMPLES)
@few
@given(seed=SEEDS)
def test_a_batch_is_its_examples(case, seed):
    laws.a_batch_is_its_examples(prepared(case, seed), train=True)


@over(LAYERS)
def test_half_precision_stays(case):
    subject = prepared(case, 0)
    for dtype, train in itertools.product(laws.HALF, (True, False)):
        laws.half_precision_stays(subject, dtype, train)


@over(LAYERS, SLOPE)
@few
@given(seed=SEEDS)
def test_the_gradient_is_the_slope(case, seed):
    laws.the_gradient_is_the_slope(prepared(case, seed), [[seed, 1]])


@over(LAYERS)
def test_vectorized_gradients_are_those_of_the_single_inputs(case):
    (other,) = case.inputs(np.random.default_rng(1))
    laws.vectorized_gradients_are_those_of_the_single_inputs(prepared(case, 0), other)


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
