"""Derivatives inside losses, as in networks that solve differential equations."""

import mlx.core as mx
import pytest

from lucid_fn import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jit,
    jvp,
    value_and_grad,
    vjp,
    vmap,
)
from lucid_fn.tracing import any_traced

X = mx.array([1.0, 2.0])
ONES = mx.ones(2)
W = mx.array(0.5)


def wave(w, x):
    return mx.sin(w * x)


def slope(w):
    """The value of all inner derivatives of the first order."""
    return w * mx.cos(w * X)


def curvature(w):
    return -w * w * mx.sin(w * X)


def forward(fn, x):
    return jvp(fn, (x,), (ONES,))[1]


FIRST = {
    "jvp": lambda w: forward(lambda x: wave(w, x), X),
    "vjp": lambda w: vjp(lambda x: wave(w, x), X)[1](ONES)[0],
    "vmap of grad": lambda w: vmap(grad(lambda x: wave(w, x)))(X),
    "jacrev": lambda w: mx.diag(jacrev(lambda x: wave(w, x))(X)),
    "jacfwd": lambda w: mx.diag(jacfwd(lambda x: wave(w, x))(X)),
}
SECOND = {
    "jvp of jvp": lambda w: forward(lambda x: forward(lambda x: wave(w, x), x), X),
    "hvp": lambda w: hvp(lambda x: mx.sum(wave(w, x)), (X,), (ONES,))[0],
    "hessian": lambda w: mx.diag(hessian(lambda x: mx.sum(wave(w, x)))(X)),
}
CASES = {name: (fn, slope) for name, fn in FIRST.items()} | {
    name: (fn, curvature) for name, fn in SECOND.items()
}


@pytest.mark.parametrize("name", CASES)
def test_a_loss_made_of_derivatives_has_a_gradient(name):
    fn, by_hand = CASES[name]

    def loss(w):
        return mx.sum(fn(w) ** 2)

    want = mx.grad(lambda w: mx.sum(by_hand(w) ** 2))(W)
    assert mx.allclose(grad(loss)(W), want, rtol=1e-4)


def test_a_compiled_loss_made_of_derivatives_has_a_gradient():
    compiled = jit(grad(lambda w: mx.sum(FIRST["jvp"](w) ** 2)))
    want = mx.grad(lambda w: mx.sum(slope(w) ** 2))(W)
    assert mx.allclose(compiled(W), want, rtol=1e-4)


def test_a_compiled_function_of_a_derivative_does_not_cut_the_gradient():
    energy = jit(lambda u: mx.sum(u**2))
    value, gradient = value_and_grad(lambda w: energy(FIRST["jvp"](w)))(W)
    want, slopes = mx.value_and_grad(lambda w: mx.sum(slope(w) ** 2))(W)
    assert mx.allclose(value, want) and mx.allclose(gradient, slopes, rtol=1e-4)


def test_constants_and_arrays_that_depend_on_an_argument_are_distinguished():
    seen = []

    def loss(w):
        seen.extend([any_traced([w * X]), any_traced([X * 2, X]), any_traced([])])
        return mx.sum(w * X)

    grad(loss)(W)
    assert seen == [True, False, False]
    assert not any_traced([W * X])


def test_an_array_that_cannot_be_evaluated_may_be_looked_at():
    seen = []
    vmap(lambda x: (seen.append(x), x)[1])(X)
    assert not any_traced([seen[0] + 1])
