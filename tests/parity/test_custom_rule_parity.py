"""custom_vjp and custom_jvp: the derivatives that JAX computes with the same rules."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf

jax = pytest.importorskip("jax")
jnp = jax.numpy

X = np.array([1.0, 2.0, -3.0], np.float32)


def functions(lib, np_):
    """Functions with rules that are not their derivatives, so that a slip shows."""

    @lib.custom_vjp
    def reverse(x):
        return x

    reverse.defvjp(lambda x: (x, None), lambda _, ct: (-ct,))

    @lib.custom_vjp
    def calls_itself(x, y):
        return np_.sin(x) * y

    calls_itself.defvjp(
        lambda x, y: (calls_itself(x, y), (np_.cos(x), np_.sin(x), y)),
        lambda res, ct: (2 * ct * res[0] * res[2], res[1] * ct),
    )

    @lib.custom_vjp
    def tripled(x):
        return np_.sin(x)

    tripled.defvjp(lambda x: (np_.sin(x), np_.cos(x)), lambda cos, ct: (3 * ct * cos,))

    @lib.custom_jvp
    def relu(x):
        return np_.maximum(x, 0)

    relu.defjvp(
        lambda p, t: (relu(p[0]), np_.where(p[0] > 0, t[0], np_.zeros_like(t[0])))
    )

    @lib.custom_jvp
    def logsumexp(x):
        return np_.log(np_.sum(np_.exp(x)))

    def logsumexp_rule(primals, tangents):
        y = logsumexp(primals[0])
        return y, np_.sum(np_.exp(primals[0] - y) * tangents[0])

    logsumexp.defjvp(logsumexp_rule)

    @lib.custom_jvp
    def fivefold(x):
        return np_.sin(x)

    fivefold.defjvp(lambda p, t: (np_.sin(p[0]), 5 * np_.cos(p[0]) * t[0]))
    return {
        "reverse": reverse,
        "calls itself": lambda x: calls_itself(x, 2 * x),
        "tripled": tripled,
        "relu": relu,
        "logsumexp": logsumexp,
        "fivefold": fivefold,
    }


def derivatives(lib, np_, f):
    def loss(x):
        y = f(x)
        return np_.sum(y * y)

    def total(fn):
        return lambda x: np_.sum(fn(x))

    def along(fn):
        return lambda x: lib.jvp(fn, (x,), (x,))[1]

    twice = lib.grad(total(lib.grad(loss)))
    return {
        "value": f,
        "grad": lib.grad(loss),
        "grad of grad": twice,
        "grad of grad of grad": lib.grad(total(twice)),
        "vmap of grad": lib.vmap(lib.grad(loss)),
        "grad of vmap": lib.grad(total(lib.vmap(loss))),
        "vmap of grad of grad": lib.vmap(lib.grad(lib.grad(loss))),
        "jacrev of jacrev": lib.jacrev(lib.jacrev(loss)),
        "jvp": along(loss),
        "jvp of jvp": along(along(loss)),
        "grad of jvp": lib.grad(along(loss)),
        "jvp of grad": along(lib.grad(loss)),
    }


OURS, THEIRS = functions(lf, mx), functions(jax, jnp)
FORWARD = {"jvp", "jvp of jvp", "grad of jvp"}
CASES = [
    (name, how)
    for name, f in OURS.items()
    for how in derivatives(lf, mx, f)
    if not (name in ("reverse", "calls itself", "tripled") and how in FORWARD)
    # JAX has no forward derivative of a value that the backward rule depends on.
    and (name, how) != ("calls itself", "jvp of grad")
    # One number of several has no logsumexp.
    and not (name == "logsumexp" and "vmap" in how)
]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_derivatives_are_those_of_jax(name, how):
    ours = derivatives(lf, mx, OURS[name])[how]
    theirs = derivatives(jax, jnp, THEIRS[name])[how]
    got = ours(mx.array(X))
    if how == "grad of grad":  # each compiled function costs a kernel
        assert mx.allclose(lf.jit(ours)(mx.array(X)), got, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got, jax.jit(theirs)(X), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["reverse", "calls itself", "tripled"])
@pytest.mark.parametrize("how", sorted(FORWARD))
def test_a_reverse_rule_has_no_forward_derivative_in_either(name, how):
    with pytest.raises(TypeError, match="has a reverse derivative alone"):
        derivatives(lf, mx, OURS[name])[how](mx.array(X))
    with pytest.raises((TypeError, NotImplementedError)):
        derivatives(jax, jnp, THEIRS[name])[how](jnp.array(X))
