"""Derivatives have the closure of the call, as for functions made in Python loops."""

import mlx.core as mx
import pytest

import lucid_fn as lf

X = mx.array([0.5, 1.2])

CALLS = {
    "checkpoint": lambda fn, x: lf.checkpoint(fn)(x),
    "cond": lambda fn, x: lf.cond(mx.array(True), fn, lambda x: x, x),
    "fori_loop": lambda fn, x: lf.fori_loop(0, 1, lambda _, c: fn(c), x),
    "map": lambda fn, x: lf.map(fn, x),
    "scan": lambda fn, x: lf.scan(lambda c, _: (fn(c), None), x, None, length=1)[0],
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
transforms = pytest.mark.parametrize(
    "compile", [lambda fn: fn, lf.jit], ids=["", "jit"]
)


def plainly(fn, x):
    return fn(x)


def check(model, args, call, compile=lambda fn: fn):
    """The gradient of `model(call, args)` is that with plain calls."""
    found = compile(lf.grad(lambda args: model(call, args)))(args)
    expected = lf.grad(lambda args: model(plainly, args))(args)
    lf.testing.assert_close(found, expected)


@calls
@transforms
def test_a_loop_may_bind_the_params_anew_for_each_layer(call, compile):
    def model(call, weights):
        h = X
        for w in weights:
            h = call(lambda h: mx.sin(h * w), h)  # noqa: B023  # the point of it
        return mx.sum(h)

    check(model, [mx.array(0.5), mx.array(0.7), mx.array(1.3)], call, compile)


@calls
@transforms
def test_a_loop_may_bind_a_number_anew(call, compile):
    def model(call, x):
        for i in range(3):
            x = call(lambda x: mx.sin(x) * (i + 1), x)  # noqa: B023
        return mx.sum(x)

    check(model, X, call, compile)


@calls
def test_a_loop_may_bind_a_function_anew(call):
    def model(call, x):
        for layer in (mx.sin, lambda x: x * x, mx.tanh):
            x = call(lambda x: layer(x), x)  # noqa: B023
        return mx.sum(x)

    check(model, X, call)


@calls
@pytest.mark.parametrize("value", [2.0, mx.array(2.0)], ids=["number", "array"])
@pytest.mark.parametrize("kind", [list, dict])
def test_a_container_may_change_afterwards(call, value, kind):
    def model(call, x):
        held = kind([(0, value)]) if kind is dict else [value]
        x = call(lambda x: mx.sin(x) * held[0], x)
        held[0] = 100.0 * value
        y = mx.sum(x)
        held.clear()
        return y

    check(model, X, call)


def test_a_name_may_be_deleted_afterwards():
    def model(call, x):
        scale = 2.0 * x
        y = call(lambda x: mx.sin(x * scale), x)  # noqa: F821  # it is deleted below
        del scale
        return mx.sum(y)

    check(model, X, CALLS["checkpoint"])


def test_a_counter_is_counted_once():
    count = 0

    def counted(x):
        nonlocal count
        count += 1
        return mx.sin(x) * count

    found = mx.grad(lambda x: mx.sum(lf.checkpoint(counted)(x)))(X)
    assert mx.allclose(found, mx.cos(X)) and count == 1
