"""compose, serial, residual, frozen: threading and purity."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, jit, nn, random, tree
from tests.strategies import counter, equal

X = mx.ones((5, 4))


def noise():
    """A layer that adds a draw from its key: shows which key a child gets."""

    def init(key, /):
        return {}, {}

    def apply(params, state, x, /, *, train, key=None):
        return x + random.normal(key, x.shape), state

    return nn.Layer(init, apply)


def run(layer, x=X, train=False, key=None):
    params, state = layer.init(random.key(0))
    return layer.apply(params, state, x, train=train, key=key)


def test_children_are_bound_under_their_names(key):
    def forward(x, left, right):
        return left(x) - right(x)

    layer = nn.compose(forward, left=nn.linear(4, 3), right=nn.linear(4, 3))
    params, state = layer.init(key)
    assert set(params) == {"left", "right"} and state == {}
    y, _ = layer.apply(params, state, X, train=False)
    left, right = (
        X @ params[name]["weight"].T + params[name]["bias"]
        for name in ("left", "right")
    )
    assert mx.allclose(y, left - right, atol=1e-6)


def test_forward_may_take_its_children_in_any_way(key):
    def keyword_only(x, *, a):
        return a(x)

    def any_names(x, **children):
        return children["a"](x)

    for forward in (keyword_only, any_names, lambda forward, a: a(forward)):
        assert run(nn.compose(forward, a=mx.negative))[0].tolist() == (-X).tolist()


def test_a_child_may_be_called_forward():
    layer = nn.compose(lambda x, forward: forward(x), forward=mx.negative)
    assert run(layer)[0].tolist() == (-X).tolist()


def test_children_without_params_leave_no_trace(key):
    layer = nn.serial(act=mx.tanh, drop=nn.dropout(0.5), inner=nn.serial(mx.abs))
    assert layer.init(key) == ({}, {})
    assert nn.serial(mx.tanh, nn.linear(4, 4), counter()).init(key)[0].keys() == {"1"}


def test_positional_layers_are_numbered_and_named_ones_named(key):
    assert list(nn.serial(nn.linear(4, 4), nn.linear(4, 4)).init(key)[0]) == ["0", "1"]
    assert list(nn.serial(a=nn.linear(4, 4)).init(key)[0]) == ["a"]


def test_a_shared_child_has_one_set_of_params(key):
    layer = nn.compose(lambda x, a: a(a(x)), a=nn.linear(4, 4))
    params, _ = layer.init(key)
    assert tree.paths(params) == ["a.bias", "a.weight"]
    once, _ = nn.linear(4, 4).apply(params["a"], {}, X, train=False)
    twice, _ = nn.linear(4, 4).apply(params["a"], {}, once, train=False)
    assert mx.array_equal(layer.apply(params, {}, X, train=False)[0], twice)


def test_the_state_of_a_shared_child_moves_twice(key):
    layer = nn.compose(lambda x, a: a(a(x)), a=counter())
    params, state = layer.init(key)
    y, state = layer.apply(params, state, X, train=True)
    assert state["a"]["calls"].item() == 2
    assert y.tolist() == (X + 0 + 1).tolist()


def test_a_shared_child_has_two_keys(key):
    layer = nn.compose(lambda x, a: a(a(x)), a=noise())
    two, _ = layer.apply({}, {}, mx.zeros(3), train=True, key=key)
    once, _ = nn.compose(lambda x, a: a(x), a=noise()).apply(
        {}, {}, mx.zeros(3), train=True, key=key
    )
    assert not mx.allclose(two, 2 * once)


def test_siblings_and_levels_have_different_keys(key):
    inner = nn.serial(a=noise(), b=noise())
    layer = nn.compose(
        lambda x, inner, a, b: mx.stack([inner(x), a(x), b(x)]),
        inner=inner,
        a=noise(),
        b=noise(),
    )
    y, _ = layer.apply({}, {}, mx.zeros(4), train=True, key=key)
    assert len({tuple(row) for row in y.tolist()}) == 3


def test_another_child_leaves_the_keys_of_the_others_alone(key):
    def last(layers):
        layer = nn.compose(lambda x, **c: c["last"](x), **layers, last=noise())
        return layer.apply({}, {}, mx.zeros(4), train=True, key=key)[0]

    assert mx.array_equal(last({}), last({"first": noise()}))


def test_without_a_key_no_child_gets_one():
    seen = []

    def apply(params, state, x, /, *, train, key=None):
        seen.append(key)
        return x, state

    run(nn.serial(nn.serial(nn.Layer(lambda key: ({}, {}), apply))), train=True)
    assert seen == [None]


def test_apply_leaves_its_arguments_as_they_are(key):
    layer = nn.serial(nn.linear(4, 4), counter(), nn.residual(nn.serial(counter())))
    params, state = layer.init(key)
    kept = tree.map(lambda x: x, (params, state))
    ids = [id(leaf) for leaf in tree.leaves((params, state))]
    _, new_state = layer.apply(params, state, X, train=True, key=key)
    assert equal((params, state), kept)
    assert [id(leaf) for leaf in tree.leaves((params, state))] == ids
    assert new_state["1"]["calls"].item() == 1 and state["1"]["calls"].item() == 0


def test_a_failed_apply_changes_nothing(key):
    def fails(x):
        raise ZeroDivisionError

    layer = nn.serial(counter(), fails)
    params, state = layer.init(key)
    with pytest.raises(ZeroDivisionError):
        layer.apply(params, state, X, train=True)
    assert state["0"]["calls"].item() == 0


def test_compiled_and_eager_agree_with_state_and_keys(key):
    layer = nn.serial(nn.linear(4, 4, bias=False), nn.dropout(0.5), counter())
    params, state = layer.init(key)

    @jit
    def compiled(params, state, x, key):
        return layer.apply(params, state, x, train=True, key=key)

    got, want = (
        fn(params, state, X, key=key)
        for fn in (
            compiled,
            lambda p, s, x, key: layer.apply(p, s, x, train=True, key=key),
        )
    )
    assert mx.allclose(got[0], want[0], atol=1e-6) and equal(got[1], want[1])


def test_inputs_and_outputs_may_be_trees():
    layer = nn.serial(lambda pair: pair[0] + pair[1], lambda x: {"y": x})
    y, _ = layer.apply({}, {}, (X, X), train=False)
    assert mx.array_equal(y["y"], 2 * X)


def test_residual_adds_its_input_or_its_shortcut():
    assert run(nn.residual(mx.negative))[0].tolist() == (X - X).tolist()
    y, _ = run(nn.residual(mx.negative, lambda x: 3 * x))
    assert y.tolist() == (2 * X).tolist()
    numpy, _ = nn.residual(nn.identity).apply({}, {}, np.ones(2), train=True)
    assert numpy.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("shape", [(5, 1), (1, 4), (5,)])
def test_residual_broadcasts_nothing(shape):
    with pytest.raises(
        ValueError, match=r"residual: body\(x\) and shortcut\(x\) must have"
    ):
        run(nn.residual(lambda x: mx.ones(shape)))


def test_frozen_gives_no_gradient_and_keeps_its_state(key):
    layer = nn.frozen(nn.serial(nn.linear(4, 4), counter(), nn.dropout(0.5)))
    params, state = layer.init(key)
    y, new_state = layer.apply(params, state, X, train=True)
    again, _ = layer.apply(params, state, X, train=False)
    assert equal(new_state, state) and mx.array_equal(y, again)
    grads = grad(lambda p: mx.sum(layer.apply(p, state, X, train=True)[0]))(params)
    assert all(mx.all(g == 0) for g in tree.leaves(grads))
    slope = grad(lambda x: mx.sum(layer.apply(params, state, x, train=True)[0]))(X)
    assert mx.any(slope != 0)


def test_frozen_takes_plain_functions():
    assert run(nn.frozen(mx.negative))[0].tolist() == (-X).tolist()
    with pytest.raises(TypeError, match="frozen: layer must be a layer or a function"):
        nn.frozen(3)
