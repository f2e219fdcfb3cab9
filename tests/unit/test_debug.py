"""The layer in which numbers stop being finite is named, forward and backward."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import losses, nn, optim, random, train

X = mx.array([[1.0, 2.0], [-3.0, 0.5]])


def loss_of(model, head=mx.sum):
    params, state = model.init(random.key(0))

    def loss(params, x):
        y, _ = model.apply(params, state, x, train=True)
        return head(y)

    return loss, params


def positive(x):
    return x * x + 1


def test_finite_functions_are_finite():
    loss, params = loss_of(nn.serial(nn.linear(2, 3), nn.relu, nn.linear(3, 1)))
    assert lf.debug.nonfinite(loss, params, X) is None
    assert lf.debug.nonfinite(lambda x: {"y": x, "n": mx.array(1)}, X) is None


def test_the_first_layer_forward_is_named_however_deep_it_is():
    body = nn.serial(up=nn.linear(2, 3), log=lambda x: mx.log(-positive(x)))
    loss, params = loss_of(nn.serial(body=body, out=nn.linear(3, 1)))
    found = lf.debug.nonfinite(loss, params, X)
    assert (found.phase, found.path, found.where) == ("forward", "body.log", "output")
    assert (found.nans, found.infs, found.size) == (6, 0, 6)
    assert str(found).startswith("forward: in layer body.log: output: of 6 numbers 6")


def test_compiled_functions_are_looked_into():
    loss, params = loss_of(nn.serial(a=nn.linear(2, 2), log=lambda x: mx.log(x - x)))
    assert lf.debug.nonfinite(lf.jit(loss), params, X).path == "log"


def test_the_layer_that_makes_a_gradient_infinite_is_named():
    model = nn.serial(a=nn.linear(2, 3), zero=lambda x: 0 * x, root=mx.sqrt)
    loss, params = loss_of(model)
    found = lf.debug.nonfinite(loss, params, X)
    assert (found.phase, found.path) == ("backward", "root")
    assert found.where == "the gradient of its input"


def test_the_gradient_of_a_parameter_is_looked_at():
    scale = nn.parametric(
        lambda key: {"scale": mx.zeros((2,))},
        lambda params, x: x + mx.sqrt(params["scale"]),
    )
    loss, params = loss_of(nn.serial(scale=scale))
    found = lf.debug.nonfinite(loss, params, X)
    assert (found.path, found.leaf) == ("scale", "scale")
    assert found.where == "the gradient of its params"


def test_what_comes_after_the_layers_is_told_apart():
    loss, params = loss_of(
        nn.serial(a=nn.linear(2, 2)), lambda y: mx.log(mx.sum(0 * y))
    )
    found = lf.debug.nonfinite(loss, params, X)
    assert (found.phase, found.path) == ("forward", "")
    assert found.where == "what the function returns"
    loss, params = loss_of(
        nn.serial(a=nn.linear(2, 2)), lambda y: mx.sqrt(mx.sum(0 * y))
    )
    found = lf.debug.nonfinite(loss, params, X)
    assert found.where == "the gradient that reaches its output"


def test_arguments_that_are_not_finite_are_told_first():
    loss, params = loss_of(nn.serial(a=nn.linear(2, 2)))
    found = lf.debug.nonfinite(loss, params, mx.array([[mx.nan, 1.0]]))
    assert (found.where, found.leaf) == ("the arguments", "1")


def test_a_whole_training_step_is_looked_into():
    model = nn.serial(a=nn.linear(2, 3), zero=lambda x: 0 * x, root=nn.lift(mx.sqrt))
    optimizer = optim.adam(0.1)
    ts = train.init(model, optimizer, random.key(0))
    step = train.make_step(model, optimizer, losses.mse)
    found = lf.debug.nonfinite(step, ts, X, mx.zeros((2, 3)))
    assert (found.phase, found.path) == ("backward", "root")


def test_values_inside_of_vmap_are_passed_over():
    model = nn.serial(a=nn.linear(2, 2), log=lambda x: mx.log(0 * x))
    params, state = model.init(random.key(0))

    def each(x):
        return model.apply(params, state, x, train=True)[0]

    found = lf.debug.nonfinite(lf.vmap(each), X)
    assert found.where == "what the function returns"


def test_what_is_not_a_function_is_refused():
    with pytest.raises(TypeError, match="nonfinite: fn must be a function, got int"):
        lf.debug.nonfinite(3)


def test_leaves_of_one_path_are_told_apart_by_their_places():
    layer = nn.serial(
        inner=nn.lift(lambda x: {"sum": mx.sum(x["a.b"] * x["a"]["b"])}),
        outer=nn.lift(lambda y: y["sum"]),
    )

    def loss(w):
        x = {"a.b": w, "a": {"b": w}}
        return layer.apply({}, {}, x, train=False)[0]

    assert lf.debug.nonfinite(loss, mx.array(1.0)) is None
    assert lf.debug.nonfinite(loss, mx.array(float("inf"))) is not None
