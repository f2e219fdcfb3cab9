"""Captured values of functions inside other transformations."""

import functools
import types

import mlx.core as mx
import pytest

from lucid_fn import checkpoint, grad, jit, nn, random, scan, vmap
from lucid_fn.transforms import reads

ONE = mx.array(1.0)

weight = mx.array(2.0)


def test_a_model_trains_beside_a_compiled_function_that_gets_its_params():
    layer = nn.serial(nn.linear(2, 2, bias=False), nn.dropout(0.5))
    params, _ = layer.init(random.key(0))
    compiled = jit(lambda params, x: layer.apply(params, {}, x, train=False)[0])
    for _ in range(3):
        y = compiled(params, mx.ones((1, 2)))
        params = {"0": {"weight": params["0"]["weight"] + 1}}
    assert y.shape == (1, 2)


def test_a_closure_may_be_bound_after_jit_is_made():
    def make():
        compiled = jit(lambda x: inner(x) * scale)

        def inner(x):
            return mx.stack([x, x])

        scale = mx.array(3.0)
        return compiled

    assert make()(ONE).tolist() == [3.0, 3.0]


def test_a_name_that_is_never_bound_is_pythons_own_error():
    def make():
        def fn(x):
            return x + unbound

        if not ONE.size:
            unbound = 1
        return fn

    with pytest.raises(NameError, match="unbound"):
        jit(make())(ONE)


def test_an_array_that_is_an_argument_as_well_is_named():
    def step(x):
        return x * weight

    compiled = jit(step)
    with pytest.raises(
        ValueError, match="jit: `step` reads `weight`, which `step` is al"
    ):
        compiled(weight)
    assert compiled(ONE).item() == 2


HIDING = [
    lambda w: lambda x: x * w,
    lambda w: lambda x: x * {"a": [w]}["a"][0],
    lambda w: lambda x, w=w: x * w,
    lambda w: functools.partial(mx.multiply, w),
    lambda w: (lambda f: lambda x: f(x))(lambda x: x * w),
    lambda w: types.SimpleNamespace(f=lambda x: x * w).f,
]


def in_an_attribute(w):
    return lambda x, c=types.SimpleNamespace(w=w * 2): x * c.w  # noqa: B008


@pytest.mark.parametrize("make", [*HIDING, in_an_attribute])
def test_a_value_of_a_transformation_of_mlx_is_an_error_and_no_zero_gradient(make):
    outer = mx.grad(lambda w: mx.sum(jit(make(w))(mx.ones(2))))
    message = "jit: `.*` reads `?.*, which is not an argument but dep"
    with pytest.raises(ValueError, match=message):
        outer(mx.array(3.0))


def test_a_checkpoint_that_reads_a_param_in_an_attribute_is_an_error():
    outer = grad(lambda w: mx.sum(checkpoint(in_an_attribute(w))(mx.ones(2))))
    with pytest.raises(ValueError, match=r"checkpoint: `<lambda>` reads `c\.w`, which"):
        outer(mx.array(3.0))


CASES = [(jit, make) for make in (*HIDING, in_an_attribute)]
CASES += [(checkpoint, make) for make in HIDING]


@pytest.mark.parametrize(("transform", "make"), CASES)
def test_gradients_reach_captured_arrays(transform, make):
    def loss(w, x):
        return mx.sum(mx.sin(transform(make(w))(x)))

    def plain(w, x):
        return mx.sum(mx.sin(make(w)(x)))

    given = mx.array(3.0), mx.array([1.0, 2.0])
    for outer in (lambda f: f, jit, grad, lambda f: jit(grad(f))):
        found, expected = outer(grad(loss))(*given), outer(grad(plain))(*given)
        assert mx.allclose(found, expected)


def test_a_compiled_function_reads_tracers_around_it():
    def scaled(w):
        return jit(lambda x: x * w)(mx.ones(2))

    assert jit(scaled)(mx.array(3.0)).tolist() == [3.0, 3.0]
    assert vmap(scaled)(mx.array([1.0, 2.0])).tolist() == [[1.0] * 2, [2.0] * 2]
    total, _ = scan(lambda c, x: (c + mx.sum(scaled(c * x)), None), 1.0, mx.ones(2))
    assert total.item() == 9.0


def test_a_compiled_function_that_ran_inside_another_watches_its_captures():
    held = {"w": mx.array(2.0)}
    inner = jit(lambda x: x * held["w"])
    assert grad(lambda x: inner(x))(1.0).item() == 2
    assert inner(1.0).item() == 2
    held["w"] = mx.array(5.0)
    with pytest.raises(ValueError, match="has changed since"):
        inner(1.0)


@pytest.mark.parametrize("transform", [jit, checkpoint])
def test_a_captured_constant_inside_a_transformation_is_fine(transform):
    mask = mx.array([1.0, 0.0])
    fn = transform(lambda x: x * mask * weight)
    assert grad(lambda x: mx.sum(fn(x)))(mx.ones(2)).tolist() == [2.0, 0.0]
    made_inside = grad(lambda x: mx.sum(transform(lambda y: y * mask)(x)))
    assert made_inside(mx.ones(2)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("folder", ["/usr/lib/dist-packages", "/a/lib/site-packages"])
def test_a_package_of_another_environment_is_a_library(folder):
    namespace = {}
    exec(compile("def fn(): ...", f"{folder}/package/file.py", "exec"), namespace)
    assert reads.of_library(namespace["fn"])
