"""vmap: axes of trees, shared arguments, and every message."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, jit, random, vmap
from tests.strategies import Pair

X = mx.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(("axis", "sums"), [(0, [3.0, 12.0]), (1, [3.0, 5.0, 7.0])])
def test_the_batch_may_be_on_any_axis(axis, sums):
    assert vmap(mx.sum, in_axes=axis)(X).tolist() == sums
    assert vmap(mx.sum, in_axes=axis - 2)(X).tolist() == sums


def test_none_shares_an_argument():
    out = vmap(lambda a, b: a + b, in_axes=(0, None))(X, X[0])
    assert out.tolist() == (X + X[0]).tolist()


def test_shared_arguments_need_not_be_arrays():
    def fn(x, power, name):
        assert name == "text" and isinstance(power, int)
        return x**power

    out = vmap(fn, in_axes=(0, None, None))(X, 2, "text")
    assert out.tolist() == (X**2).tolist()


def test_arrays_given_by_keyword_are_mapped_over_axis_0():
    scaled = vmap(lambda x, *, scale: x * scale["a"])
    assert scaled(X, scale={"a": mx.arange(len(X))}).tolist() == [
        (x * i).tolist() for i, x in enumerate(X)
    ]
    assert vmap(lambda *, x: x + 1)(x=X).tolist() == (X + 1).tolist()


def test_keyword_arguments_that_are_not_arrays_are_shared():
    def fn(x, *, scale, train, name=None):
        return x * scale if train is True and name == "a" else x

    found = vmap(fn)(X, scale=2, train=True, name="a")
    assert found.tolist() == (2 * X).tolist()


def test_an_array_given_by_keyword_must_have_the_batch():
    fn = vmap(lambda x, *, scale: x * scale)
    with pytest.raises(ValueError, match=r"vmap: scale of .* an axis 0 .* got float32"):
        fn(X, scale=mx.array(2.0))
    with pytest.raises(ValueError, match=r"must have one size, got .* for scale"):
        fn(X, scale=mx.ones(len(X) + 1))


def test_axes_may_be_a_tree_that_begins_like_the_argument():
    params = {"w": mx.array(2.0), "b": [mx.array([1.0, 2.0]), Pair(X.T, None)]}

    def fn(p, x):
        return p["w"] * x + p["b"][0] + p["b"][1].first

    out = vmap(fn, in_axes=({"w": None, "b": [0, 1]}, 0))(params, X)
    assert out.tolist() == (2 * X + mx.array([[1.0], [2.0]]) + X).tolist()


def test_axes_of_a_named_tuple():
    pair = Pair(X, mx.array(1.0))
    out = vmap(lambda p: p.first + p.second, in_axes=(Pair(0, None),))(pair)
    assert out.tolist() == (X + 1).tolist()


@pytest.mark.parametrize("axis", [1, -1])
def test_the_batch_may_come_out_on_any_axis(axis):
    assert vmap(mx.negative, out_axes=axis)(X).tolist() == (-X.T).tolist()


def test_out_axes_may_be_a_tree():
    def fn(x):
        return {"a": x, "b": (x, mx.array(7.0), None)}

    out = vmap(fn, out_axes={"a": 0, "b": (1, None, None)})(X)
    assert out["a"].tolist() == X.tolist() and out["b"][0].tolist() == X.T.tolist()
    assert out["b"][1].item() == 7 and out["b"][2] is None


def test_results_that_do_not_depend_on_the_example_are_repeated():
    assert vmap(lambda x: mx.array([1.0, 2.0]))(X).tolist() == [[1.0, 2.0]] * 2


def test_numpy_arrays_are_taken():
    assert vmap(mx.sum)(np.ones((2, 3), np.float32)).tolist() == [3.0, 3.0]


def test_vmap_of_vmap_and_of_grad():
    assert vmap(vmap(mx.negative))(X).tolist() == (-X).tolist()
    rows = vmap(grad(lambda x: mx.sum(x**2)))(X)
    assert rows.tolist() == (2 * X).tolist()


def test_values_of_an_outer_vmap_may_be_read_from_a_closure():
    table = vmap(lambda a: vmap(lambda b: a * b)(X[0]))(X[1])
    assert table.tolist() == (X[1][:, None] * X[0]).tolist()


def test_an_example_may_have_its_own_key(key):
    keys = random.split(key, 3)
    draws = vmap(lambda k: random.normal(k, (2,)))(keys)
    assert draws.tolist() == [random.normal(k, (2,)).tolist() for k in keys]


def test_an_empty_batch_gives_an_empty_batch():
    assert vmap(mx.sum)(mx.zeros((0, 3))).shape == (0,)


def read(x):
    return x if x[0] > 0 else -x


def noisy(x):
    return x + mx.random.normal(x.shape)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda f: vmap(f, 2)(X, X),
            ValueError,
            r"x of `f` must have an axis 2 to map",
        ),
        (
            lambda f: vmap(f)(X, 2.0),
            ValueError,
            "y of `f` must have an axis 0 .* None in",
        ),
        (lambda f: vmap(f)(X, "a"), ValueError, "y of `f` must have .* got str 'a'"),
        (lambda f: vmap(f)({"a": [X, 1]}, X), ValueError, r"x\.a\.1 of `f` must have"),
        (
            lambda f: vmap(f)(X, X.T),
            ValueError,
            "must have one size, got 2 for x and 3 f",
        ),
        (lambda f: vmap(f, None)(X, X), ValueError, "`f` has no argument with an axis"),
        (
            lambda f: vmap(f)(),
            ValueError,
            "`f` has no argument with an axis to map over",
        ),
        (lambda f: vmap(f, (0,))(X, X), ValueError, r"for each of the 2 .* got \(0,\)"),
        (
            lambda f: vmap(f, [0, 0, 0])(X, X),
            ValueError,
            r"or a sequence .* got \[0, 0, 0\]",
        ),
        (
            lambda f: vmap(f, "0")(X, X),
            ValueError,
            "in_axes must be an int, None or a se",
        ),
        (
            lambda f: vmap(f, 0.0)(X, X),
            ValueError,
            "in_axes must be an int, None or a se",
        ),
        (
            lambda f: vmap(f, Pair(0, 0))(X, X),
            ValueError,
            "in_axes must be an int, None",
        ),
        (
            lambda f: vmap(f, ({"b": 0}, 0))({"a": X}, X),
            ValueError,
            "begins like the val",
        ),
        (lambda f: vmap(f, ([0], 0))(X, X), ValueError, "begins like the values, got"),
        (
            lambda f: vmap(f, out_axes=3)(X, X),
            ValueError,
            r"out_axes .* got 3 for a res",
        ),
        (
            lambda f: vmap(f, out_axes=[0])(X, X),
            ValueError,
            "out_axes must be an int, No",
        ),
        (
            lambda f: vmap(lambda x: {"a": "b"})(X),
            TypeError,
            "must return arrays, got str",
        ),
        (
            lambda f: vmap(read)(X),
            TypeError,
            r"test_vmap\.py:\d+: `return x if x\[0\] > 0",
        ),
        (lambda f: vmap(np.asarray)(X), TypeError, "needs the value of an array"),
        (
            lambda f: vmap(noisy)(X),
            ValueError,
            r"`return x \+ mx\.random\.normal\(x.* hid",
        ),
        (lambda f: vmap(3), TypeError, "fn must be a function, got int 3"),
    ],
)
def test_errors_say_what_and_where(call, kind, words):
    def f(x, y):
        return x

    with pytest.raises(kind, match=f"vmap: .*{words}"):
        call(f)


def test_the_axes_of_the_arguments_may_be_a_list():
    product = vmap(lambda x, y: x * y, in_axes=[0, None])
    assert product(mx.array([1.0, 2.0]), mx.array(3.0)).tolist() == [3.0, 6.0]


def test_a_result_without_a_batch_axis_must_be_the_same_for_all_examples():
    x = mx.arange(3.0)
    both = vmap(lambda x, w: (x * w, {"w": w * 2}), (0, None), (0, None))
    assert both(x, mx.array(3.0))[1]["w"].item() == 6
    with pytest.raises(ValueError, match=r"vmap: out_axes .* for result\.1\.w of"):
        vmap(lambda x, w: (x * w, {"w": w * x}), (0, None), (0, None))(x, mx.array(3.0))
    with pytest.raises(
        ValueError, match="vmap: out_axes must be an axis for result of"
    ):
        vmap(lambda x: x.reshape(1), out_axes=None)(x)


@pytest.mark.parametrize(
    ("outer", "shape"),
    [
        (lambda fn: fn, (3,)),
        (jit, (3,)),
        (lambda fn: vmap(fn, in_axes=(None, 0)), (2, 3)),
    ],
    ids=["alone", "jit", "vmap"],
)
def test_a_shared_result_may_depend_on_transformations_around(outer, shape):
    def loss(w, x):
        ys, shared = vmap(lambda x, w: (x * w, w * w), (0, None), (0, None))(x, w)
        return mx.sum(ys) + shared

    slopes = outer(grad(loss))(mx.array(2.0), mx.ones(shape))
    assert mx.all(slopes == 3 + 4).item()


def test_numbers_that_a_function_returns_are_shared():
    out = vmap(lambda x: {"x": x, "n": 3, "yes": True, "none": None})(mx.ones(2))
    assert out["n"].tolist() == [3, 3] and out["yes"].tolist() == [True, True]
    assert out["none"] is None


def test_a_number_to_map_over_is_an_error_that_says_to_share_it():
    with pytest.raises(
        ValueError, match=r"got int 4; use None in in_axes for what all"
    ):
        vmap(abs)(4)
