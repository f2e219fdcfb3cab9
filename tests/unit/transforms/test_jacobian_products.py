"""jvp, vjp and hvp over trees: against each other and MLX, and every message."""

import mlx.core as mx
import pytest

from lucid_fn import grad, hvp, jit, jvp, losses, nn, random, tree, vjp
from tests.strategies import Pair, equal

V = mx.array([1.0, 2.0])


def square(x):
    return mx.sum(x**2)


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


def test_a_result_without_a_gradient_does_not_give_its_cotangent_to_another():
    _, pull = vjp(lambda x: (mx.stop_gradient(x), x * x), V)
    assert pull((10 * mx.ones(2), mx.ones(2)))[0].tolist() == [2.0, 4.0]


def test_compiling_runs_the_forward_pass_of_vjp_once(tmp_path):
    def fn(w):
        return mx.sin(mx.sin(w @ w) @ w)

    def products(outer, transform):
        mx.export_to_dot(str(tmp_path / "graph.dot"), outer(transform)(mx.eye(2)))
        return (tmp_path / "graph.dot").read_text().count("Matmul")

    def pulled(w):
        value, pull = vjp(fn, w)
        return value, pull(value)

    # Two forward, and four back: each has two factors.
    assert products(mx.compile, pulled) == 6
    assert products(lambda f: f, pulled) == 8


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
        (lambda: grad(singular)(mx.eye(2)), "grad: MLX has no rev"),
    ],
)
def test_a_rule_that_mlx_does_not_have_is_named(call, note):
    with pytest.raises((ValueError, RuntimeError)) as error:
        call()
    words = [str(error.value), *getattr(error.value, "__notes__", [])]
    assert any(line.startswith(note) for line in words)


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


@pytest.mark.parametrize("outer", [lambda fn: fn, jit], ids=["", "jit"])
def test_aux_is_returned_besides_as_in_jax(outer):
    def fn(x):
        return x**2, {"twice": 2 * x, "steps": 3}

    def run(x):
        value, pull, aux = vjp(fn, x, has_aux=True)
        return (value, pull(mx.ones(2))[0], aux), jvp(fn, (x,), (x,), has_aux=True)

    x = mx.array([1.0, 3.0])
    by_vjp, by_jvp = outer(run)(x)
    for (value, slope, aux), expected in (by_vjp, [2, 6]), (by_jvp, [2, 18]):
        assert value.tolist() == [1, 9] and slope.tolist() == expected
        assert aux["twice"].tolist() == [2, 6] and aux["steps"] == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda fn: vjp(fn, mx.ones(2), has_aux=True),
        lambda fn: jvp(fn, (mx.ones(2),), (mx.ones(2),), has_aux=True),
    ],
)
def test_a_function_with_aux_must_return_a_pair(call):
    with pytest.raises(TypeError, match=r"fn with has_aux=True must return .*aux"):
        call(lambda x: x)
