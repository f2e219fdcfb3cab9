"""jit: captured values that change are errors."""

import functools
import types

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, jit, nn, value_and_grad
from tests.strategies import Pair

ONE = mx.array(1.0)

weight = mx.array(2.0)
table = {"w": mx.array(2.0), "names": ["a", 1]}
rate = 2.0
settings = types.SimpleNamespace(rate=2.0, nested=types.SimpleNamespace(w=weight))
module = types.ModuleType("module")
module.weight = mx.array(2.0)
module.double = lambda x: x * module.weight
half = mx.array([2.0, 1.0], mx.bfloat16)
shape = mx.array(3.0)  # named like an attribute of every array
cyclic: list = [mx.array(2.0)]
cyclic.append(cyclic)
mixed_keys = {1: mx.array(2.0), "a": 0}


@pytest.fixture(autouse=True)
def restored():
    """The globals of this module as they were."""
    yield
    globals().update(weight=mx.array(2.0), rate=2.0, shape=mx.array(3.0))
    settings.rate, settings.nested.w = 2.0, mx.array(2.0)
    module.weight, table["w"] = mx.array(2.0), mx.array(2.0)


def helper(x):
    return x * weight


# One operation a function: each new fused kernel would be compiled first.
class Model:
    def __init__(self):
        self.w = mx.array(2.0)
        self.tree = {"b": [mx.array(0.0)]}
        self.rate = 1.0
        self.inner = types.SimpleNamespace(w=mx.array(1.0))

    def step(self, x):
        return x * self.w

    def add(self, x):
        return x + self.tree["b"][0]

    def __call__(self, x):
        return x * self.w

    def indirect(self, x):
        return self.step(x)

    @property
    def scale(self):
        return self.w

    @staticmethod
    def twice(x):
        return x * weight

    def by_property(self, x):
        return x * self.scale

    def by_static(self, x):
        return self.twice(x)

    def by_rate(self, x):
        return x * self.rate

    def deep(self, x):
        return x * self.inner.w

    def in_lambda(self, x):
        return (lambda y: y * self.w)(x)

    def in_comprehension(self, x):
        return [self.w * y for y in (x,)]

    def shadowed(self, x):
        w = x * 2
        return w


class Heir(Model):
    def step(self, x):
        return super().step(x)


def rebind_weight():
    global weight
    weight = mx.array(10.0)


def rebind_rate():
    global rate
    rate = 10.0


def in_place(array):
    array += 1


def with_closure():
    w = mx.array(2.0)

    def change():
        nonlocal w
        w = mx.array(10.0)

    return lambda x: x * w, change


def with_late_helper():
    def fn(x):
        return late(x)

    def late(x):
        return x * w

    w = mx.array(2.0)

    def change():
        nonlocal w
        w = mx.array(10.0)

    return fn, change


def with_tree():
    params = {"layers": [{"w": mx.array(2.0)}]}

    def change():
        params["layers"][0] = {"w": mx.array(10.0)}

    return lambda x: x * params["layers"][0]["w"], change


def with_model(call, change, model=None):
    model = model or Model()
    return call(model), lambda: change(model)


def new_w(model):
    model.w = mx.array(10.0)


def new_rate(model):
    model.rate = 5.0


def new_inner(model):
    model.inner.w = mx.array(10.0)


def new_tree(model):
    model.tree["b"] = [mx.array(10.0)]


def set_(owner, name, value):
    return lambda: setattr(owner, name, value)


CHANGED = {
    "a global": lambda: (lambda x: x * weight, rebind_weight),
    "a global through a helper": lambda: (helper, rebind_weight),
    "a global through two": lambda: (lambda x: helper(x), rebind_weight),
    "a global in a lambda inside": lambda: (
        lambda x: (lambda y: y * weight)(x),
        rebind_weight,
    ),
    "a global in a comprehension": lambda: (
        lambda x: [x * weight for _ in "a"],
        rebind_weight,
    ),
    "a global dict": lambda: (
        lambda x: x * table["w"],
        lambda: table.update(w=mx.array(10.0)),
    ),
    "a global number": lambda: (lambda x: x * rate, rebind_rate),
    "a global array in place": lambda: (lambda x: x * weight, lambda: in_place(weight)),
    "bfloat16 in place": lambda: (
        lambda x: x * half,
        lambda: in_place(half),
    ),
    "a closure": with_closure,
    "a closure bound late": with_late_helper,
    "a tree in a closure": with_tree,
    "an attribute": lambda: (lambda x: x * settings.rate, set_(settings, "rate", 5.0)),
    "an attribute of an attribute": lambda: (
        lambda x: x * settings.nested.w,
        set_(settings.nested, "w", mx.array(5.0)),
    ),
    "a variable of a module": lambda: (
        lambda x: x * module.weight,
        set_(module, "weight", mx.array(5.0)),
    ),
    "a function of a module": lambda: (
        lambda x: module.double(x),
        set_(module, "weight", mx.array(5.0)),
    ),
    "self of a method": lambda: with_model(lambda m: m.step, new_w),
    "a tree of self": lambda: with_model(lambda m: m.add, new_tree),
    "a static method": lambda: (Model().by_static, rebind_weight),
    "a number of self": lambda: with_model(lambda m: m.by_rate, new_rate),
    "an attribute of self's": lambda: with_model(lambda m: m.deep, new_inner),
    "self in a lambda": lambda: with_model(lambda m: m.in_lambda, new_w),
    "self in a comprehension": lambda: with_model(lambda m: m.in_comprehension, new_w),
    "self of a method by super": lambda: with_model(lambda m: m.step, new_w, Heir()),
    "self of a method it calls": lambda: with_model(lambda m: m.indirect, new_w),
    "a property of self": lambda: with_model(lambda m: m.by_property, new_w),
    "a callable object": lambda: with_model(lambda m: m, new_w),
    "an object of a closure": lambda: with_model(lambda m: lambda x: m(x), new_w),
    "a method of a closure": lambda: with_model(lambda m: lambda x: m.step(x), new_w),
    "a partial": lambda: with_model(lambda m: functools.partial(m.step), new_w),
    "a partial of a function": lambda: (
        functools.partial(lambda f, x: f(x), helper),
        rebind_weight,
    ),
    "a wrapped function": lambda: (
        functools.wraps(helper)(lambda x: helper(x)),
        rebind_weight,
    ),
    "inside grad": lambda: (grad(lambda x: x * weight), rebind_weight),
    "inside value_and_grad": lambda: (
        value_and_grad(lambda x: x * weight),
        rebind_weight,
    ),
    "inside jit": lambda: (jit(lambda x: x * weight), rebind_weight),
    "inside a layer": lambda: (
        lambda x: nn.serial(lambda y: y * weight).apply({}, {}, x, train=True)[0],
        rebind_weight,
    ),
    "a global in a layer made before": lambda: (
        functools.partial(
            lambda layer, x: layer.apply({}, {}, x, train=True)[0],
            nn.serial(nn.residual(helper)),
        ),
        rebind_weight,
    ),
    "a cyclic list": lambda: (
        lambda x: x * cyclic[0],
        lambda: cyclic.__setitem__(0, mx.array(5.0)),
    ),
    "a dict whose keys have no order": lambda: (
        lambda x: x * mixed_keys[1],
        lambda: mixed_keys.__setitem__(1, mx.array(5.0)),
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_captured_value_that_changed_is_an_error(what):
    fn, change = CHANGED[what]()
    compiled = jit(fn)
    for _ in range(2):
        compiled(ONE)
    change()
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"jit: `.*` reads `.*`, which is not an arg"
        ):
            compiled(ONE)


def test_the_error_names_the_reader_the_name_and_the_fix():
    compiled = jit(lambda x: helper(x))
    compiled(ONE)
    rebind_weight()
    message = (
        "jit: `helper` reads `weight`, which is not an argument and has changed since "
        "`<lambda>` was compiled with its old value; pass `weight` as an argument"
    )
    with pytest.raises(ValueError, match=message):
        compiled(ONE)


def test_the_error_names_the_attribute():
    model = Model()
    compiled = jit(model.step)
    compiled(ONE)
    model.w = mx.array(10.0)
    with pytest.raises(
        ValueError, match=r"`step` reads `self\.w`, .* since `step` was"
    ):
        compiled(ONE)


def test_a_function_that_rebinds_a_captured_name_is_an_error_at_once():
    def step(x):
        settings.nested.w = x * settings.nested.w
        return x

    with pytest.raises(
        ValueError, match=r"`settings\.nested\.w`, .* return its new val"
    ):
        jit(step)(ONE)


CONSTANT = mx.array(2.0)
CONSTANTS = {"w": [mx.array(5.0), 1], "np": np.ones(2)}


def reads_constants(x):
    return mx.stack([x * CONSTANT, CONSTANTS["w"][0]])


def counts_itself(x):
    global calls
    calls += 1
    return x


calls = 0


def recursive(x, depth=3):
    return x if depth == 0 else recursive(x, depth - 1)


def mutual_a(x, depth=3):
    return mutual_b(x, depth)


def mutual_b(x, depth):
    return x if depth == 0 else mutual_a(x, depth - 1)


def uses_an_attribute_named_like_a_global(x):
    return x.reshape(x.shape)


def uses_a_local_named_like_a_global(x):
    weight = x
    return (lambda y: y * weight)(x)


def uses_a_parameter_named_like_a_global(weight, rate=1.0):
    return (lambda: weight * rate)()


def reads_a_name_that_is_not_there(x):
    return x if True else not_there  # noqa: F821


def makes_a_dict(x):
    cache = {}
    cache["w"] = x
    return cache["w"]


UNCHANGED = {
    "constants": (reads_constants, lambda: None),
    "a counter": (counts_itself, lambda: None),
    "recursion": (recursive, rebind_weight),
    "mutual recursion": (mutual_a, rebind_weight),
    "an attribute": (
        uses_an_attribute_named_like_a_global,
        lambda: globals().update(shape=ONE),
    ),
    "a local": (uses_a_local_named_like_a_global, rebind_weight),
    "a parameter": (
        uses_a_parameter_named_like_a_global,
        lambda: (rebind_weight(), rebind_rate()),
    ),
    "a missing name": (reads_a_name_that_is_not_there, rebind_weight),
    "a local dict": (makes_a_dict, rebind_weight),
    "a method that does not read it": (Model().shadowed, lambda: None),
    "a builtin": (mx.abs, rebind_weight),
    "a partial": (functools.partial(mx.add, mx.array(4.0)), rebind_weight),
    "a lambda": (lambda x: x + 1, rebind_weight),
    "a named tuple": (lambda x, p=Pair(CONSTANT, 2): x + p.first, rebind_weight),  # noqa: B008
}


@pytest.mark.parametrize("what", UNCHANGED)
def test_values_that_do_not_change_or_are_not_read_are_fine(what):
    fn, change = UNCHANGED[what]
    compiled = jit(fn)
    first = compiled(ONE)
    change()
    for _ in range(2):
        assert mx.array_equal(compiled(ONE), first)


def test_other_attributes_of_an_object_may_change():
    model = Model()
    compiled = jit(model)
    first = compiled(ONE)
    model.rate, model.tree = 7.0, {}
    assert mx.array_equal(compiled(ONE), first)
