"""Derivatives over trees: against MLX and finite differences, and every message."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import (
    checkpoint,
    grad,
    hvp,
    jit,
    jvp,
    losses,
    nn,
    random,
    tree,
    value_and_grad,
    vjp,
)
from lucid_fn.transforms import vmap
from tests.strategies import Pair, equal

V = mx.array([1.0, 2.0])


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


def test_what_is_not_used_has_the_gradient_zero():
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
def test_what_is_no_function_is_a_type_error(transform):
    with pytest.raises(
        TypeError, match=rf"{transform.__name__}: fn must be a function"
    ):
        transform({"not": "a function"})


def pair_fn(p, y):
    return {"product": p.first * y, "sum": [mx.sum(mx.sin(p.second))]}


PRIMALS = (Pair(V, mx.array([0.3])), V + 2)
TANGENTS = (Pair(mx.array([1.0, -1.0]), mx.array([2.0])), mx.array([0.5, 0.0]))


def test_jvp_is_that_of_mlx_on_the_flat_leaves():
    value, derivative = jvp(pair_fn, PRIMALS, TANGENTS)

    def flat(a, b, y):
        return tree.leaves(pair_fn(Pair(a, b), y))

    values, derivatives = mx.jvp(flat, tree.leaves(PRIMALS), tree.leaves(TANGENTS))
    assert equal(tree.leaves(value), values)
    assert equal(tree.leaves(derivative), derivatives)
    assert tree.flatten(derivative)[1] == tree.flatten(value)[1]


def test_vjp_is_the_transpose_of_jvp():
    value, derivative = jvp(pair_fn, PRIMALS, TANGENTS)
    same, pull = vjp(pair_fn, *PRIMALS)
    assert equal(same, value)
    cotangents = tree.map(lambda x: mx.cos(x), value)
    pulled = pull(cotangents)
    assert tree.flatten(pulled)[1] == tree.flatten(PRIMALS)[1]

    def inner(a, b):
        return sum(
            mx.sum(x * y) for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True)
        )

    assert mx.allclose(inner(cotangents, derivative), inner(pulled, TANGENTS))


def test_a_pullback_may_be_used_again():
    _, pull = vjp(lambda x: mx.sin(x), V)
    assert equal(pull(mx.ones(2)), pull(mx.ones(2)))


def test_tangents_take_the_dtype_of_the_primals():
    value, derivative = jvp(square, (V.astype(mx.float16),), (V,))
    assert value.dtype == derivative.dtype == mx.float16


def hessian_fn(p):
    return mx.sum(mx.sin(p["a"]) * p["b"] ** 2) + mx.exp(p["b"][0] * p["a"][1])


def test_hvp_is_the_dense_hessian_times_the_vector(key):
    a, b, c, d = (random.normal(k, (2,)) for k in random.split(key, 4))
    point, direction = {"a": a, "b": b}, {"a": c, "b": d}

    def flat(v):
        return hessian_fn({"a": v[:2], "b": v[2:]})

    x, v = mx.concatenate([a, b]), mx.concatenate([c, d])
    rows = [grad(lambda x, i=i: grad(flat)(x)[i])(x) for i in range(4)]
    dense = mx.stack(rows) @ v
    (product,) = hvp(hessian_fn, (point,), (direction,))
    assert mx.allclose(mx.concatenate([product["a"], product["b"]]), dense, atol=1e-4)


def test_hvp_is_the_slope_of_the_gradient(key):
    a, b, c, d = (random.normal(k, (2,)) for k in random.split(key, 4))
    point, direction = {"a": a, "b": b}, {"a": c, "b": d}
    (product,) = hvp(hessian_fn, (point,), (direction,))

    def gradient(t):
        return grad(hessian_fn)(tree.map(lambda x, v: x + t * v, point, direction))

    slope = tree.map(lambda p, m: (p - m) / 2e-2, gradient(1e-2), gradient(-1e-2))
    for name in point:
        assert mx.allclose(product[name], slope[name], atol=2e-2, rtol=2e-2)


def test_hvp_of_several_arguments_has_all_blocks():
    product = hvp(lambda x, y: mx.sum(x**2 * y), (V, V), (mx.ones(2), mx.zeros(2)))
    assert [p.tolist() for p in product] == [[2.0, 4.0], [2.0, 4.0]]


def test_hvp_of_a_linear_function_is_zero():
    assert hvp(mx.sum, (V,), (V,))[0].tolist() == [0.0, 0.0]


DIRECTIONAL = {"jvp": jvp, "hvp": hvp}


@pytest.mark.parametrize("name", DIRECTIONAL)
@pytest.mark.parametrize(
    ("primals", "tangents", "kind", "words"),
    [
        (
            V,
            (V,),
            TypeError,
            r"primals must be a tuple .* got array; write \(primal,\)",
        ),
        (
            (V,),
            V,
            TypeError,
            r"tangents must be a tuple .* got array; write \(tangent,\)",
        ),
        (
            (mx.array([1, 2]),),
            (V,),
            TypeError,
            r"primals\.0 must be a float array .* int32",
        ),
        ((V,), (mx.array([1, 2]),), TypeError, r"tangents\.0 must be a float array"),
        (
            ({"a": "b"},),
            (V,),
            TypeError,
            r"primals\.0\.a must be an array, got str 'b'",
        ),
        (
            (V,),
            (V[:1],),
            ValueError,
            r"tangents must have the shapes of primals, .* at 0",
        ),
        (
            (V,),
            (V, V),
            ValueError,
            r"\(tangents and primals\): structures differ: tuple",
        ),
        (({"a": V},), ({"b": V},), ValueError, r"differ at 0: dict\(b\) and dict\(a\)"),
    ],
)
def test_primals_and_tangents_must_match(name, primals, tangents, kind, words):
    with pytest.raises(kind, match=rf"{name}.*{words}"):
        DIRECTIONAL[name](square, primals, tangents)


def test_hvp_of_a_classifier_is_the_slope_of_its_gradient(key):
    layer = nn.serial(nn.conv2d(1, 2, 3), nn.flatten, nn.linear(8, 3))
    params, _ = layer.init(key)
    x, labels = random.normal(key, (2, 4, 4, 1)), mx.array([0, 2])
    direction = tree.map(mx.ones_like, params)

    def loss(p):
        return losses.cross_entropy(layer.apply(p, {}, x, train=True)[0], labels)

    def gradient(t):
        return grad(loss)(tree.map(lambda p, v: p + t * v, params, direction))

    (product,) = hvp(loss, (params,), (direction,))
    slope = tree.map(lambda p, m: (p - m) / 2e-2, gradient(1e-2), gradient(-1e-2))
    error = tree.global_norm(tree.map(mx.subtract, product, slope)).item()
    assert error < 1e-2 * tree.global_norm(slope).item()


@pytest.mark.parametrize(
    ("call", "note"),
    [
        (lambda: jvp(mx.cumprod, (V,), (V,)), "jvp: MLX has no such rule; use vjp"),
        (lambda: grad(singular)(mx.eye(2)), "grad: MLX has no such rule; use other"),
    ],
)
def test_a_rule_that_mlx_does_not_have_is_in_a_note(call, note):
    with pytest.raises((ValueError, RuntimeError)) as error:
        call()
    assert error.value.__notes__[0].startswith(note)


def singular(x):
    return mx.sum(mx.linalg.svd(x, stream=mx.cpu)[1])


def test_hvp_wants_a_scalar():
    with pytest.raises(ValueError, match=r"hvp: the loss that .* must have shape \(\)"):
        hvp(lambda x: x**2, (V,), (V,))


@pytest.mark.parametrize(
    "transform", [lambda f: jvp(f, (V,), (V,)), lambda f: vjp(f, V)]
)
def test_a_result_that_is_no_array_is_a_type_error(transform):
    with pytest.raises(
        TypeError, match=r"v?j?v?p: result must be an array, got str 'a'"
    ):
        transform(lambda x: "a")
    with pytest.raises(
        TypeError, match=r"v?j?v?p: result\.b must be an array, got str 'a'"
    ):
        transform(lambda x: {"a": x, "b": "a"})


def test_cotangents_must_match_the_value():
    _, pull = vjp(lambda x: {"y": x}, V)
    with pytest.raises(
        ValueError, match=r"vjp: cotangents must have the shapes .* at y"
    ):
        pull({"y": mx.ones(3)})
    with pytest.raises(
        ValueError, match=r"vjp \(cotangents and the value\): structures"
    ):
        pull({"z": V})


def test_vjp_wants_float_arrays():
    with pytest.raises(
        TypeError, match=r"vjp: primals\.0 must be a float array .* int32"
    ):
        vjp(square, mx.array(1))


@pytest.mark.parametrize("outer", [lambda f: f, jit])
def test_checkpoint_changes_neither_value_nor_gradient(key, outer):
    params, x = network_params(key), random.normal(key, (5, 3))
    saved = checkpoint(network)
    value, grads = outer(value_and_grad(lambda p, x: saved(p, x)))(params, x)
    expected_value, expected = value_and_grad(network)(params, x)
    assert mx.allclose(value, expected_value)
    for got, want in zip(tree.leaves(grads), tree.leaves(expected), strict=True):
        assert mx.allclose(got, want, atol=1e-6)


def test_checkpoint_computes_again_on_the_way_back():
    calls = []

    def counting(x):
        calls.append(1)
        return mx.sin(x)

    mx.eval(grad(lambda x: mx.sum(checkpoint(counting)(x)))(V))
    with_checkpoint, calls[:] = len(calls), []
    mx.eval(grad(lambda x: mx.sum(counting(x)))(V))
    assert with_checkpoint > len(calls) == 1


def test_checkpoint_takes_trees_constants_and_keywords():
    def fn(p, power, *, scale):
        return {"y": p["x"] ** power * scale, "none": None}

    out = checkpoint(fn)({"x": V}, 2, scale=mx.array(3.0))
    assert out["y"].tolist() == [3.0, 12.0] and out["none"] is None
    grads = grad(lambda s: mx.sum(checkpoint(fn)({"x": V}, 2, scale=s)["y"]))(2.0)
    assert grads.item() == 5


def test_checkpoint_works_under_vmap():
    assert vmap(checkpoint(mx.negative))(V).tolist() == [-1.0, -2.0]


def test_checkpoint_wants_arrays_back():
    with pytest.raises(TypeError, match="checkpoint: result must be an array, got str"):
        checkpoint(lambda x: "a")(V)
