"""jit: common mistakes and their errors."""

import dataclasses
import functools
import re
import traceback

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, jit, random, vmap

ONE = mx.array(1.0)


def branch_if(x):
    return x if x > 0 else -x


def branch_while(x):
    while x < 3:
        x = x + 1
    return x


def use_print(x):
    print(x)
    return x


def use_max(x):
    return max(x, 0.0)


def use_format(x):
    return f"{x}"


def use_eval(x):
    mx.eval(x)
    return x


def use_async_eval(x):
    mx.async_eval(x)
    return x


READS_A_VALUE = {
    "if": branch_if,
    "while": branch_while,
    "float": lambda x: float(x),
    "int": lambda x: int(x),
    "bool": lambda x: bool(x),
    "item": lambda x: x.item(),
    "tolist": lambda x: x.tolist(),
    "print": use_print,
    "format": use_format,
    "np.array": lambda x: np.array(x),
    "np.asarray": lambda x: np.asarray(x),
    "memoryview": lambda x: memoryview(x),
    "max": use_max,
    "and": lambda x: x and x,
    "range": lambda x: list(range(x)),
    "an index of a list": lambda x: [1, 2][x],
    "mx.eval": use_eval,
    "mx.async_eval": use_async_eval,
}


@pytest.mark.parametrize("how", READS_A_VALUE)
def test_reading_a_value_names_the_line_and_the_fix(how):
    fn = READS_A_VALUE[how]
    name = fn.__name__
    message = (
        rf"jit: .*test_jit_errors\.py:\d+: `.*` needs the value .* traces `{name}`"
    )
    with pytest.raises(TypeError, match=message) as error:
        jit(fn)(mx.array(1) if how in ("range", "an index of a list") else ONE)
    assert "use mx.where or mx.maximum instead of a branch" in str(error.value)
    assert "static_argnames" in str(error.value)


def test_the_line_is_the_one_that_reads():
    with pytest.raises(TypeError, match=re.escape("`return x if x > 0 else -x`")):
        jit(branch_if)(ONE)
    with pytest.raises(TypeError, match=re.escape("`return x if x > 0 else -x`")):
        jit(lambda x: branch_if(x) + 1)(ONE)


def test_the_error_of_mlx_is_the_cause():
    with pytest.raises(TypeError) as error:
        jit(branch_if)(ONE)
    assert isinstance(error.value.__cause__, ValueError)


def test_a_function_works_after_an_error():
    compiled = jit(lambda x, fail: branch_if(x) if fail else x)
    with pytest.raises(TypeError):
        compiled(ONE, True)
    assert compiled(ONE, False).item() == 1


def uses_normal(x):
    noise = mx.random.normal(x.shape)
    return x + noise


def calls_a_helper(x):
    y = x * 2
    return uses_normal(y)


class NoiseLayer:
    def __call__(self, x):
        return x * mx.random.bernoulli(0.5, x.shape)


def seeds(x):
    mx.random.seed(3)
    return x


@pytest.mark.parametrize(
    ("fn", "line"),
    [
        (uses_normal, "noise = mx.random.normal(x.shape)"),
        (calls_a_helper, "noise = mx.random.normal(x.shape)"),
        (NoiseLayer(), "return x * mx.random.bernoulli(0.5, x.shape)"),
        (functools.partial(uses_normal), "noise = mx.random.normal(x.shape)"),
        (seeds, "mx.random.seed(3)"),
    ],
)
def test_the_hidden_random_state_is_an_error_that_names_the_line(fn, line):
    words = (
        rf"jit: .*test_jit_errors\.py:\d+: `{re.escape(line)}` uses MLX's hidden random"
    )
    compiled = jit(fn)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=words + ".* give it a key that comes in as"
        ):
            compiled(mx.zeros(3))


def test_random_numbers_work_after_the_error():
    with pytest.raises(ValueError, match="hidden random state"):
        jit(uses_normal)(mx.zeros(3))
    a, b = mx.random.normal((3,)), mx.random.normal((3,))
    assert mx.all(mx.isfinite(a)) and not mx.array_equal(a, b)
    mx.random.seed(0)
    c = mx.random.normal((3,))
    mx.random.seed(0)
    assert mx.array_equal(c, mx.random.normal((3,)))


def test_a_function_with_a_key_draws_new_numbers_for_each_key():
    compiled = jit(lambda key, x: x + random.normal(key, x.shape))
    a, b = (compiled(random.key(i), mx.zeros(3)) for i in (0, 1))
    assert not mx.array_equal(a, b)
    assert mx.array_equal(a, random.normal(random.key(0), (3,)))


USES_A_NUMBER = {
    "reshape": (lambda x, n: x.reshape(n), RuntimeError, (4,)),
    "reshape of several": (lambda x, n: x.reshape(n, -1), RuntimeError, (4, 1)),
    "a shape": (lambda x, n: mx.zeros((n,)), RuntimeError, (4,)),
    "a slice": (lambda x, n: x[:n], ValueError, (4,)),
    "an axis": (lambda x, n: mx.sum(x[..., None], axis=n - 3), TypeError, (4,)),
}


@pytest.mark.parametrize("how", USES_A_NUMBER)
def test_a_number_that_became_an_array_is_in_a_note(how):
    fn, kind, _ = USES_A_NUMBER[how]
    with pytest.raises(kind) as error:
        jit(fn)(mx.zeros(4), 4)
    assert error.value.__notes__ == [
        "jit: while `<lambda>` is traced, its Python numbers are arrays (n); name in "
        "static_argnames what must stay a number, such as a size or an axis"
    ]


@pytest.mark.parametrize("how", USES_A_NUMBER)
def test_a_number_named_static_stays_one(how):
    fn, _, shape = USES_A_NUMBER[how]
    assert jit(fn, static_argnames="n")(mx.zeros(4), 4).shape == shape


def test_the_note_names_the_path_of_each_number():
    def fn(config, x, *, count):
        raise KeyError("lost")

    with pytest.raises(KeyError) as error:
        jit(fn)({"a": [1, 2.5], "b": True}, mx.zeros(1), count=3)
    assert "are arrays (config.a.0, config.a.1, count);" in error.value.__notes__[0]


def test_there_is_no_note_without_numbers():
    with pytest.raises(ZeroDivisionError) as error:
        jit(lambda x: 1 / 0)(ONE)
    assert not hasattr(error.value, "__notes__")


class OwnError(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


def raises_own(x):
    raise OwnError(7, "seven")


def test_an_error_of_the_function_keeps_its_type_value_and_traceback():
    compiled = jit(lambda x: raises_own(x))
    for _ in range(2):
        with pytest.raises(OwnError) as error:
            compiled(ONE)
        assert error.value.code == 7
        last = traceback.extract_tb(error.value.__traceback__)[-1]
        assert last.name == "raises_own" and last.line == 'raise OwnError(7, "seven")'


def test_a_keyboard_interrupt_passes_through():
    def fn(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jit(fn)(ONE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: f(ONE), "missing 1 required positional argument: 'y'"),
        (lambda f: f(ONE, ONE, ONE), "takes 2 positional arguments but 3 were given"),
        (lambda f: f(ONE, z=ONE), "unexpected keyword argument 'z'"),
    ],
)
def test_a_wrong_call_is_pythons_own_error(call, words):
    with pytest.raises(TypeError, match=words):
        call(jit(lambda x, y: x))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (object(), "x of `step` .* got object"),
        (print, "x of `step` .* got builtin_function_or_method"),
        ({"a": [1, {1, 2}]}, r"x\.a\.1 of `step` .* got set \{1, 2\}"),
        (2**70, "x of `step` .* got int 1180591620717411303424"),
        (np.array(["a"]), "x of `step` .* got ndarray"),
        (np.array([None]), "x of `step` .* got ndarray"),
        (np.datetime64("2020-01-01"), "x of `step` .* got datetime64"),
    ],
)
def test_an_argument_of_another_kind_is_named(argument, words):
    def step(x):
        return x

    with pytest.raises(TypeError, match="jit: " + words) as error:
        jit(step)(argument)
    assert "must be an array, a number, a bool, a string, None" in str(error.value)
    assert "name the parameter in static_argnames if it is a constant" in str(
        error.value
    )


@dataclasses.dataclass
class Config:
    size: int


class Foreign:
    """An array of another library."""

    dtype, shape = "float32", (300, 300)

    def __dlpack__(self):
        raise NotImplementedError

    def __repr__(self):
        raise AssertionError("all of it would be printed")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (
            Foreign(),
            r"got Foreign of float32, shape \(300, 300\); convert it with mx.ar",
        ),
        (np.ma.masked_array([1.0], [True]), "got MaskedArray .* with its .filled"),
        (Config(3), "got Config .*; write it as a NamedTuple or a dict, since a datac"),
        (2**70, "got int 118.*; integers have 64 bits at most"),
    ],
)
@pytest.mark.parametrize("transform", [jit, vmap, grad])
def test_an_argument_of_a_wrong_type_is_named_with_a_fix(transform, argument, words):
    with pytest.raises((TypeError, ValueError), match=words):
        transform(lambda x: x["a"])({"a": argument})


def test_a_static_argument_may_be_no_array_of_another_library():
    with pytest.raises(TypeError, match="must be hashable and hold no array, got For"):
        jit(lambda x, n: x, static_argnames="n")(ONE, Foreign())


def test_a_static_function_may_hide_traced_arrays_where_a_gradient_reaches_them():
    def loss(w):
        apply = jit(lambda fn, x: fn(x), static_argnames="fn")
        return apply(lambda x: x * w, ONE)

    assert grad(loss)(ONE).item() == 1
    with pytest.raises(ValueError, match="jit: `<lambda>` reads `w`, which is not an"):
        mx.grad(loss)(ONE)


LEAKED = []


def leaks(x):
    LEAKED.append(x * 2)
    return x


@pytest.mark.parametrize("transform", [jit, vmap])
def test_a_leaked_tracer_is_named(transform):
    transform(leaks)(mx.ones(2))
    message = r"jit: p\.a of `<lambda>` was kept from inside a function while"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=message):
            jit(lambda p: p["a"] + 1)({"a": LEAKED[-1], "b": ONE})
    with pytest.raises(
        RuntimeError, match="jit: `LEAKED`, which `<lambda>` reads, was"
    ):
        jit(lambda x: x + LEAKED[-1])(mx.ones(2))


@pytest.mark.parametrize("outer", [mx.grad, mx.vmap])
def test_a_captured_value_of_a_transformation_of_mlx_is_named(outer):
    def loss(x):
        return jit(lambda y: y * x)(ONE)

    message = "jit: `<lambda>` reads `x`, which is not an argument but depends on a tra"
    with pytest.raises(ValueError, match=message):
        outer(loss)(mx.ones(3) if outer is mx.vmap else ONE)


@pytest.mark.parametrize("value", [[1], {"a": 1}, ([1],), mx.array(1), (mx.array(1),)])
def test_a_static_argument_must_be_hashable_and_hold_no_array(value):
    message = "jit: the static argument 'n' of `<lambda>` must be hashable and hold no"
    with pytest.raises(TypeError, match=message):
        jit(lambda x, n: x, static_argnames="n")(ONE, value)


def with_a_local(x):
    local = x
    return local


@pytest.mark.parametrize(
    ("fn", "wrong", "words"),
    [
        (lambda a, b: a, "c", r"`<lambda>\(a, b\)`, got 'c'"),
        (lambda a, *, b: a, ("b", "c"), r"`<lambda>\(a, b\)`, got 'c'"),
        (with_a_local, "local", r"`with_a_local\(x\)`, got 'local'"),
        (mx.add, "b", "`add`, which are not known to Python; wrap it in a function"),
    ],
)
def test_static_argnames_must_name_parameters(fn, wrong, words):
    message = "jit: static_argnames must name parameters of " + words
    with pytest.raises(ValueError, match=message):
        jit(fn, static_argnames=wrong)


@pytest.mark.parametrize("wrong", [0, (0,), None, [None]])
def test_static_argnames_must_be_names(wrong):
    with pytest.raises(TypeError, match="jit: static_argnames must be a name or a seq"):
        jit(lambda x: x, static_argnames=wrong)


@pytest.mark.parametrize("max_traces", [0, -1])
def test_max_traces_must_be_positive(max_traces):
    with pytest.raises(ValueError, match="jit: max_traces must be at least 1, got"):
        jit(lambda x: x, max_traces=max_traces)


@pytest.mark.parametrize("fn", [3, None, "step", ONE])
def test_a_value_that_is_not_a_function_is_a_type_error(fn):
    with pytest.raises(TypeError, match="jit: fn must be a function, got"):
        jit(fn)
