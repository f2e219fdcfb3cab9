"""Gradients over trees: against MLX, and every message."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import (
    checkpoint,
    grad,
    jvp,
    random,
    stop_gradient,
    tree,
    value_and_grad,
    vjp,
)
from tests.strategies import Pair, equal

V = mx.array([1.0, 2.0])
ONE = mx.array(1.0)


def square(x):
    return mx.sum(x**2)


def network(params, x):
    h = mx.tanh(x @ params["layers"][0]["w"])
    return mx.mean(h @ params["layers"][1]["w"] @ params["b"])


def network_params(key):
    a, b = random.split(key)
    layers = [{"w": random.normal(a, (3, 4))}, {"w": random.normal(b, (4, 2))}]
    return {"layers": layers, "b": mx.array([0.1, -0.2])}


def test_values_and_gradients_are_those_of_mlx(key):
    params, x = network_params(key), random.normal(key, (5, 3))
    value, grads = value_and_grad(network)(params, x)
    expected_value, expected = mx.value_and_grad(network)(params, x)
    assert mx.array_equal(value, expected_value)
    assert equal(grads, expected)
    assert equal(grad(network)(params, x), expected)


@pytest.mark.parametrize("argnums", [0, 1, -1, -2, (0, 1), [1, 0], (0, -1), (0, 0), ()])
def test_argnums_choose_the_arguments(argnums):
    def fn(x, y):
        return mx.sum(x * x * y)

    by_place = {0: [4.0, 12.0], 1: [1.0, 4.0]}
    grads = grad(fn, argnums)(V, V + 1)
    if isinstance(argnums, int):
        assert grads.tolist() == by_place[argnums % 2]
    else:
        assert isinstance(grads, tuple)
        assert [g.tolist() for g in grads] == [by_place[i % 2] for i in argnums]


def test_arguments_that_are_not_chosen_may_be_anything():
    def fn(option, x, *, scale, names=()):
        return mx.sum(x) * scale if option == "sum" else None

    assert grad(fn, 1)("sum", V, scale=3).tolist() == [3.0, 3.0]


def test_aux_passes_through():
    def fn(x):
        return mx.sum(x), {"twice": [2 * x, None, "text", 3], "pair": Pair(x, ())}

    (value, aux), grads = value_and_grad(fn, has_aux=True)(V)
    assert value.item() == 3 and grads.tolist() == [1.0, 1.0]
    assert aux["twice"][0].tolist() == [2.0, 4.0] and aux["twice"][1:] == [
        None,
        "text",
        3,
    ]
    assert type(aux["pair"]) is Pair
    grads, aux = grad(fn, has_aux=True)(V)
    assert grads.tolist() == [1.0, 1.0] and aux["twice"][3] == 3


def test_gradients_have_the_structure_of_the_argument():
    params = Pair({"b": V, "a": [V, None, ()]}, (mx.array(2.0), {}))

    def fn(p):
        return mx.sum(p.first["b"] * p.first["a"][0]) * p.second[0]

    grads = grad(fn)(params)
    assert tree.flatten(grads)[1] == tree.flatten(params)[1]
    assert grads.first["b"].tolist() == [2.0, 4.0] and grads.second[0].item() == 5


def test_unused_arguments_have_zero_gradients():
    grads = grad(lambda p: square(p["a"]))({"a": V, "b": V})
    assert grads["b"].tolist() == [0.0, 0.0]
    assert grad(lambda x: mx.array(2.0))(V).tolist() == [0.0, 0.0]


def test_an_empty_tree_has_the_empty_gradient():
    value, grads = value_and_grad(lambda p: mx.array(1.0))({})
    assert value.item() == 1 and grads == {}


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32])
def test_gradients_have_the_dtype_of_the_argument(dtype):
    assert grad(lambda x: square(x).astype(mx.float32))(V.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("x", [2.0, np.float32(2), np.array(2.0), mx.array(2.0)])
def test_floats_and_numpy_arrays_become_arrays(x):
    assert grad(lambda x: x**3)(x).item() == 12


def test_gradients_nest():
    assert grad(grad(grad(lambda x: x**4)))(2.0).item() == 48


def test_the_wrapped_function_keeps_its_name():
    assert grad(square).__name__ == value_and_grad(square).__name__ == "square"


@pytest.mark.parametrize(
    ("fn", "kind", "words"),
    [
        (
            lambda x: x * 2,
            ValueError,
            r"must have shape \(\), got \(2,\); reduce it with",
        ),
        (lambda x: mx.sum(x)[None], ValueError, r"must have shape \(\), got \(1,\)"),
        (
            lambda x: mx.sum(x).item(),
            TypeError,
            r"must be an array, got float 3\.0; a num",
        ),
        (lambda x: None, TypeError, "must be an array, got NoneType None"),
        (lambda x: np.zeros(()), TypeError, "must be an array, got ndarray"),
        (lambda x: mx.any(x), TypeError, "must be a float, got .*bool"),
        (lambda x: mx.array(1), TypeError, "must be a float, got .*int32"),
        (
            lambda x: (mx.sum(x), x),
            TypeError,
            "got tuple; to return more .* has_aux=True",
        ),
        (lambda x: [mx.sum(x)], TypeError, "got list; to return more"),
        (lambda x: {"loss": mx.sum(x)}, TypeError, "got dict; to return more"),
    ],
)
def test_a_loss_of_another_kind_is_an_error(fn, kind, words):
    for name, transform in (("grad", grad), ("value_and_grad", value_and_grad)):
        with pytest.raises(kind, match=rf"{name}: .*`<lambda>` .*{words}"):
            transform(fn)(V)


@pytest.mark.parametrize(
    ("fn", "got"),
    [
        (lambda x: mx.sum(x), "array"),
        (lambda x: (mx.sum(x), 1, 2), "tuple"),
        (lambda x: [mx.sum(x), 1], "list"),
    ],
)
def test_with_aux_a_pair_must_be_returned(fn, got):
    message = (
        rf"grad: with has_aux=True `<lambda>` must return \(loss, aux\), got {got}"
    )
    with pytest.raises(TypeError, match=message):
        grad(fn, has_aux=True)(V)


def test_with_aux_the_loss_is_checked_as_well():
    with pytest.raises(ValueError, match=r"must have shape \(\), got \(2,\)"):
        grad(lambda x: (x, None), has_aux=True)(V)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (mx.array([1, 2]), r"params must be a float array .* got int32 \(2,\); keep"),
        (3, "params must be a float array to be differentiated, got int 3;"),
        (True, "params must be .* got bool True"),
        ({"w": V, "step": mx.array(0)}, r"params\.step must be .* got int32 \(\)"),
        ({"w": [V, "a"]}, r"params\.w\.1 must be .* got str 'a'"),
        ({"w": np.array(["a"])}, r"params\.w must be .* got ndarray"),
    ],
)
def test_a_leaf_that_has_no_derivative_is_named(params, words):
    def loss(params):
        return mx.array(0.0)

    with pytest.raises(TypeError, match="value_and_grad: " + words):
        value_and_grad(loss)(params)


def test_a_leaf_of_args_is_named_by_its_place():
    with pytest.raises(TypeError, match=r"grad: args\[1\]\.a must be a float array"):
        grad(lambda *args: mx.sum(args[0]), (0, 1))(V, {"a": 1})


@pytest.mark.parametrize("argnums", [1, -2, (0, 3)])
def test_a_position_without_an_argument_is_a_value_error(argnums):
    message = (
        "grad: argnums must name a positional argument of `square`, got .* with 1 of"
    )
    with pytest.raises(ValueError, match=message):
        grad(square, argnums)(V)


def test_an_argument_given_by_name_is_not_found():
    with pytest.raises(ValueError, match=r"with 0 of them; .* is given by position"):
        grad(square)(x=V)


@pytest.mark.parametrize("argnums", ["x", 1.5, None, True, ("x",), (0, None)])
def test_argnums_of_another_kind_is_a_type_error(argnums):
    with pytest.raises(TypeError, match="grad: argnums must be the position of an arg"):
        grad(square, argnums)


@pytest.mark.parametrize("transform", [grad, value_and_grad, checkpoint])
def test_a_value_that_is_not_a_function_is_a_type_error(transform):
    with pytest.raises(
        TypeError, match=rf"{transform.__name__}: fn must be a function"
    ):
        transform({"not": "a function"})


def test_no_gradient_flows_through_a_stopped_tree():
    params = Pair({"w": V}, [V + 1, None])

    def loss(p):
        fixed = stop_gradient(p)
        return mx.sum(p.first["w"] * fixed.first["w"] * fixed.second[0])

    assert equal(grad(loss)(params), Pair({"w": V * (V + 1)}, [mx.zeros(2), None]))


def test_stop_gradient_keeps_values_and_leaves_that_are_not_arrays():
    values = {"a": V, "b": (3, "text", None), "c": mx.array([1, 2])}
    assert equal(stop_gradient(values), values)


@pytest.mark.parametrize("inner", [grad, lambda f: lambda x: vjp(f, x)[1](ONE)[0]])
def test_an_outer_derivative_follows_arrays_that_two_inner_ones_read(inner):
    """MLX loses track of an argument that one inner derivative only reads."""
    x = mx.array(3.0)

    def first_read_then_differentiated(x):
        read = inner(lambda y: y**2 * x)(x)  # 2 x^2
        return read + inner(lambda y: y**3)(x)  # 3 x^2

    assert grad(first_read_then_differentiated)(x).item() == 10 * 3
    _, slope = jvp(first_read_then_differentiated, (x,), (ONE,))
    assert slope.item() == 10 * 3


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda z: mx.abs(z) ** 2, 2 + 4j),
        (lambda z: mx.real(z * z), 2 - 4j),
        (lambda z: mx.imag(z), 1j),
        (lambda z: mx.real(mx.exp(1j * z)), None),
    ],
)
def test_a_complex_gradient_is_the_conjugate_of_jaxs(fn, expected):
    """dL/dx + i dL/dy of z = x + iy: the direction in which the loss grows."""
    z, step = 1 + 2j, 1e-2
    found = complex(grad(fn)(mx.array(z)).item())
    slopes = [
        (fn(mx.array(z + d)) - fn(mx.array(z - d))).item() / (2 * step)
        for d in (step, step * 1j)
    ]
    assert abs(found - (slopes[0] + 1j * slopes[1])) < 1e-3
    assert expected is None or abs(found - expected) < 1e-5
