"""Laws of combinators, over nested layers with params, state and random masks."""

import mlx.core as mx
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import nn, random, tree
from tests.strategies import FEATURES, counter, equal, keys, layers

few = settings(max_examples=12)
X = random.normal(random.key(7), (3, FEATURES))


def named(**children):
    return nn.serial(**children)


@few
@given(layers(), keys())
def test_apply_leaves_its_arguments_and_repeats_its_result(layer, key):
    params, state = layer.init(key)
    kept = tree.map(lambda x: x, (params, state))
    first = layer.apply(params, state, X, train=True, key=key)
    assert equal(layer.apply(params, state, X, train=True, key=key), first)
    assert equal((params, state), kept)


@few
@given(layers(), keys())
def test_init_is_a_function_of_the_key(layer, key):
    assert equal(layer.init(key), layer.init(key))


@few
@given(layers(), keys(), st.booleans())
def test_the_new_state_has_the_structure_of_the_state(layer, key, train):
    params, state = layer.init(key)
    _, new = layer.apply(params, state, X, train=train, key=key)
    assert equal(tree.zeros_like(new), tree.zeros_like(state))
    if not train:
        assert equal(new, state)


@few
@given(layers(), keys())
def test_eval_mode_needs_no_key(layer, key):
    params, state = layer.init(key)
    with_key = layer.apply(params, state, X, train=False, key=key)
    assert equal(layer.apply(params, state, X, train=False), with_key)


def test_serial_of_nothing_is_the_identity():
    assert nn.serial().init(random.key(0)) == ({}, {})
    y, state = nn.serial().apply({}, {}, X, train=True)
    assert y is X and state == {}


@few
@given(layers(), keys())
def test_serial_of_the_identity_and_a_layer_is_the_layer(layer, key):
    alone, beside = named(a=layer), named(first=nn.identity, a=layer, last=nn.identity)
    assert equal(alone.init(key), beside.init(key))
    params, state = alone.init(key)
    got, want = (
        f.apply(params, state, X, train=True, key=key) for f in (alone, beside)
    )
    assert equal(got, want)


@few
@given(layers(), layers(), layers(), keys())
def test_serial_is_associative_as_a_function(a, b, c, key):
    # Keys and names differ with the nesting, so the same params go in, in eval mode.
    (pa, sa), (pb, sb), (pc, sc) = (
        layer.init(random.fold_in(key, i)) for i, layer in enumerate((a, b, c))
    )
    left = nn.serial(nn.serial(a, b), c)
    right = nn.serial(a, nn.serial(b, c))

    def tidy(values):
        """Without empty dicts, as init leaves it."""
        children = {k: tidy(v) if isinstance(v, dict) else v for k, v in values.items()}
        return {k: v for k, v in children.items() if not isinstance(v, dict) or v}

    y, _ = left.apply(
        tidy({"0": {"0": pa, "1": pb}, "1": pc}),
        tidy({"0": {"0": sa, "1": sb}, "1": sc}),
        X,
        train=False,
    )
    z, _ = right.apply(
        tidy({"0": pa, "1": {"0": pb, "1": pc}}),
        tidy({"0": sa, "1": {"0": sb, "1": sc}}),
        X,
        train=False,
    )
    assert mx.array_equal(y, z)


@few
@given(layers(), layers(), layers(), keys())
def test_serial_is_the_composition_of_its_layers(a, b, c, key):
    layer = named(a=a, b=b, c=c)
    params, state = layer.init(key)
    y, _ = layer.apply(params, state, X, train=False)
    z = X
    for name, child in (("a", a), ("b", b), ("c", c)):
        z, _ = child.apply(params.get(name, {}), state.get(name, {}), z, train=False)
    assert mx.array_equal(y, z)


@few
@given(layers(), layers(), layers(), keys())
def test_another_child_leaves_the_others_alone(a, b, extra, key):
    params, state = named(a=a, b=b).init(key)
    more_params, more_state = named(a=a, extra=extra, b=b).init(key)
    for few_, more in ((params, more_params), (state, more_state)):
        assert equal({k: v for k, v in more.items() if k != "extra"}, few_)


@few
@given(layers(), keys())
def test_a_shared_child_has_one_set_of_params_and_moves_its_state_twice(layer, key):
    shared = nn.compose(lambda x, a: a(a(x)), a=named(layer=layer, counter=counter()))
    params, state = shared.init(key)
    assert equal(
        params.get("a", {}), named(layer=layer).init(random.fold_in(key, "a"))[0]
    )
    _, new = shared.apply(params, state, X, train=True, key=key)
    assert new["a"]["counter"]["calls"].item() == 2


@few
@given(keys())
def test_a_shared_dropout_has_two_masks(key):
    shared = nn.compose(lambda x, a: mx.stack([a(x), a(x)]), a=nn.dropout(0.5))
    first, second = shared.apply({}, {}, mx.ones((64,)), train=True, key=key)[0]
    assert not mx.array_equal(first, second)


@few
@given(layers(), keys())
def test_a_residual_adds_the_input(layer, key):
    block = nn.residual(layer)
    params, state = block.init(key)
    y, _ = block.apply(params, state, X, train=False)
    body, _ = layer.apply(params.get("body", {}), state.get("body", {}), X, train=False)
    assert mx.array_equal(y, body + X)


@few
@given(layers(), keys())
def test_frozen_is_eval_mode(layer, key):
    params, state = layer.init(key)
    got = nn.frozen(layer).apply(params, state, X, train=True)
    assert equal(got, layer.apply(params, state, X, train=False))


@few
@given(layers(), keys(), st.booleans())
def test_a_forward_of_train_and_key_gets_the_mode_and_a_key_of_its_own(
    layer, key, train
):
    def forward(x, a, *, train, key):
        seen.append((train, key))
        return a(x)

    seen = []
    greedy, plain = (nn.compose(f, a=layer) for f in (forward, lambda x, a: a(x)))
    params, state = greedy.init(key)
    assert equal((params, state), plain.init(key))
    got, want = (
        f.apply(params, state, X, train=train, key=key) for f in (greedy, plain)
    )
    assert equal(got, want)  # the keys of children are those without it
    mode, own = seen[0]
    assert mode is train
    children = [random.fold_in(key, label) for label in ("a", "a:1", "a:2")]
    assert not any(mx.array_equal(own, other) for other in [key, *children])


@few
@given(layers(), keys())
def test_a_forward_with_a_key_needs_one_in_train_mode_only(layer, key):
    sampler = nn.compose(lambda x, a, *, key: a(x) if key is None else x, a=layer)
    params, state = sampler.init(key)
    plain, _ = layer.apply(params.get("a", {}), state.get("a", {}), X, train=False)
    assert equal(sampler.apply(params, state, X, train=False)[0], plain)
    with pytest.raises(ValueError, match="compose: train=True needs a key, got None"):
        sampler.apply(params, state, X, train=True)


@few
@given(keys())
def test_a_child_may_be_named_train_or_key(key):
    layer = nn.compose(
        lambda x, *, train, key: key(train(x)), train=mx.abs, key=mx.negative
    )
    assert mx.array_equal(layer.apply({}, {}, X, train=False)[0], -mx.abs(X))
