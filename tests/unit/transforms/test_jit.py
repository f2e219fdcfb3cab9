"""jit: traces, arguments, results and nesting."""

import collections
import functools
import gc
import weakref

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, jit, tree, value_and_grad, vmap
from tests.strategies import Pair

ONE = mx.array(1.0)


def counted(fn):
    """`fn`, and the list of its traces."""
    traces = []

    @functools.wraps(fn)
    def counting(*args, **kwargs):
        traces.append(args)
        return fn(*args, **kwargs)

    return counting, traces


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, -7, 2**40],
        [1.5, 2.5, float("inf"), -0.0],
        [np.float32(1), np.float32(2)],
        [np.ones(2, np.float32), np.zeros(2, np.float32)],
        [mx.ones(2), mx.zeros(2)],
    ],
)
def test_numbers_and_arrays_change_without_a_new_trace(values):
    fn, traces = counted(lambda x: x)
    compiled = jit(fn)
    for value in values:
        assert mx.array_equal(compiled(value), mx.array(value))
    assert len(traces) == len({mx.array(value).dtype for value in values})


@pytest.mark.parametrize(
    "values", [[True, False, np.True_], ["a", "b"], [None, 1.0], [(), [], {}, ((),)]]
)
def test_a_constant_has_one_trace_a_value(values):
    fn, traces = counted(lambda x, option: x)
    compiled = jit(fn)
    for value in values * 2:
        compiled(ONE, value)
    assert len(traces) == len({repr(v).removeprefix("np.").rstrip("_") for v in values})


def test_a_bool_is_a_bool_inside():
    compiled = jit(lambda x, train: x if train else -x)
    assert compiled(ONE, True).item() == 1 and compiled(ONE, False).item() == -1
    assert compiled(ONE, np.False_).item() == -1


def test_a_number_is_an_array_inside():
    fn, traces = counted(lambda n: n)
    assert jit(fn)(3).item() == 3
    assert isinstance(traces[0][0], mx.array) and traces[0][0].dtype == mx.int32


def test_static_arguments_have_one_trace_a_value():
    fn, traces = counted(lambda x, n: x * n)
    compiled = jit(fn, static_argnames="n")
    for n in (2, 3, 2, 3):
        assert compiled(ONE, n).item() == n
    assert len(traces) == 2


def test_static_values_of_different_types_are_different():
    compiled = jit(lambda x, n: x * n, static_argnames="n")
    kinds = [compiled(mx.array(2), n).dtype for n in (1, 1.0, True)]
    assert kinds == [mx.int32, mx.float32, mx.int32]
    pair = jit(lambda x, pair: x * pair[0], static_argnames=("pair",))
    kinds = [pair(mx.array(2), n).dtype for n in ((1,), (1.0,))]
    assert kinds == [mx.int32, mx.float32]


def test_static_arguments_go_by_position_by_name_and_by_default():
    def fn(x, n=3, *, m=10, **options):
        return n, m, options.get("extra", 0)

    compiled = jit(fn, static_argnames=["n", "m", "extra"])
    assert compiled(ONE) == (3, 10, 0)
    assert compiled(ONE, 2) == (2, 10, 0)
    assert compiled(ONE, n=2, m=20) == (2, 20, 0)
    assert compiled(ONE, extra=100) == (3, 10, 100)


def test_a_static_argument_stays_the_object_it_is():
    marker = object()
    compiled = jit(lambda x, m: x if m is marker else -x, static_argnames="m")
    assert compiled(ONE, marker).item() == 1
    assert compiled(ONE, object()).item() == -1
    assert jit(lambda x, f: f(x), static_argnames="f")(ONE, mx.negative).item() == -1


def test_the_order_of_insertion_does_not_retrace():
    fn, traces = counted(lambda params: params["a"] - params["b"])
    compiled = jit(fn)
    assert compiled({"a": mx.array(3.0), "b": ONE}).item() == 2
    assert compiled({"b": ONE, "a": mx.array(5.0)}).item() == 4
    assert len(traces) == 1


def test_a_new_shape_or_dtype_retraces_once():
    fn, traces = counted(lambda x: x)
    compiled = jit(fn)
    for x in [mx.zeros(2), mx.zeros(3), mx.zeros(2, mx.int32)] * 2:
        assert compiled(x).shape == x.shape
    assert len(traces) == 3


def test_arguments_of_all_kinds_of_trees_arrive():
    seen = []

    def fn(*args, **kwargs):
        seen.append((tree.flatten((args, kwargs))[1], args[1]))
        return args[0].first

    nested = Pair(mx.array(7.0), [None, {"k": (ONE, 2)}, True, "s"])
    assert jit(fn)(nested, False, key={"x": ()}).item() == 7
    structure, option = seen[0]
    assert structure == tree.flatten(((nested, False), {"key": {"x": ()}}))[1]
    assert option is False


def test_constants_between_arrays_arrive_in_their_places():
    fn = jit(lambda values: [v if isinstance(v, mx.array) else repr(v) for v in values])
    out = fn([1.0, True, 2.0, "a", False, 3.0])
    assert [v if isinstance(v, str) else v.item() for v in out] == [
        *(1.0, "True", 2.0, "'a'", "False", 3.0)
    ]


def test_results_keep_their_kinds():
    def fn(x):
        return Pair({"n": None, "s": "text"}, [x, (x, 2.5), True, 1j, b"b", x.dtype])

    for _ in range(2):  # traced, then not
        out = jit(fn)(ONE)
        assert type(out) is Pair and out.first == {"n": None, "s": "text"}
        assert out.second[1][1] == 2.5 and out.second[2] is True
        assert out.second[3:] == [1j, b"b", mx.float32]


@pytest.mark.parametrize("out", [None, (), {}, [], 3, "a", np.zeros(2)])
def test_a_result_may_hold_no_array(out):
    compiled = jit(lambda x: out)
    for _ in range(4):
        assert compiled(ONE) is out or tree.flatten(compiled(ONE)) == tree.flatten(out)


def test_arguments_may_pass_through_and_return_twice():
    compiled = jit(lambda x, y: (x, x, y))
    for _ in range(2):
        out = compiled(ONE, mx.array(2))
        assert [v.item() for v in out] == [1, 1, 2]


class Holder:
    def __init__(self, array):
        self.array = array


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x: Holder(x), "got Holder;"),
        (lambda x: {"a": [x, Holder(x)]}, r"got Holder at a\.1;"),
        (lambda x: (x, lambda: x), "got function at 1;"),
        (lambda x: {x.size}, "got set;"),
    ],
)
def test_a_result_that_may_hide_arrays_is_a_type_error(fn, words):
    message = r"jit: `<lambda>` must return a tree of arrays, numbers and strings, "
    with pytest.raises(TypeError, match=message + words):
        jit(fn)(ONE)


def test_a_compiled_function_keeps_its_name_and_its_docstring():
    @jit
    def step(x):
        """Does a step."""
        return x

    assert step.__name__ == "step" and step.__doc__ == "Does a step."


def test_a_builtin_a_partial_and_a_callable_object_compile():
    class Scale:
        def __call__(self, x):
            return x * 2

    assert jit(mx.add)(ONE, ONE).item() == 2
    assert jit(functools.partial(mx.add, mx.array(4.0)))(ONE).item() == 5
    assert jit(Scale())(ONE).item() == 2
    assert jit(functools.partial(lambda a, n: a * n, n=3))(ONE).item() == 3


def loss(x):
    return mx.sum(mx.square(x))


X = mx.array([1.0, 2.0])
NESTED = {
    "jit of jit": lambda: jit(jit(loss))(X),
    "jit of grad": lambda: jit(grad(loss))(X),
    "grad of jit": lambda: grad(jit(loss))(X),
    "jit of grad of jit": lambda: jit(grad(jit(loss)))(X),
    "jit of value_and_grad": lambda: jit(value_and_grad(loss))(X)[1],
    "vmap of jit": lambda: vmap(jit(lambda x: 2 * x))(X),
    "jit of vmap of grad": lambda: jit(vmap(grad(mx.square)))(X),
    "mx.grad of jit": lambda: mx.grad(jit(loss))(X),
    "mx.value_and_grad of jit": lambda: mx.value_and_grad(jit(loss))(X)[1],
    "mx.compile of jit": lambda: mx.compile(jit(lambda x: 2 * x))(X),
    "mx.vmap of jit": lambda: mx.vmap(jit(lambda x: 2 * x))(X),
    "grad of grad of jit": lambda: grad(lambda x: mx.sum(grad(jit(loss))(x)))(X) * X,
}


@pytest.mark.parametrize("name", NESTED)
def test_transformations_nest(name):
    for _ in range(2):
        expected = 5.0 if name == "jit of jit" else [2.0, 4.0]
        assert NESTED[name]().tolist() == expected


def test_an_inner_jit_has_one_trace_in_each_use():
    traces = []
    inner = jit(lambda x: traces.append(x.shape) or loss(x))
    outer = jit(lambda x: mx.stack([inner(x), inner(x)]))
    for _ in range(3):
        assert outer(X).tolist() == [5.0, 5.0]
    before = len(traces)
    for _ in range(3):
        outer(X)
        inner(X)
    assert len(traces) <= before + 1


def test_max_traces_lets_that_many_through():
    traces = []
    compiled = jit(lambda x: traces.append(x.shape) or x + 1, max_traces=2)
    for _ in range(3):
        assert compiled(mx.zeros(1)).tolist() == [1.0]
        assert compiled(mx.zeros(2)).tolist() == [1.0, 1.0]
    assert traces == [(1,), (2,)]


def test_one_trace_too_many_is_an_error_each_time():
    compiled = jit(lambda x: x, max_traces=1)
    compiled(mx.zeros(1))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="max_traces is 1"):
            compiled(mx.zeros(2))
    assert compiled(mx.zeros(1)).shape == (1,)


Z = mx.zeros((4, 2))
RETRACES = {
    "a shape": ((Z, 1), (Z[:3], 1), r"x was float32 \(4, 2\), is float32 \(3, 2\)$"),
    "a dtype": ((Z, 1), (Z, 1.5), r"y was int32 \(\), is float32 \(\)$"),
    "a bool": ((Z, True), (Z, False), "y was bool True, is bool False$"),
    "a string": ((Z, "a"), (Z, "b"), "y was str 'a', is str 'b'$"),
    "a leaf more": (({"a": Z}, 1), ({"a": Z, "b": Z}, 1), r"x\.b was absent, is float"),
    "a leaf less": (({"a": Z, "b": Z}, 1), ({"a": Z}, 1), r"x\.b was .*, is absent$"),
    "a static value": ((Z, 1, 2), (Z, 1, 3), "n was int 2, is int 3$"),
    "the structure": (
        ([], 1),
        ({}, 1),
        "the structure of the arguments changed: None,",
    ),
    "None": ((Z, None), (Z, ()), "the structure of the arguments changed: None,"),
    "several": (
        (Z, True),
        (Z[:2], False),
        r"x was .*; y was bool True, is bool False$",
    ),
}


@pytest.mark.parametrize("what", RETRACES)
def test_a_trace_too_many_names_the_leaf_and_what_changed(what):
    first, second, words = RETRACES[what]

    def step(x, y, n=0):
        return 1

    compiled = jit(step, static_argnames="n", max_traces=1)
    compiled(*first)
    message = "jit: `step` would be traced 2 times, max_traces is 1: .*" + words
    with pytest.raises(RuntimeError, match=message):
        compiled(*second)


def test_a_retrace_is_compared_with_the_trace_most_alike():
    compiled = jit(lambda x, y: x, max_traces=2)
    compiled(mx.zeros(1), "a")
    compiled(mx.zeros(2), "b")
    with pytest.raises(
        RuntimeError, match=r"max_traces is 2: y was str 'b', is str 'c'$"
    ):
        compiled(mx.zeros(2), "c")


def test_a_function_is_freed_with_its_last_name():
    def make():
        def fn(x):
            return x

        compiled = jit(fn)
        compiled(ONE)
        return weakref.ref(fn), weakref.ref(compiled)

    refs = make()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_a_static_tree_and_an_ordered_dict_pass():
    compiled = jit(lambda d, sizes: d["a"].reshape(sizes), static_argnames="sizes")
    d = collections.OrderedDict(b=ONE, a=mx.zeros(4))
    assert compiled(d, (2, 2)).shape == (2, 2)


NUMPY = {
    "negative strides": np.arange(6.0, dtype=np.float32)[::-1],
    "negative strides of a later axis": np.arange(6.0).reshape(2, 3)[:, ::-1],
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "of another byte order": np.arange(3, dtype=">f4"),
    "long double": np.ones(2, np.longdouble),
    "long complex": np.ones(2, np.clongdouble),
    "broadcast": np.broadcast_to(np.float32(1), (3,)),
    "read-only": np.frombuffer(bytes(8), np.float32),
    "unaligned": np.frombuffer(bytes(9), np.float32, offset=1),
    "empty and reversed": np.zeros((0, 3))[::-1],
    "a field of records": np.zeros(3, [("a", "f4"), ("b", "i1")])["a"],
}


@pytest.mark.parametrize("what", NUMPY)
def test_numpy_arrays_of_every_layout_are_arguments(what):
    x = NUMPY[what]
    got = np.array(jit(lambda x: x)(x))
    np.testing.assert_array_equal(got, np.array(x.astype(got.dtype)))


class Chain(list):
    """A list with a type of its own."""


def test_results_keep_the_types_of_their_nodes():
    given = {
        "ordered": collections.OrderedDict(b=ONE, a=(mx.zeros(2), "text")),
        "chain": Chain([ONE, Pair(ONE, None)]),
    }
    compiled = jit(lambda t: {**t, "new": 1}, max_traces=1)
    for _ in range(2):
        out = compiled(given)
        assert type(out["ordered"]) is collections.OrderedDict
        assert list(out["ordered"]) == ["b", "a"] and out["ordered"]["a"][1] == "text"
        assert type(out["chain"]) is Chain and type(out["chain"][1]) is Pair
        assert out["new"] == 1


class Module(dict):
    """A dict, as `mlx.nn.Module` is."""

    def trainable_parameters(self):
        return self


@pytest.mark.parametrize("transform", [jit, grad, vmap])
def test_a_module_is_refused_by_name(transform):
    message = r"tree: dicts must be .*\.Module, which would be lost; give its param"
    with pytest.raises(TypeError, match=message):
        transform(lambda module: mx.sum(module["w"]))(Module(w=mx.ones(2)))


def test_options_alone_make_a_decorator():
    @jit(static_argnames="n", max_traces=1)
    def repeated(x, n):
        return mx.concatenate([x] * n)

    assert repeated(ONE[None], n=3).shape == (3,)
    with pytest.raises(RuntimeError, match=r"`repeated` .* max_traces is 1"):
        repeated(ONE[None], n=4)
