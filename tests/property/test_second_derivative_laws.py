"""Derivatives of derivatives, which `jit` must leave what they are."""

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import tree
from lucid_fn.testing import layer_laws as laws
from tests.assertions import assert_close
from tests.fusion import jitted
from tests.registry.case import over
from tests.registry.layers import LAYERS


def squares(values):
    floats = (x for x in tree.leaves(values) if mx.issubdtype(x.dtype, mx.floating))
    return sum((mx.sum(x * x) for x in floats), mx.array(0.0))


def second_derivatives(subject):
    """The gradient of the squared gradient, and its arguments."""
    given = {"params": subject.params}
    if all(x.dtype == mx.float32 for x in tree.leaves(subject.x)):
        given["x"] = subject.x

    def loss(given):
        x = given.get("x", subject.x)
        y, _ = subject.layer.apply(given["params"], subject.state, x, train=False)
        return squares(y)

    return lf.grad(lambda given: squares(lf.grad(loss)(given))), given


@over(LAYERS)
def test_compiled_second_derivatives_are_the_eager_ones(case):
    (x,) = case.inputs(np.random.default_rng(0))
    run, given = second_derivatives(laws.subject(case.make(), x, 0))
    if tree.leaves(given):
        assert_close(jitted(run, given), run(given), rtol=1e-4, of_largest=1e-5)
