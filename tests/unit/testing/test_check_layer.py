"""`check_layer` passes the library's layers, and catches broken ones."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random, testing, tree

X = random.normal(random.key(7), (4, 3))


def linear_with(change):
    """A linear layer whose `apply` is changed."""
    inner = nn.linear(3, 2)

    def apply(params, state, x, /, *, train, key=None):
        if not isinstance(train, bool):
            raise TypeError("apply: train must be a bool")
        return change(inner, params, state, x, train, key)

    return inner._replace(apply=apply)


def broken_laws(layer, x=X, **options):
    with pytest.raises(AssertionError) as failure:
        testing.check_layer(layer, x, **options)
    lines = str(failure.value).splitlines()[1:]
    return {line.split(":")[0].strip(): line for line in lines}


@pytest.mark.parametrize(
    "layer",
    [
        nn.linear(3, 2),
        nn.serial(nn.linear(3, 8), nn.relu, nn.dropout(0.5), nn.linear(8, 2)),
        nn.batch_norm(3),
        nn.lift(mx.tanh),
        mx.tanh,
        nn.serial(nn.linear(3, 4), nn.layer_norm(4), nn.gelu),
    ],
    ids=["linear", "serial", "batch_norm", "lift", "function", "norm"],
)
def test_layers_of_the_library_pass(layer):
    testing.check_layer(layer, X)


def test_an_input_of_several_arrays_and_numpy_arrays_are_taken():
    import numpy as np

    testing.check_layer(nn.linear(3, 2), np.ones((2, 3), np.float32))
    testing.check_layer(nn.bilinear(3, 2, 2), (X, X[:, :2]))
    testing.check_layer(nn.embedding(9, 2), mx.array([[1, 2], [8, 0]]))


def test_a_changed_argument_is_caught():
    def in_place(inner, params, state, x, train, key):
        x += 1
        return inner.apply(params, state, x, train=train, key=key)

    assert "changes its arguments" in broken_laws(linear_with(in_place))["purity"]


def test_a_memory_is_caught():
    calls = []

    def counting(inner, params, state, x, train, key):
        calls.append(1)
        y, state = inner.apply(params, state, x, train=train, key=key)
        return y * len(calls), state

    assert "is not deterministic" in broken_laws(linear_with(counting))["purity"]


def test_hidden_randomness_is_caught():
    def noisy(inner, params, state, x, train, key):
        y, state = inner.apply(params, state, x, train=train, key=key)
        return y + mx.random.normal(y.shape), state

    found = broken_laws(linear_with(noisy))
    assert "is not deterministic" in found["purity"]
    assert "random" in found["jit"]


def test_hidden_randomness_of_init_is_caught():
    layer = nn.parametric(
        lambda key: {"w": mx.random.normal((3,))}, lambda params, x: x * params["w"]
    )
    assert "for the same key" in broken_laws(layer)["init"]


def test_a_dropout_that_ignores_train_is_caught():
    dropout = nn.dropout(0.5)

    def always(inner, params, state, x, train, key):
        y, state = inner.apply(params, state, x, train=train, key=key)
        return dropout.apply({}, {}, y, train=True, key=key)[0], state

    assert "needs a key" in broken_laws(linear_with(always))["eval"]


def test_statistics_that_move_in_eval_mode_are_caught():
    inner = nn.batch_norm(3)

    def apply(params, state, x, /, *, train, key=None):
        if not isinstance(train, bool):
            raise TypeError("apply: train must be a bool")
        return inner.apply(params, state, x, train=True, key=key)

    found = broken_laws(inner._replace(apply=apply))
    assert "changes in eval mode" in found["eval"]
    assert "at least 2 values" in found["examples"]


def test_a_train_that_may_be_left_out_is_caught():
    inner = nn.linear(3, 2)

    def apply(params, state, x, /, *, train=False, key=None):
        return inner.apply(params, state, x, train=bool(train), key=key)

    assert "apply accepts no train" in broken_laws(inner._replace(apply=apply))["train"]


def test_a_state_that_grows_and_one_in_half_precision_are_caught():
    def growing(inner, params, state, x, train, key):
        y, _ = inner.apply(params, {}, x, train=train, key=key)
        return y, {**state, "seen": mx.array(1)} if train else state

    assert "becomes" in broken_laws(linear_with(growing))["state"]
    inner = nn.batch_norm(3)

    def halved(params, state, x, /, *, train, key=None):
        y, new = inner.apply(params, state, x, train=train, key=key)
        return y, tree.cast(new, x.dtype) if train else new

    found = broken_laws(inner._replace(apply=halved))
    assert "with mlx.core.float16" in found["state"]


def test_a_wrong_custom_gradient_is_caught():
    @lf.custom_vjp
    def double(x):
        return 2 * x

    double = double.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))
    found = broken_laws(nn.serial(nn.linear(3, 2), double))
    assert "the gradient gives" in found["gradient"]
    assert set(found) == {"gradient"}


def test_a_forgotten_gradient_is_caught():
    def stopped(inner, params, state, x, train, key):
        params = tree.map(mx.stop_gradient, params)
        return inner.apply(params, state, x, train=train, key=key)

    assert set(broken_laws(linear_with(stopped))) == {"gradient"}


def test_a_raw_custom_function_is_caught_under_vmap():
    @mx.custom_function
    def wrong(x):
        return 2 * mx.stop_gradient(x)

    @wrong.vjp
    def _(x, g, _):
        return 2 * g

    assert "vmap" in broken_laws(nn.serial(nn.linear(3, 2), nn.lift(wrong)))


def test_a_constant_that_widens_half_precision_is_caught():
    table = mx.array([1.0, 2.0, 3.0])
    found = broken_laws(nn.lift(lambda x: x * table))
    assert "float32; cast constants and values" in found["dtype"]


def test_values_that_cannot_be_compiled_are_caught():
    def branching(x):
        return x if mx.sum(x).item() > 0 else -x

    found = broken_laws(nn.lift(branching), mx.ones((2, 3)))
    assert "jit" in found
    assert "vmap" in found


def test_laws_can_be_left_out_by_name():
    across = nn.lift(lambda x: x - mx.mean(x, axis=0))
    assert set(broken_laws(across)) == {"examples"}
    testing.check_layer(across, X, skip=["examples"])
    with pytest.raises(ValueError, match="skip must be a collection of laws"):
        testing.check_layer(across, X, skip=["example"])
    with pytest.raises(TypeError, match="check_layer: layer must be a layer"):
        testing.check_layer(3, X)
