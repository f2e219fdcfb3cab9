"""Functions made of compiled ones, in the bodies of loops."""

import functools

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf

TRANSFORMED = {
    "grad": lf.grad,
    "value_and_grad": lambda f: lambda x: lf.value_and_grad(f)(x)[1],
    "vmap": lambda f: lambda x: lf.vmap(f)(x[None])[0],
    "wraps": lambda f: functools.wraps(f)(lambda x: 3 * f(x)),
    "jit": lambda f: f,
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_a_transformed_function_of_jit_stays_transformed_in_a_body(name):
    w, xs = mx.array(2.0), mx.array([1.0, 2.0])
    f = TRANSFORMED[name](lf.jit(lambda x: mx.sin(w * x)))
    expected = mx.stack([f(x) for x in xs])
    np.testing.assert_allclose(lf.map(lambda x: f(x), xs), expected, rtol=1e-6)
    _, found = lf.scan(lambda c, x: (c, f(x)), mx.array(0.0), xs)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
