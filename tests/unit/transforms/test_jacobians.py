"""jacrev, jacfwd and hessian over trees: by hand, through layers, every message."""

import functools
import itertools

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import (
    checkpoint,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jit,
    losses,
    nn,
    random,
    tree,
    vjp,
    vmap,
)
from tests import assertions
from tests.strategies import Pair, equal

V = mx.array([1.0, 2.0])
JACOBIANS = {"jacrev": jacrev, "jacfwd": jacfwd}
ALL = JACOBIANS | {"hessian": hessian}

assert_close = functools.partial(assertions.assert_close, rtol=1e-5, atol=1e-5)
each_jacobian = pytest.mark.parametrize("jacobian", JACOBIANS.values(), ids=JACOBIANS)
each = pytest.mark.parametrize("name", ALL)


def bend(x):
    return mx.stack([x[0] * x[1], x[0] ** 2, 3 * x[1]])


def shapes(values):
    return tree.map(lambda x: x.shape, values)


@each_jacobian
def test_rows_belong_to_results_and_columns_to_arguments(jacobian):
    assert jacobian(bend)(V).tolist() == [[2.0, 1.0], [2.0, 0.0], [0.0, 3.0]]


@each_jacobian
def test_arrays_of_more_axes_keep_them(jacobian, key):
    x = random.normal(key, (2, 3))
    found = jacobian(mx.transpose)(x)  # (3, 2, 2, 3)
    swapped = mx.eye(6).reshape(2, 3, 2, 3).swapaxes(0, 1)
    assert mx.array_equal(found, swapped)


@each_jacobian
def test_a_tree_of_results_holds_trees_of_arguments(jacobian):
    def fn(p):
        return {"product": p.first[:, None] * p.second["b"], "sum": [mx.sum(p.first)]}

    found = jacobian(fn)(Pair(V, {"b": mx.array([5.0, 6.0, 7.0])}))
    assert isinstance(found["product"], Pair)
    assert found["product"].first.shape == (2, 3, 2)
    assert found["product"].second["b"].shape == (2, 3, 3)
    assert found["product"].second["b"][1].tolist() == (2 * mx.eye(3)).tolist()
    assert found["sum"][0].first.tolist() == [1.0, 1.0]
    assert found["sum"][0].second["b"].tolist() == [0.0, 0.0, 0.0]


@each_jacobian
@pytest.mark.parametrize("argnums", [0, 1, -1, (0, 1), [1, 0], (0, 0), ()])
def test_argnums_choose_the_arguments(jacobian, argnums):
    by_place = {0: [[2.0, 0.0], [0.0, 4.0]], 1: [1.0, 4.0]}
    found = jacobian(lambda x, y: x * x * y, argnums)(V, mx.array(1.0))
    if isinstance(argnums, int):
        assert found.tolist() == by_place[argnums % 2]
    else:
        assert isinstance(found, tuple)
        assert [j.tolist() for j in found] == [by_place[i % 2] for i in argnums]


@each_jacobian
def test_other_arguments_may_be_anything(jacobian):
    def fn(option, x, *, scale):
        return x * scale if option == "scale" else None

    found = jacobian(fn, 1)("scale", V, scale=3)
    assert found.tolist() == [[3.0, 0.0], [0.0, 3.0]]


@each_jacobian
@pytest.mark.parametrize("x", [2.0, np.float32(2.0), mx.array(2.0)])
def test_a_number_has_a_derivative(jacobian, x):
    found = jacobian(lambda x: x**3)(x)
    assert found.shape == () and found.item() == 12.0


@each_jacobian
def test_aux_passes_through(jacobian):
    aux = {"text": "a", "count": [3, None]}
    found, beside = jacobian(lambda x: (bend(x), {**aux, "x": 2 * x}), has_aux=True)(V)
    assert equal(found, jacobian(bend)(V))
    assert beside["text"] == "a" and beside["count"] == [3, None]
    assert beside["x"].tolist() == [2.0, 4.0]


@each_jacobian
def test_results_that_depend_on_no_argument_have_zeros(jacobian):
    def fn(x, y):
        return {"array": mx.ones(3), "number": 0.5, "stopped": mx.stop_gradient(x)}

    found = jacobian(fn, (0, 1))(V, 1.0)
    assert shapes(found["array"]) == ((3, 2), (3,))
    assert shapes(found["number"]) == ((2,), ())
    assert all(not mx.any(j).item() for j in tree.leaves(found))


@each_jacobian
def test_a_result_without_derivative_does_not_take_that_of_another(jacobian):
    first, second = jacobian(lambda x: (mx.stop_gradient(x), 2 * x))(V)
    assert first.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert second.tolist() == [[2.0, 0.0], [0.0, 2.0]]


@each
def test_empty_arrays_and_trees_have_empty_derivatives(name):
    twice = name == "hessian"
    transform = ALL[name]
    assert transform(lambda p: mx.ones(2))({}) == {}
    assert transform(lambda x: {"a": None})(V) == {"a": None}
    empty = mx.zeros((0, 3))
    found = transform(lambda x: x[..., 0])(empty)  # (0,) in (0, 3)
    assert found.shape == ((0, 0, 3, 0, 3) if twice else (0, 0, 3))
    found = transform(lambda p: [p["a"], p["b"] ** 2])({"a": empty, "b": V})[1]
    found = found["b"] if twice else found
    assert found["a"].shape == ((2, 2, 0, 3) if twice else (2, 0, 3))
    assert found["b"].shape == ((2, 2, 2) if twice else (2, 2))


@pytest.mark.parametrize(
    ("name", "dtype"), [("jacrev", "float16"), ("jacfwd", "float32")]
)
def test_dtypes_are_those_of_the_arguments_backward_and_of_the_results_forward(
    name, dtype
):
    found = ALL[name](lambda x: x.astype(mx.float32) ** 2)(V.astype(mx.float16))
    assert found.dtype == getattr(mx, dtype)


def test_the_jacobian_of_a_scalar_is_its_gradient(key):
    values = {"a": random.normal(key, (2, 3)), "b": V}

    def loss(p):
        return mx.sum(mx.sin(p["a"])) * mx.sum(p["b"])

    assert equal(jacrev(loss)(values), grad(loss)(values))


@each_jacobian
@pytest.mark.parametrize("size", [1, 3, 30])
def test_the_function_is_called_twice_for_any_number_of_entries(jacobian, size):
    calls = itertools.count()

    def fn(x):
        next(calls)
        return mx.sin(x)

    jacobian(fn)(mx.ones(size))
    assert next(calls) == 2


LAYERS = {
    "linear": (nn.serial(nn.linear(3, 4), nn.gelu, nn.linear(4, 2)), (2, 3)),
    "conv": (nn.serial(nn.conv2d(1, 2, 3), nn.tanh, nn.flatten), (2, 4, 4, 1)),
    "batch norm": (nn.batch_norm(3), (4, 3)),
    "norm": (nn.serial(nn.layer_norm(3), nn.softmax), (2, 3)),
    "pool": (nn.serial(nn.max_pool2d(3, stride=2, padding=1), nn.relu), (1, 4, 4, 1)),
    "attention": (nn.multi_head_attention(4, 2), (1, 2, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_jacobians_of_layers_are_rows_of_vjp(name, key):
    layer, shape = LAYERS[name]
    params, state = layer.init(key)
    x = random.normal(key, shape)

    def fn(params, x):
        return layer.apply(params, state, x, train=True)[0]

    y, pull = vjp(fn, params, x)
    units = mx.eye(y.size).reshape(y.size, *y.shape)
    rows = [pull(unit) for unit in units]
    stacked = tree.map(
        lambda *row: mx.stack(row).reshape(*y.shape, *row[0].shape), *rows
    )
    assert_close(jacrev(fn, (0, 1))(params, x), stacked)
    assert_close(jacfwd(fn, (0, 1))(params, x), stacked)


def test_jacobians_go_through_recurrences(key):
    layer = nn.gru(2, 3)
    params, _ = layer.init(key)

    def fn(x):
        return layer.apply(params, {}, x, train=False)[0]

    x = random.normal(key, (1, 3, 2))
    assert_close(jacfwd(fn)(x), jacrev(fn)(x))


def test_compiling_changes_no_derivative():
    def fn(x):
        return jacrev(bend)(x), jacfwd(bend)(x), hessian(bend)(x)

    assert_close(jit(fn)(V), fn(V))


@each
def test_derivatives_are_taken_of_each_example_of_a_batch(name):
    transform = ALL[name]
    batch = mx.stack([V, V + 1, -V])
    looped = mx.stack([transform(bend)(x) for x in batch])
    assert_close(vmap(transform(bend))(batch), looped)


@each
def test_derivatives_have_derivatives(name):
    def fn(x):
        return mx.sum(ALL[name](mx.sin)(x) ** 2)

    want = mx.sin(2 * V) if name == "hessian" else -mx.sin(2 * V)
    assert mx.allclose(grad(fn)(V), want, atol=1e-6)


@each
def test_checkpoint_changes_no_derivative(name):
    transform = ALL[name]
    assert_close(transform(checkpoint(bend))(V), transform(bend)(V))


def test_the_hessian_of_a_polynomial():
    assert hessian(lambda x: x[0] ** 3 * x[1])(V).tolist() == [[12.0, 3.0], [3.0, 0.0]]


def test_the_hessian_of_several_results_has_one_for_each():
    found = hessian(bend)(V)  # (3, 2, 2)
    assert found.tolist() == [
        [[0.0, 1.0], [1.0, 0.0]],
        [[2.0, 0.0], [0.0, 0.0]],
        [[0.0, 0.0], [0.0, 0.0]],
    ]


def test_the_hessian_holds_trees_of_arguments_twice():
    def fn(p, t):
        return mx.sum(p["a"] ** 2) * t * p["b"][0, 0]

    p = {"a": V, "b": mx.array([[3.0]])}
    found = hessian(fn)(p, 2.0)
    assert [found[i][j].shape for i in p for j in p] == [
        *((2, 2), (2, 1, 1)),
        *((1, 1, 2), (1, 1, 1, 1)),
    ]
    assert found["a"]["a"].tolist() == [[12.0, 0.0], [0.0, 12.0]]
    assert found["a"]["b"].flatten().tolist() == [4.0, 8.0]
    blocks, last = hessian(fn, (0, 1))(p, 2.0)
    assert equal(blocks["b"][0], found["b"])
    assert blocks["a"][1].tolist() == last[0]["a"].tolist() == [6.0, 12.0]
    assert last[1].item() == 0.0


def test_the_aux_of_a_hessian_is_returned_once():
    found, aux = hessian(lambda x: (mx.sum(x**2), "aux"), has_aux=True)(V)
    assert found.tolist() == [[2.0, 0.0], [0.0, 2.0]] and aux == "aux"


def test_the_hessian_of_a_classifier_times_a_vector_is_hvp(key):
    layer = nn.serial(nn.conv2d(1, 2, 3), nn.relu, nn.flatten, nn.linear(8, 3))
    params, _ = layer.init(key)
    x, labels = random.normal(key, (2, 4, 4, 1)), mx.array([0, 2])
    direction = tree.map(lambda p: random.normal(key, p.shape), params)

    def loss(p):
        return losses.cross_entropy(layer.apply(p, {}, x, train=True)[0], labels)

    sizes = [p.size for p in tree.leaves(params)]
    blocks = iter(tree.leaves(hessian(loss)(params)))
    dense = mx.concatenate(
        [
            mx.concatenate([next(blocks).reshape(rows, size) for size in sizes], axis=1)
            for rows in sizes
        ]
    )
    (product,) = hvp(loss, (params,), (direction,))
    flat = [
        mx.concatenate([x.flatten() for x in tree.leaves(t)])
        for t in (direction, product)
    ]
    assert mx.allclose(dense @ flat[0], flat[1], rtol=1e-4, atol=1e-5)
    assert mx.allclose(dense, dense.T, rtol=1e-4, atol=1e-6)


def reads_to_look(x):
    assert x[0].item() == 1.0
    return bend(x)


@each
def test_a_value_that_is_only_looked_at_is_no_error(name):
    assert equal(ALL[name](reads_to_look)(V), ALL[name](bend)(V))


@each
def test_a_result_made_of_values_taken_out_is_an_error(name):
    message = (
        rf"{name}: .*test_jacobians\.py:\d+: .* takes the values out of an array, .* "
        "what `<lambda>` returns depends on its arguments in no other way"
    )
    with pytest.raises(TypeError, match=message):
        ALL[name](lambda x: {"y": mx.array(x.tolist())})(V)


@each
@pytest.mark.parametrize(
    ("fn", "argument", "words"),
    [
        (bend, mx.array([1, 2]), r"x must be a float array .* int32 \(2,\); keep"),
        (bend, {"a": "b"}, r"x\.a must be a float array .* got str 'b'"),
        (
            bend,
            mx.array([1j]),
            r"arguments to differentiate must be real, got complex64 \(1,\); give `fn`",
        ),
        (
            lambda x: {"hit": x > 1},
            V,
            r"result\.hit of `<lambda>` must be a float array .* bool \(2,\); .* aux",
        ),
        (
            lambda x: 1j * x,
            V,
            r"result of `<lambda>` must be a float array .*; return its mx\.real",
        ),
        (lambda x: [x, "a"], V, r"result\.1 must be an array, got str 'a'"),
    ],
)
def test_results_without_a_derivative_are_type_errors(name, fn, argument, words):
    with pytest.raises(TypeError, match=rf"^{name}: .*{words}"):
        ALL[name](fn)(argument)


@each
def test_the_function_and_the_positions_must_be_such(name):
    with pytest.raises(TypeError, match=f"{name}: fn must be a function, got int 3"):
        ALL[name](3)
    with pytest.raises(TypeError, match=f"{name}: argnums must be the position of an"):
        ALL[name](bend, "x")
    with pytest.raises(
        ValueError, match=f"{name}: argnums must name a .* `bend`, got 1"
    ):
        ALL[name](bend, 1)(V)


@each
def test_has_aux_wants_a_pair(name):
    words = r"with has_aux=True `bend` must return \(result, aux\), got array"
    with pytest.raises(TypeError, match=f"{name}: {words}"):
        ALL[name](bend, has_aux=True)(V)


@pytest.mark.parametrize(
    ("call", "note"),
    [
        (lambda: jacfwd(mx.cumprod)(V), "jacfwd: MLX has no such rule; use jacrev"),
        (
            lambda: jacrev(singular)(mx.eye(2)),
            "jacrev: MLX has no reverse derivative",
        ),
        (lambda: hessian(singular)(mx.eye(2)), "hessian: MLX has no reverse de"),
    ],
)
def test_a_rule_that_mlx_does_not_have_is_named(call, note):
    with pytest.raises((ValueError, RuntimeError)) as error:
        call()
    words = [str(error.value), *getattr(error.value, "__notes__", [])]
    assert any(line.startswith(note) for line in words)


def singular(x):
    return mx.linalg.svd(x, stream=mx.cpu)[1]
