"""Functions that change arguments in place do not change the caller's."""

import mlx.core as mx
import pytest

import lucid_fn as lf


def cubes(a, b, *, c):
    a += 1
    b += 1
    c += 1
    return mx.sum(a**3 * b * c)


def pulled(fn):
    return lambda *args: lf.vjp(fn, *args)[1](mx.array(1.0))


def pushed(fn):
    return lambda *args: lf.jvp(fn, args, args)


TRANSFORMS = {
    "grad": lf.grad,
    "value_and_grad": lf.value_and_grad,
    "jacrev": lf.jacrev,
    "jacfwd": lf.jacfwd,
    "hessian": lf.hessian,
    "vmap": lf.vmap,
    "vmap, shared": lambda fn: lf.vmap(fn, in_axes=(0, None)),
    "jit": lf.jit,
    "checkpoint": lf.checkpoint,
}
DIRECTIONAL = {
    "vjp": pulled,
    "jvp": pushed,
    "hvp": lambda fn: lambda *args: lf.hvp(fn, args, args),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_arguments_stay_as_they_were(name):
    a, b, c = mx.array([1.0, 2.0]), mx.array([3.0, 4.0]), mx.array([5.0, 6.0])
    mx.eval(TRANSFORMS[name](cubes)(a, b, c=c))
    assert (a.tolist(), b.tolist()) == ([1.0, 2.0], [3.0, 4.0])
    assert c.tolist() == [5.0, 6.0]


@pytest.mark.parametrize("name", DIRECTIONAL)
def test_primals_stay_as_they_were(name):
    a, b = mx.array([1.0, 2.0]), mx.array([3.0, 4.0])
    result = DIRECTIONAL[name](lambda a, b: cubes(a, b, c=mx.array(0.0)))
    mx.eval(result(a, b))
    assert (a.tolist(), b.tolist()) == ([1.0, 2.0], [3.0, 4.0])


def test_derivatives_are_those_at_the_callers_point():
    def fn(x):
        x += 1
        return mx.sum(x**3)

    x = mx.array([1.0, 2.0])
    assert lf.jacrev(fn)(x).tolist() == [12.0, 27.0]
    assert lf.hessian(fn)(x).tolist() == [[12.0, 0.0], [0.0, 18.0]]
    _, pull = lf.vjp(fn, x)
    assert pull(mx.array(1.0))[0].tolist() == [12.0, 27.0]
