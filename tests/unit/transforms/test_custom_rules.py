"""custom_vjp and custom_jvp: trees, constants, checks, and what they compose with."""

import collections

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import (
    checkpoint,
    custom_jvp,
    custom_vjp,
    grad,
    jacrev,
    jit,
    jvp,
    random,
    tree,
    vjp,
    vmap,
)
from tests.strategies import Pair

V = mx.array([1.0, 2.0])


def straight_through(x):
    """The rounding whose gradient is that of the identity."""
    return rounded(x)


rounded = custom_vjp(mx.round).defvjp(lambda x: (mx.round(x), None), lambda _, g: (g,))
OUTER = {
    "grad": lambda f: grad(lambda x: mx.sum(f(x))),
    "jit of grad": lambda f: jit(grad(lambda x: mx.sum(f(x)))),
    "grad of vmap": lambda f: grad(lambda x: mx.sum(vmap(f)(x))),
    "vmap of grad": lambda f: vmap(grad(f)),
    "grad of jit": lambda f: grad(lambda x: mx.sum(jit(f)(x))),
    "grad of checkpoint": lambda f: grad(lambda x: mx.sum(checkpoint(f)(x))),
    "vjp": lambda f: lambda x: vjp(f, x)[1](mx.ones_like(x))[0],
    "jacrev": lambda f: lambda x: mx.diag(jacrev(f)(x)),
    "mx.grad": lambda f: mx.grad(lambda x: mx.sum(f(x))),
}


@pytest.mark.parametrize("how", OUTER)
def test_a_rule_holds_under_every_transformation(how):
    x = mx.array([0.3, 1.7, 2.3])
    got = OUTER[how](lambda x: straight_through(x) * x)(x)
    assert mx.allclose(got, mx.round(x) + x)


def scaled_rule():
    @custom_vjp
    def scaled(params, x, power, *, unused=None):
        return {"y": (params["w"] * x[0]) ** power, "n": x[1] + 1}

    def fwd(params, x, power):
        return scaled(params, x, power), (params, x)

    def bwd(residuals, ct):
        params, _ = residuals
        return {"w": 10 * ct["y"], "key": None}, Pair(ct["y"] * params["w"], None), None

    return scaled.defvjp(fwd, bwd)


@pytest.mark.parametrize("outer", [lambda f: f, jit])
def test_trees_integers_keys_and_numbers_are_arguments(outer):
    params = {"w": V + 0, "key": random.key(0)}
    x = Pair(V + 1, mx.array([1, 2]))

    def loss(w, x0):
        out = scaled_rule()({**params, "w": w}, Pair(x0, x.second), 2)
        assert out["n"].dtype == mx.int32
        return mx.sum(out["y"] * V)

    dw, dx = outer(grad(loss, argnums=(0, 1)))(V + 0, V + 1)
    assert mx.array_equal(dw, 10 * V) and mx.array_equal(dx, V * V)


def test_the_order_of_an_ordered_dict_is_that_of_its_cotangents():
    swapped = custom_vjp(lambda d: d["b"] * d["a"]).defvjp(
        lambda d: (d["b"] * d["a"], None),
        lambda _, ct: (collections.OrderedDict(b=ct * 5, a=ct * 7),),
    )
    grads = grad(lambda d: mx.sum(swapped(d)))(collections.OrderedDict(b=V, a=V))
    assert grads["b"].tolist() == [5, 5] and grads["a"].tolist() == [7, 7]


def test_constants_come_first_and_arguments_may_be_given_by_name():
    def apply(fn, x, times):
        return fn(x) * times

    ruled = custom_vjp(apply, nondiff_argnums=(0, 2)).defvjp(
        lambda fn, x, times: (fn(x) * times, x), lambda fn, times, x, ct: (ct * times,)
    )
    assert grad(lambda x: mx.sum(ruled(mx.sin, times=3, x=x)))(V).tolist() == [3, 3]
    forward = custom_jvp(apply, nondiff_argnums=(0, 2)).defjvp(
        lambda fn, times, primals, tangents: (fn(*primals) * times, tangents[0] * 7)
    )
    assert jvp(lambda x: forward(mx.sin, x, 3), (V,), (V,))[1].tolist() == [7, 14]
    assert grad(lambda x: mx.sum(forward(mx.sin, x, 3)))(V).tolist() == [7, 7]


def test_the_function_is_called_without_a_derivative_and_fwd_with_one():
    called = []

    def note(name, out):
        called.append(name)
        return out

    f = custom_vjp(lambda x: note("fn", x * 2))
    f.defvjp(lambda x: note("fwd", (x * 2, None)), lambda _, ct: (note("bwd", ct),))
    f(V)
    assert called == ["fn"]
    grad(lambda x: mx.sum(f(x)))(V)
    assert called == ["fn", "fn", "fwd", "bwd"]


def test_a_tangent_may_be_of_some_arguments_alone():
    product = custom_jvp(lambda a, b: {"ab": a * b}).defjvp(
        lambda p, t: ({"ab": p[0] * p[1]}, {"ab": 2 * (t[0] * p[1] + p[0] * t[1])})
    )
    assert jvp(lambda a: product(a, V), (V,), (V,))[1]["ab"].tolist() == [2, 8]
    shared = vmap(lambda a, b: product(a, b)["ab"], in_axes=(0, None))
    slopes = grad(lambda b: mx.sum(shared(V, b)))(mx.array(3.0))
    assert slopes.item() == 2 * 3


def test_a_captured_array_that_has_changed_is_noticed_by_jit():
    factor = {"w": mx.array(2.0)}
    f = custom_vjp(lambda x: x * factor["w"]).defvjp(
        lambda x: (x * factor["w"], None), lambda _, ct: (ct,)
    )
    compiled = jit(lambda x: f(x))
    assert compiled(V).tolist() == [2, 4]
    factor["w"] = mx.array(3.0)
    with pytest.raises(ValueError, match="reads `factor`, which is not an argument"):
        compiled(V)


@pytest.mark.parametrize("part", ["fn", "fwd", "bwd"])
def test_a_closure_over_a_traced_array_is_an_error_and_no_zero_gradient(part):
    def loss(w):
        parts = {
            "fn": lambda x: x * 2,
            "fwd": lambda x: (x * 2, None),
            "bwd": lambda _, ct: (ct,),
        }
        traced = {
            "fn": lambda x: x * w,
            "fwd": lambda x: (x * w, None),
            "bwd": lambda _, ct: (ct * w,),
        }
        parts[part] = traced[part]
        return mx.sum(custom_vjp(parts["fn"]).defvjp(parts["fwd"], parts["bwd"])(V))

    with pytest.raises(ValueError, match="custom_vjp: `<lambda>` reads `w`, which is"):
        grad(loss)(mx.array(2.0))


def test_an_argument_that_hides_a_traced_array_is_an_error():
    f = custom_vjp(lambda g, x: g(x)).defvjp(
        lambda g, x: (g(x), None), lambda _, ct: (None, ct)
    )
    with pytest.raises(ValueError, match="custom_vjp: g of `<lambda>`, a function"):
        grad(lambda w: mx.sum(f(lambda x: x * w, V)))(mx.array(2.0))


def returning(cotangents):
    """The gradient with a rule that returns these."""
    f = custom_vjp(lambda p, x: p["w"] * x)
    f.defvjp(lambda p, x: (p["w"] * x, None), lambda _, ct: cotangents)
    return grad(lambda w: mx.sum(f({"w": w}, V)))(V)


WRONG = {
    "one for two": ((V,), ValueError, "must return one cotangent for each of 2 arg"),
    "three for two": ((V,) * 3, ValueError, "must return one cotangent for each of 2"),
    "no tuple": (V, TypeError, r"must return a tuple .*; write \(cotangent,\)"),
    "another structure": ((V, V), ValueError, r"must have its structure, dict\(w\), g"),
    "another name": (({"v": V}, V), ValueError, r"structure, dict\(w\), got dict\(v\)"),
    "another shape": (
        ({"w": V[0]}, V),
        ValueError,
        "argument 0, w` must have its sha",
    ),
    "another dtype": (
        ({"w": V.astype(mx.float16)}, V),
        TypeError,
        "argument 0, w` must have its dtype, .*float32, got .*float16; cast it",
    ),
    "a string": (({"w": "a"}, V), ValueError, "must have its shape, .* got str 'a'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_cotangent_is_named(what):
    cotangents, kind, words = WRONG[what]
    with pytest.raises(kind, match=f"^custom_vjp: .*{words}"):
        returning(cotangents)


def test_none_is_a_cotangent_of_zeros():
    assert returning(({"w": None}, None)).tolist() == [0, 0]
    assert returning((None, V)).tolist() == [0, 0]
    assert returning(({"w": np.ones(2)}, None)).tolist() == [1, 1]


JVP_RULES = {
    "no pair": (
        lambda p, t: t[0],
        TypeError,
        r"must return the pair \(y, tang",
    ),
    "a structure": (
        lambda p, t: (p[0], [t[0]]),
        ValueError,
        "must have the structure of the result",
    ),
    "a shape": (lambda p, t: (p[0], t[0][0]), ValueError, "must have the shape of"),
    "a dtype": (
        lambda p, t: (p[0], t[0].astype(mx.float16)),
        TypeError,
        "must have the dtype of the result",
    ),
}


@pytest.mark.parametrize("what", JVP_RULES)
@pytest.mark.parametrize("how", ["jvp", "grad"])
def test_a_wrong_tangent_is_named(what, how):
    rule, kind, words = JVP_RULES[what]
    f = custom_jvp(lambda x: x * 1).defjvp(rule)
    with pytest.raises(kind, match=f"^custom_jvp: .*{words}"):
        if how == "jvp":
            jvp(f, (V,), (V,))
        else:
            grad(lambda x: mx.sum(f(x)))(V)


@pytest.mark.parametrize("custom", [custom_vjp, custom_jvp])
def test_wrong_definitions_are_errors(custom):
    name = custom.__name__
    with pytest.raises(TypeError, match=f"{name}: fn must be a function, got int"):
        custom(3)
    with pytest.raises(TypeError, match="nondiff_argnums must be a tuple of positions"):
        custom(mx.sin, nondiff_argnums=0)
    with pytest.raises(ValueError, match=f"{name}: `f` must have a rule before it is"):

        def f(x):
            return x

        custom(f)(V)


def test_without_arrays_it_is_the_function():
    f = custom_vjp(lambda n: mx.arange(n)).defvjp(
        lambda n: (mx.arange(n), None), lambda _, ct: (None,)
    )
    assert f(3).tolist() == [0, 1, 2] and tree.leaves(f.__wrapped__(2))[0].size == 2


def test_the_rules_are_given_the_defaults_of_the_function():
    scaled = custom_vjp(lambda x, by=2.0: x * by)
    scaled.defvjp(lambda x, by: (x * by, by), lambda by, ct: (10 * by * ct, None))
    assert grad(lambda x: mx.sum(scaled(x)))(V).tolist() == [20, 20]
    assert grad(lambda x: mx.sum(scaled(x, by=3.0)))(V).tolist() == [30, 30]
