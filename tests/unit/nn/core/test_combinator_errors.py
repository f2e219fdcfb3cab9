"""compose, serial, residual, frozen: every wrong use, and where in a model it is."""

import mlx.core as mx
import mlx.nn
import numpy as np
import pytest

from lucid_fn import grad, jit, nn, random, tree
from tests.strategies import counter

X = mx.ones((5, 4))


def own(init=lambda key: ({}, {}), apply=lambda p, s, x: (x, s)):
    """A hand-written layer."""

    def apply_(params, state, x, /, *, train, key=None):
        return apply(params, state, x)

    return nn.Layer(init, apply_)


def run(layer, x=X, train=False, key=None):
    params, state = layer.init(random.key(0))
    return layer.apply(params, state, x, train=train, key=key)


NESTED = nn.serial(
    stem=nn.linear(4, 4),
    body=nn.serial(
        nn.residual(nn.serial(fc=nn.linear(4, 4), drop=nn.dropout(0.5))),
        nn.linear(3, 4),
    ),
)


def without_fc(params):
    return tree.partition(lambda path: "fc" not in path, params)[0]


def called(params, x=X, **options):
    return NESTED.apply(params, {}, x, **{"train": False, **options})


WRONG = {
    "a size deep inside": (
        called,
        ValueError,
        r"linear: x must have shape \(\.\.\., 3\), got \(5, 4\)",
        "body.1",
    ),
    "the size of the input": (
        lambda p: called(p, X[:, :2]),
        ValueError,
        r"linear: x must have shape \(\.\.\., 4\), got \(5, 2\)",
        "stem",
    ),
    "no key": (
        lambda p: called(p, train=True),
        ValueError,
        "dropout: train=True needs a key, got None; call apply",
        "body.0.body.drop",
    ),
    "a key that is a number": (
        lambda p: called(p, train=True, key=0),
        TypeError,
        r"key must be a key \(uint32, shape \(2,\)\), got 0; make one with random.key",
        "stem",
    ),
    "a key of init that is a number": (
        lambda p: NESTED.init(0),
        TypeError,
        "key must be a key .* got 0",
        "stem",
    ),
    "a missing parameter": (
        lambda p: called(without_fc(p)),
        ValueError,
        "params must hold 'weight', got nothing; were they made",
        "body.0.body.fc",
    ),
    "an input that is a list": (
        lambda p: called(p, [1.0]),
        TypeError,
        "linear: x must be an MLX array, got list",
        "stem",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_notes_the_path_of_the_layer(key, what):
    call, kind, words, path = WRONG[what]
    params, _ = NESTED.init(key)
    with pytest.raises(kind, match=words) as error:
        call(params)
    assert error.value.__notes__ == [f"in layer {path}"]


def test_other_notes_are_kept():
    def fails(x):
        error = ValueError("no")
        error.add_note("a note")
        raise error

    with pytest.raises(ValueError, match="no") as error:
        run(nn.serial(a=nn.serial(b=fails)))
    assert error.value.__notes__ == ["a note", "in layer a.b"]


def test_the_path_is_there_under_jit_and_grad(key):
    params, _ = NESTED.init(key)
    for wrap in (jit, grad):
        with pytest.raises(ValueError) as error:
            wrap(lambda p: mx.sum(NESTED.apply(p, {}, X, train=False)[0]))(params)
        assert error.value.__notes__ == ["in layer body.1"]


@pytest.mark.parametrize(
    ("params", "state", "kind", "words"),
    [
        (
            "pair",
            {},
            TypeError,
            r"params must be a dict .* got tuple; init returns the",
        ),
        (
            "params",
            None,
            TypeError,
            "state must be a dict as init returns it, got NoneType",
        ),
        ("params", "pair", TypeError, "state must be a dict .* got tuple"),
        ("state", "params", ValueError, "params must hold 'weight', got nothing"),
        (
            {"fc": {}},
            {},
            ValueError,
            r"params must hold names of children \(0, 1\), got fc; were they",
        ),
        (
            "params",
            {"7": {}},
            ValueError,
            r"state must hold names of children .* got 7",
        ),
        ({"0": {}}, {}, ValueError, "params must hold 'weight', got nothing"),
        ({"0": mx.ones(2)}, {}, TypeError, "params must be a dict .* got array"),
        (
            "other",
            {},
            ValueError,
            r"params\['weight'\] must have shape \(4, 4\), got \(9",
        ),
    ],
)
def test_wrong_params_and_state_are_told(key, params, state, kind, words):
    layer = nn.serial(nn.linear(4, 4), counter())
    made = layer.init(key)
    named = {
        "pair": made,
        "params": made[0],
        "state": made[1],
        "other": nn.serial(nn.linear(4, 9)).init(key)[0],
    }
    params, state = (
        named.get(v, v) if isinstance(v, str) else v for v in (params, state)
    )
    with pytest.raises(kind, match=f"(apply|linear): {words}"):
        layer.apply(params, state, X, train=False)


@pytest.mark.parametrize("train", [None, 1, "eval", mx.array(True), np.True_])
def test_train_must_be_a_bool(train):
    with pytest.raises(TypeError, match="apply: train must be True or False, got"):
        run(nn.serial(mx.tanh), train=train)


def test_train_that_jit_got_as_an_array_is_told():
    layer = nn.serial(mx.tanh)
    with pytest.raises(TypeError, match="train must be True or False, got an array"):
        jit(lambda t: layer.apply({}, {}, X, train=t))(1)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (own(apply=lambda p, s, x: x), r"return the pair \(y, state\), got array"),
        (own(apply=lambda p, s, x: x[:2]), r"return the pair \(y, state\), got array"),
        (
            own(apply=lambda p, s, x: (x, s, 1)),
            r"return the pair \(y, state\), got tuple",
        ),
        (
            own(apply=lambda p, s, x: None),
            r"return the pair \(y, state\), got NoneType",
        ),
        (
            own(apply=lambda p, s, x: (x, None)),
            "return state as a dict, got NoneType; a",
        ),
        (own(apply=lambda p, s, x: (x, x)), "return state as a dict, got array"),
        (own(init=lambda k: {"w": X}), r"return the pair \(params, state\), got dict"),
        (
            own(init=lambda k: {"w": 1, "b": 2}),
            r"return the pair \(params, state\), got",
        ),
        (own(init=lambda k: (X, {})), "return params as a dict, got array"),
        (own(init=lambda k: (mx.array(0.0), {})), "return params as a dict, got array"),
        (
            own(init=lambda k: ({}, None)),
            "return state as a dict, got NoneType; a layer w",
        ),
    ],
)
def test_a_child_that_returns_something_else_is_told(layer, words):
    with pytest.raises(TypeError, match=f"(init|apply): a layer must {words}") as error:
        run(nn.serial(a=layer))
    assert error.value.__notes__ == ["in layer a"]


def two(x, conv1, bn1):
    return bn1(conv1(x))


BUILT_WRONG = {
    "a name that is not forward's": (
        lambda: nn.compose(two, conv1=mx.abs, bn=mx.abs),
        r"compose: .*\(x, conv1, bn1\) does not accept the children conv1, bn: .*bn1"
        r".*; write it as forward\(x, conv1, bn\)",
    ),
    "a child too few": (
        lambda: nn.compose(two, conv1=mx.abs),
        "compose: .*children conv1: missing a required argument: 'bn1'",
    ),
    "a child too many": (
        lambda: nn.compose(two, conv1=mx.abs, bn1=mx.abs, extra=mx.abs),
        "compose: .*children conv1, bn1, extra: .*unexpected keyword argument 'extra'",
    ),
    "a key among the children": (
        lambda: nn.compose(lambda x, a, key: x, a=mx.abs),
        r"compose: .*missing .* 'key'; write train and key after a \*",
    ),
    "a child called like the input": (
        lambda: nn.compose(lambda x, y: x, x=mx.abs, y=mx.abs),
        "compose: .* accept the children x, y: multiple values for argument 'x'",
    ),
    "a layer for forward": (
        lambda: nn.compose(nn.linear(2, 2), a=mx.abs),
        r"compose: .*\(x, \*\*children\), got Layer; to chain layers use serial",
    ),
    "nothing for forward": (
        lambda: nn.compose(None),
        "compose: forward must be a function .* got NoneType",
    ),
    "a builtin for forward": (
        lambda: nn.compose(mx.add, a=mx.abs),
        "compose: forward must be a Python function .* whose signature is not known",
    ),
    "a class for a layer": (
        lambda: type("Net", (nn.Layer,), {}),
        r"Layer: Net needs no class; .* as in nn\.compose\(forward, fc=",
    ),
    "a name for an activation": (
        lambda: nn.transformer_encoder_layer(2, 1, activation="gelu"),
        r"activation must be a function .*, got 'gelu'; write nn\.gelu$",
    ),
    "a number": (
        lambda: nn.serial(a=3),
        "serial: child 'a' must be a layer or a function on arrays, got int 3",
    ),
    "None": (
        lambda: nn.serial(mx.abs, None),
        "serial: child '1' must be a layer or a function on arrays, got NoneType None",
    ),
    "a list of layers": (
        lambda: nn.serial([nn.linear(2, 2)]),
        r"serial: child '0' .* a list of layers; unpack it, as in serial\(\*layers",
    ),
    "a constructor": (
        lambda: nn.serial(nn.linear(2, 2), nn.dropout),
        r"serial: child '1' is `dropout`, a constructor .* as in dropout\(",
    ),
    "the body of a residual": (
        lambda: nn.residual(3),
        "residual: child 'body' must be a layer or a function on arrays, got int 3",
    ),
}


@pytest.mark.parametrize("what", BUILT_WRONG)
def test_wrong_children_are_told_when_the_layer_is_built(what):
    make, words = BUILT_WRONG[what]
    with pytest.raises(TypeError, match=words):
        make()


def test_what_a_layer_does_not_hold_is_told_where_it_is():
    with pytest.raises(AttributeError, match=r"has no 'parameters'; .* layer\.init\("):
        nn.linear(2, 2).parameters()


def test_a_name_with_a_dot_is_a_value_error():
    with pytest.raises(
        ValueError, match=r"serial: .* must not contain a dot, got 'a\.b'"
    ):
        nn.serial(**{"a.b": mx.abs})


def test_serial_is_all_positional_or_all_named():
    with pytest.raises(
        TypeError, match="serial: layers must be all positional or all na"
    ):
        nn.serial(mx.abs, a=mx.abs)


def test_the_branches_of_a_residual_return_arrays(key):
    block = nn.residual(nn.gru(4, 4))
    message = r"residual: body\(x\) must be an MLX array, got SequenceAndCarry; take"
    with pytest.raises(TypeError, match=message):
        block.apply(*block.init(key), mx.ones((2, 3, 4)), train=False)


def test_modules_of_other_libraries_are_refused():
    with pytest.raises(
        TypeError, match=r"serial: child 'a' must be .* mlx\.nn's Linear, whose param"
    ):
        nn.serial(a=mlx.nn.Linear(4, 4), b=nn.linear(4, 2))
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"lift: fn must be .* torch\.nn's ReLU"):
        nn.lift(torch.nn.ReLU())


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (
            lambda x, a: a(x, train=False),
            r"child 'a' must be called .* a\(x\), got train; train, key, params",
        ),
        (lambda x, a: a(x, x), r"got 2 arguments; .* as in a\(\(x, y\)\)"),
        (lambda x, a: a(), "got 0 arguments"),
        (lambda x, a: a(y=x), "got y; "),
        (
            lambda x, a: a(x, lengths=x),
            r"got lengths; write a\(nn\.RecurrentInputs\(x, carry, lengths\)\)",
        ),
        (
            lambda x, a: a(x, mask=x),
            r"got mask; write a\(nn\.AttentionInputs\(query, key, value, mask\)\)",
        ),
        (
            lambda x, a: a(x, x, x),
            r"got 3 arguments; .* or a\(nn\.AttentionInputs\(query, key, value\)\) for",
        ),
    ],
)
@pytest.mark.parametrize("examplewise", [False, True])
def test_a_bound_child_is_called_with_its_input_alone(forward, message, examplewise):
    model = nn.compose(forward, a=nn.linear(4, 4), examplewise=examplewise)
    with pytest.raises(TypeError, match=f"^compose: .*{message}") as caught:
        run(model)
    assert caught.value.__notes__ == ["in layer a"]


def test_a_bound_child_takes_its_input_by_name_as_well():
    children = {"a": nn.linear(4, 4)}
    by_name = nn.compose(lambda x, a: a(x=x), **children)
    by_position = nn.compose(lambda x, a: a(x), **children)
    np.testing.assert_array_equal(run(by_name)[0], run(by_position)[0])
