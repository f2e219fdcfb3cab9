"""Arrays converted to values: no gradient flows through them, and `grad` raises."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, hvp, jit, value_and_grad

V = mx.array([1.0, 2.0])

CONVERSIONS = {
    "np.array": lambda x: mx.sum(mx.array(np.array(x))),
    "item": lambda x: mx.array(x[0].item()),
    "tolist": lambda x: mx.sum(mx.array(x.tolist())),
    "float": lambda x: mx.array(float(x[0])),
    "numpy function": lambda x: mx.array(np.square(np.asarray(x)).sum()),
    "below jit": lambda x: jit(lambda y: mx.sum(y))(mx.array(np.array(x))),
}


@pytest.mark.parametrize("name", CONVERSIONS)
@pytest.mark.parametrize("transform", [grad, value_and_grad])
def test_a_loss_made_of_values_taken_out_is_an_error(name, transform):
    fn = CONVERSIONS[name]
    message = (
        rf"{transform.__name__}: .*test_conversions\.py:\d+: `\"{name}\".* takes the "
        "values out of an array, .* compute it with mlx.core"
    )
    with pytest.raises(TypeError, match=message):
        transform(fn)(V)


def test_the_loss_of_a_pair_is_looked_at():
    with pytest.raises(TypeError, match="takes the values out of an array"):
        grad(lambda x: (mx.array(x[0].item()), x), has_aux=True)(V)


def reads_to_look(x):
    assert float(x[0]) == 1.0
    return mx.sum(x**2)


def branches(x):
    return mx.sum(x) if (x > 9).any() else mx.array(0.0)


CONSTANT = {
    "constant": (lambda x: mx.array(1.0), [0.0, 0.0]),
    "stopped": (lambda x: mx.stop_gradient(mx.sum(x)), [0.0, 0.0]),
    "other branch": (branches, [0.0, 0.0]),
    "read beside": (reads_to_look, [2.0, 4.0]),
    "slope of linear": (lambda x: mx.sum(grad(mx.sum)(x)), [0.0, 0.0]),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_a_gradient_that_is_zero_indeed_is_no_error(name):
    fn, want = CONSTANT[name]
    assert grad(fn)(V).tolist() == want
    if name not in ("read beside", "other branch"):
        assert jit(grad(fn))(V).tolist() == want


def test_a_loss_whose_value_was_read_is_still_differentiated():
    seen = []

    def loss(x):
        out = mx.sum(x**2)
        seen.append(out.item())
        return out

    assert grad(loss)(V).tolist() == [2.0, 4.0] and seen == [5.0]
    assert hvp(loss, (V,), (V,))[0].tolist() == [2.0, 4.0]


def test_compiling_finds_a_value_that_is_only_a_part_of_the_loss():
    def loss(x):
        return mx.sum(x) * x[0].item()

    assert grad(loss)(V).tolist() == [1.0, 1.0]  # not the derivative
    with pytest.raises(TypeError, match=r"jit: .* needs the value of an array"):
        jit(grad(loss))(V)
