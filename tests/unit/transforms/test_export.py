"""Files of exported functions: trees, sizes of batches, and every message."""

import subprocess
import sys
from collections import OrderedDict
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, random, tree
from tests.strategies import equal

X = mx.array([1.0, 2.0, 3.0])


class Pair(NamedTuple):
    a: object
    b: object


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fn.mlxfn"


def exported(path, fn, *args, **options):
    lf.export(fn, path, *args, **options)
    return lf.load_exported(path)


# ---- trees ----


def test_trees_come_back_as_they_were(path):
    def fn(pair, x):
        return Pair(
            {"sum": pair.a["w"] + x, "none": None}, [x, (OrderedDict(x=2 * x),)]
        )

    args = Pair({"w": X}, [None]), X
    got = exported(path, fn, *args)(*args)
    assert type(got) is Pair
    assert equal(got, fn(*args))


def test_named_tuples_of_results_alone_are_of_one_new_type(path):
    run = exported(path, lambda x: Pair(x, {"y": x}), X)
    got = run(X)
    assert (type(got).__name__, got._fields) == ("Pair", ("a", "b"))
    assert equal(got.b["y"], X)
    assert type(run(X)) is type(got)


def test_numbers_and_numpy_arrays_are_arguments(path):
    run = exported(path, lambda x, scale: x * scale, np.ones(3, np.float32), 2.0)
    assert run(np.ones(3, np.float32), 3).tolist() == [3.0, 3.0, 3.0]


def test_a_function_keeps_its_name(path):
    def double(x):
        return 2 * x

    assert exported(path, double, X).__name__ == "double"


def test_captured_arrays_are_constants_of_the_file(path):
    captured = {"w": mx.array([1.0, 1.0, 2.0])}
    run = exported(path, lambda x: x * captured["w"], X)
    captured["w"] = X
    assert run(X).tolist() == [1.0, 2.0, 6.0]


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.int32, mx.bool_])
def test_dtypes_are_kept(path, dtype):
    x = mx.array([0, 1, 1]).astype(dtype)
    assert equal(exported(path, lambda x: x[::-1], x)(x), x[::-1])


def test_an_exported_function_can_be_transformed(path):
    run = exported(path, lambda x: mx.sum(ops.tanh(x) ** 2), X)
    assert equal(lf.jit(run)(X), run(X))
    slope = 2 * mx.tanh(X) * (1 - mx.tanh(X) ** 2)
    assert mx.allclose(lf.grad(run)(X), slope)
    assert equal(lf.vmap(run)(mx.stack([X, X])), mx.stack([run(X)] * 2))


PLAIN_MLX = """
import sys
import mlx.core as mx
(y,) = mx.import_function(sys.argv[1])(mx.array([[1.0, 2.0, 3.0]]))
assert "lucid_fn" not in sys.modules
print(y.tolist())
"""


def test_plain_mlx_runs_the_file_without_this_library(path, key):
    layer = nn.serial(nn.linear(3, 4), nn.gelu, nn.layer_norm(4))
    params, state = layer.init(key)
    run = exported(
        path, lambda x: layer.apply(params, state, x, train=False)[0], X[None]
    )
    command = [sys.executable, "-I", "-c", PLAIN_MLX, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # On its own MLX has another BLAS.
    expected = run(X[None]).tolist()
    assert np.allclose(np.array(eval(done.stdout)), expected, rtol=1e-5, atol=1e-6)


# ---- batches of any size ----


@pytest.mark.parametrize("size", [1, 2, 3, 13, 64])
def test_any_number_of_examples_is_taken(path, key, size):
    layer = nn.serial(nn.conv2d(2, 3, 3), nn.relu, nn.max_pool2d(2), nn.flatten)
    params, state = layer.init(key)

    def predict(params, x):
        return layer.apply(params, state, x, train=False)[0]

    run = exported(path, predict, params, mx.zeros((8, 6, 6, 2)), batch_argnums=1)
    x = random.normal(key, (size, 6, 6, 2))
    with ops.plain():
        expected = predict(params, x)
    assert mx.allclose(run(params, x), expected, rtol=1e-5, atol=1e-6)


def test_a_function_that_mixes_examples_is_refused_for_any_number_of_them(path):
    with pytest.raises(ValueError, match=r"must treat the examples .* independently"):
        lf.export(lambda x: x - mx.mean(x), path, mx.zeros((4,)), batch_argnums=0)


def test_several_arguments_have_one_number_of_examples(path):
    both = mx.ones((4, 2)), mx.ones((4, 2))
    run = exported(path, lambda x, y: x + y, *both, batch_argnums=(0, 1))
    with pytest.raises(ValueError, match=r"must be one, .* 3 in x and 4 in y"):
        run(mx.ones((3, 2)), mx.ones((4, 2)))
    with pytest.raises(ValueError, match="must be one, and positive, got 0"):
        run(mx.ones((0, 2)), mx.ones((0, 2)))
    with pytest.raises(ValueError, match="one number of examples, got 3 and 4"):
        lf.export(lambda x, y: x + y, path, both[0][:3], both[1], batch_argnums=(0, 1))


@pytest.mark.parametrize(
    ("place", "shape", "message"),
    [(0, (), "at least one example"), (0, (0, 2), "at least one"), (2, (2,), "got 2")],
)
def test_batch_argnums_must_name_batches(path, place, shape, message):
    with pytest.raises(ValueError, match=message):
        lf.export(lambda x: x, path, mx.ones(shape), batch_argnums=place)


@pytest.mark.parametrize(
    "fn", [mx.sum, mx.transpose, lambda x: (x, mx.sum(x, axis=0)), lambda x: mx.ones(1)]
)
def test_every_result_must_have_the_batch_on_axis_0(path, fn):
    with pytest.raises(ValueError, match="must return the batch on axis 0 of each"):
        lf.export(lambda x: fn(x), path, mx.ones((8, 4)), batch_argnums=0)


def test_arguments_can_be_given_by_name(path):
    run = exported(path, lambda x, y: x - y, X, X)
    assert run(X, y=X + 1).tolist() == run(y=X + 1, x=X).tolist() == [-1.0] * 3


# ---- calls that do not fit ----


def test_names_that_do_not_fit_are_errors(path):
    run = exported(path, lambda x, y: x - y, X, X)
    for call in (lambda: run(X, x=X), lambda: run(X, z=X), lambda: run(X, X, y=X)):
        with pytest.raises(TypeError, match=r"takes x, y, got . positional .* and"):
            call()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((X,), r"takes 2 arguments \(tree, x\), got 1"),
        (
            ({"w": X}, X[:2]),
            r"x must be float32 of shape \(3,\), .* got float32 \(2,\)",
        ),
        (({"w": X}, X.astype(mx.float16)), "x must be float32 .* got float16"),
        (({"w": X}, "three"), "x must be float32 .* got str 'three'"),
        (({"w": X[None]}, X), r"tree\.w must be float32 of shape \(3,\)"),
        (({"v": X}, X), r"structures differ at tree: dict\(w\) and dict\(v\)"),
        (([X], X), r"structures differ at tree: dict\(w\) and list"),
    ],
)
def test_the_error_names_the_leaf_that_does_not_fit(path, args, message):
    run = exported(path, lambda tree, x: tree["w"] + x, {"w": X}, X)
    with pytest.raises(ValueError, match=f"`<lambda>` of fn.mlxfn.*{message}"):
        run(*args)


# ---- functions that cannot be exported ----


@mx.custom_function
def of_mlx(x):
    return 2 * x


of_mlx.vjp(lambda x, g, y: g)
VIEW = mx.array(np.ones((2, 3), np.float32)).T
mx.eval(VIEW)


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (
            "a.mlxfn",
            TypeError,
            r"fn must be a function, got .*; write export\(fn, path",
        ),
        (of_mlx, ValueError, "CustomTransforms.*use lf.custom_vjp"),
        (lambda x: mx.contiguous(x[::2]), ValueError, "leave mx.contiguous out"),
        (lambda x: x + mx.random.normal((3,)), ValueError, "hidden random state"),
        (lambda x: x if x[0] > 0 else -x, TypeError, "needs the value of an array"),
        (lambda x: mx.grad(lambda x: mx.sum(ops.tanh(x)))(x), TypeError, "by lf.grad"),
        (
            lambda x: lf.vmap(mx.grad(lambda x: ops.tanh(x)))(x),
            TypeError,
            "by lf.grad",
        ),
        (lambda x: (x, "text"), TypeError, r"result\.1 must be an array, got str"),
        (lambda x: {1.5: x}, TypeError, "keys of dicts must be strings or integers"),
        (lambda x: VIEW @ x[:2], ValueError, r"`VIEW`.*transposed.*mx.contiguous of"),
    ],
)
def test_the_error_says_why_a_function_cannot_be_exported(path, fn, error, message):
    with pytest.raises(error, match=f"^export: (.|\n)*{message}"):
        lf.export(fn, path, X)
    assert not path.exists()


def test_arguments_must_be_arrays(path):
    with pytest.raises(TypeError, match="mode of `<lambda>` must be an array"):
        lf.export(lambda x, mode: x, path, X, "fast")
    with pytest.raises(ValueError, match="at least one array, got none"):
        lf.export(lambda: X, path)


def test_a_function_is_exported_outside_of_transformations(path):
    with pytest.raises(ValueError, match="outside of grad, vmap and jit"):
        lf.jit(lambda x: lf.export(lambda x: x, path, x))(X)


# ---- files ----


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-5], "must be a whole file that lf.export wrote"),
        (lambda content: b"hello", "must be a whole file that lf.export wrote"),
        (lambda content: content[:50] + b"?" + content[51:], "is damaged"),
    ],
)
def test_damaged_files_are_errors(path, damage, message):
    lf.export(lambda x: 2 * x, path, X)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        lf.load_exported(path)


def test_missing_files_and_folders_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        lf.load_exported(tmp_path / "none.mlxfn")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        lf.export(lambda x: x, tmp_path / "none" / "fn.mlxfn", X)


def test_a_larger_model_is_only_as_large_as_its_params(path, key):
    layer = nn.linear(300, 300)
    params, state = layer.init(key)
    lf.export(
        lambda x: layer.apply(params, state, x, train=False)[0],
        path,
        mx.zeros((64, 300)),
        batch_argnums=0,
    )
    assert path.stat().st_size < 4 * tree.size(params) + 20_000
