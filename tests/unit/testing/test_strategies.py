"""Strategies draw what they say, and hypothesis is not needed to import them."""

import subprocess
import sys

import mlx.core as mx
from hypothesis import given, settings, strategies as st

from lucid_fn import nn, testing, tree
from lucid_fn.checks import check_key
from lucid_fn.testing import strategies

few = settings(max_examples=10)


@few
@given(x=strategies.arrays((2, 3), bound=1.0, dtype=mx.float16))
def test_arrays_have_the_shape_dtype_and_bound(x):
    assert (x.shape, x.dtype) == ((2, 3), mx.float16)
    assert mx.max(mx.abs(x)).item() <= 1.0


@few
@given(x=strategies.arrays(st.sampled_from([(2,), (3, 1)])))
def test_shapes_of_arrays_may_be_drawn(x):
    assert x.shape in [(2,), (3, 1)]


@few
@given(key=strategies.keys(), values=strategies.trees(), params=strategies.params())
def test_keys_and_trees_are_such(key, values, params):
    assert check_key("test", key) is key
    assert all(isinstance(leaf, mx.array) for leaf in tree.leaves((values, params)))
    assert tree.leaves(params)


@settings(max_examples=3, deadline=None)
@given(x=strategies.arrays((4, 3)))
def test_a_layer_is_checked_with_drawn_inputs(x):
    testing.check_layer(nn.linear(3, 2), x)


def test_testing_imports_no_hypothesis():
    code = "import sys, lucid_fn.testing; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
