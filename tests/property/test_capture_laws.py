"""What a function reads from outside counts as it was when the function was called.

As in JAX, whichever way it is read, and whatever the function is given to. Or else the
derivative that reads it again is an error.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from tests.assertions import assert_close

X = mx.array([0.5, 1.2])
OLD, NEW = 2.0, 5.0

Fn = Callable[[Any], Any]
Kind = Callable[[], tuple[Fn, Callable[[], None]]]

scale: Any = OLD
held: list[Any] = [OLD]
config = types.ModuleType("config")


def by_scale(x):
    return mx.sin(x) * scale


def by_attribute(thing, x):
    return mx.sin(x) * thing.scale


class Scaled:
    """Reads a number in all the ways that methods can."""

    shared: Any = OLD

    def __init__(self, scale: Any = OLD) -> None:
        self.scale = scale
        self.items = [scale]
        self.inner = types.SimpleNamespace(scale=scale)

    def __call__(self, x):
        return mx.sin(x) * self.scale

    def by_item(self, x):
        return mx.sin(x) * self.items[0]

    def by_inner(self, x):
        return mx.sin(x) * self.inner.scale

    def by_local_name(self, x):
        inner = self.inner
        return mx.sin(x) * inner.scale

    def by_function(self, x):
        return by_attribute(self, x)

    def by_getattr(self, x):
        return mx.sin(x) * getattr(self, "scale")  # noqa: B009  # the point of it

    def by_method(self, x):
        return self(x)

    def by_class(self, x):
        return mx.sin(x) * self.shared

    def by_property(self, x):
        return mx.sin(x) * self.own

    def by_global(self, x):
        return by_scale(x)

    @property
    def own(self):
        return self.scale


class Child(Scaled):
    def by_item(self, x):
        return super().by_item(x)


class Slotted:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = OLD

    def times(self, x):
        return mx.sin(x) * self.scale


def set_scale(value: Any) -> None:
    global scale
    scale = value


def reading(fn: Fn, old: Any = OLD, new: Any = NEW) -> Kind:
    """A function that reads the global `scale`, or the global list `held`."""

    def make():
        set_scale(old)
        held[:] = [old]

        def change():
            set_scale(new)
            held[0] = new

        return fn, change

    return make


def method(name: str, cls: type[Scaled] = Scaled, value: Any = OLD) -> Kind:
    def make():
        Scaled.shared, thing = value, cls(value)

        def change():
            Scaled.shared = thing.scale = thing.inner.scale = thing.items[0] = NEW

        return getattr(thing, name), change

    return make


def of(make_fn: Callable[[Any], Fn], cls: Any = Scaled) -> Kind:
    """A function that is given an object."""

    def make():
        thing = cls()
        return make_fn(thing), lambda: setattr(thing, "scale", NEW)

    return make


def container(make_fn: Callable[[Any], Fn], key: Any = 0) -> Kind:
    def make():
        values: Any = {key: OLD} if isinstance(key, str) else [OLD]
        return make_fn(values), lambda: values.__setitem__(key, NEW)

    return make


def closure(old: Any = OLD, new: Any = NEW) -> tuple[Fn, Callable[[], None]]:
    value = old

    def change():
        nonlocal value
        value = new

    return lambda x: mx.sin(x) * value, change


def a_function() -> tuple[Fn, Callable[[], None]]:
    layer = functools.partial(mx.multiply, OLD)

    def change():
        nonlocal layer
        layer = functools.partial(mx.multiply, NEW)

    return lambda x: layer(mx.sin(x)), change


def in_place() -> tuple[Fn, Callable[[], None]]:
    thing = Scaled(mx.array(OLD))

    def change():
        thing.scale += NEW - OLD

    return thing, change


def of_module() -> tuple[Fn, Callable[[], None]]:
    config.scale = OLD
    return lambda x: mx.sin(x) * config.scale, lambda: setattr(config, "scale", NEW)


def nested(x):
    def inner(x):
        return mx.sin(x) * scale

    return inner(x)


def class_body(x):
    class Local:
        value = scale

    return mx.sin(x) * Local.value


def called_each(things):
    def run(x):
        for thing in things:
            x = thing(x)
        return x

    return run


KINDS: dict[str, Kind] = {
    "closure": closure,
    "array of a closure": lambda: closure(mx.array(OLD), mx.array(NEW)),
    "function of a closure": a_function,
    "list": container(lambda values: lambda x: mx.sin(x) * values[0]),
    "dict": container(lambda values: lambda x: mx.sin(x) * values["a"], "a"),
    "default": container(lambda values: lambda x, v=values: mx.sin(x) * v[0]),
    "keyword default": container(
        lambda values: lambda x, *, v=values: mx.sin(x) * v[0]
    ),
    "partial": container(lambda v: functools.partial(lambda v, x: mx.sin(x) * v[0], v)),
    "partial of a partial": container(
        lambda v: functools.partial(
            functools.partial(lambda a, v, x: a * mx.sin(x) * v[0], 1), v
        )
    ),
    "object of a partial": of(lambda thing: functools.partial(by_attribute, thing)),
    "object of a closure": of(lambda thing: lambda x: mx.sin(x) * thing.scale),
    "object in a list": of(
        lambda thing: (lambda things: lambda x: mx.sin(x) * things[0].scale)([thing])
    ),
    "callable": of(lambda thing: thing),
    "callables in a list": of(lambda thing: called_each([thing])),
    "slot": of(lambda thing: thing.times, Slotted),
    "array changed in place": in_place,
    "global": reading(by_scale),
    "global array": reading(by_scale, mx.array(OLD), mx.array(NEW)),
    "global of another function": reading(lambda x: by_scale(x)),
    "global of a nested function": reading(nested),
    "global of a generator": reading(
        lambda x: sum(mx.sin(x) * scale for _ in range(1))
    ),
    "global of a class body": reading(class_body),
    "global list": reading(lambda x: mx.sin(x) * held[0]),
    "attribute of a module": of_module,
    "attribute": method("__call__"),
    "array of an attribute": method("__call__", value=mx.array(OLD)),
    "method of a subclass": method("by_item", Child),
    **{
        f"method {name}": method(name)
        for name in vars(Scaled)
        if name.startswith("by_") and name != "by_global"
    },
    "method by_global": reading(Scaled().by_global),
}
# Closures, defaults and partials are copied at the call, with the containers in them.
COPIED = {
    "closure",
    "array of a closure",
    "function of a closure",
    "list",
    "dict",
    "default",
    "keyword default",
    "partial",
    "partial of a partial",
}


def check_derivative(kind: str, derivative: Callable[[], Any]) -> None:
    """Checks that it is that of the old value, or an error."""
    if kind in COPIED:
        assert_close(derivative(), OLD * mx.cos(X), rtol=1e-5)
    else:
        with pytest.raises(ValueError, match=r"`[\w.]+(\[0\])?` (has|is) changed"):
            derivative()


def ruled_by_vjp(fn: Fn, x: Any) -> Any:
    ruled = lf.custom_vjp(lambda x: fn(x))
    ruled.defvjp(
        lambda x: (fn(x), lf.vjp(fn, x)[1](mx.ones(2))[0]),
        lambda slope, cotangent: (slope * cotangent,),
    )
    return ruled(x)


def ruled_by_jvp(fn: Fn, x: Any) -> Any:
    ruled = lf.custom_jvp(lambda x: fn(x))
    ruled.defjvp(lambda primals, tangents: lf.jvp(fn, primals, tangents))
    return ruled(x)


def scanned(fn: Fn, x: Any) -> Any:
    return lf.scan(lambda c, _: (fn(c), None), x, None, length=1)[0]


CALLS: dict[str, Callable[[Fn, Any], Any]] = {
    "checkpoint": lambda fn, x: lf.checkpoint(fn)(x),
    "cond": lambda fn, x: lf.cond(mx.array(True), fn, lambda x: x, x),
    "custom_jvp": ruled_by_jvp,
    "custom_vjp": ruled_by_vjp,
    "fori_loop": lambda fn, x: lf.fori_loop(0, 1, lambda _, c: fn(c), x),
    "map": lambda fn, x: lf.map(fn, x),
    "scan": scanned,
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.mark.parametrize("kind", KINDS)
@calls
def test_a_derivative_sees_what_was_there_at_the_call(kind, call):
    fn, change = KINDS[kind]()

    def loss(x):
        y = mx.sum(call(fn, x))
        change()
        return y

    check_derivative(kind, lambda: lf.grad(loss)(X))


@pytest.mark.parametrize("kind", KINDS)
def test_the_function_of_vjp_sees_what_was_there_at_the_call(kind):
    fn, change = KINDS[kind]()
    _, pull = lf.vjp(fn, X)
    change()
    check_derivative(kind, lambda: pull(mx.ones(2))[0])


@pytest.mark.parametrize("kind", ["attribute", "closure"])
@pytest.mark.parametrize("jacobian", [lf.jacrev, lf.jacfwd], ids=["jacrev", "jacfwd"])
def test_a_jacobian_is_of_what_its_function_read_first(kind, jacobian):
    fn, change = KINDS[kind]()

    def changing(x):
        y = fn(x)
        change()
        return y

    check_derivative(kind, lambda: mx.diag(jacobian(changing)(X)))


@kinds
@pytest.mark.parametrize("call", [CALLS["map"], scanned], ids=["map", "scan"])
def test_what_has_changed_since_the_last_call_is_seen(make, call):
    fn, change = make()
    assert_close(call(fn, X), OLD * mx.sin(X), rtol=1e-5)
    change()
    assert_close(call(fn, X), NEW * mx.sin(X), rtol=1e-5)


@kinds
def test_a_compiled_function_refuses_what_has_changed(make):
    fn, change = make()
    compiled = lf.jit(fn)
    assert_close(compiled(X), OLD * mx.sin(X), rtol=1e-5)
    change()
    with pytest.raises(ValueError, match="has changed since"):
        compiled(X)


@pytest.mark.parametrize("outer", [lf.jit, lambda fn: fn], ids=["jit", "eager"])
@pytest.mark.parametrize("name", ["checkpoint", "scan"])
def test_a_state_that_the_function_changes_itself_is_an_error(name, outer):
    thing = Scaled()

    def counted(x):
        thing.scale += 1.0
        return mx.sin(x) * (thing.scale - 1.0)

    gradient = lf.grad(lambda x: mx.sum(CALLS[name](counted, x)))
    with pytest.raises(ValueError, match=f"{name}: `self.scale` is changed by the"):
        outer(gradient)(X)


@pytest.mark.parametrize("name", ["checkpoint", "cond", "custom_jvp", "custom_vjp"])
def test_numbers_that_a_second_pass_would_draw_anew_are_refused(name):
    message = rf"{name}: `<lambda>` uses MLX's hidden random state, .*; give it a key"
    with pytest.raises(ValueError, match=message):
        lf.grad(lambda x: mx.sum(CALLS[name](lambda x: x * mx.random.uniform(), x)))(X)


def test_the_function_of_vjp_may_not_draw_anew():
    with pytest.raises(ValueError, match="vjp: `<lambda>` uses MLX's hidden random"):
        lf.vjp(lambda x: x * mx.random.uniform(), X)


def test_a_large_array_of_numpy_that_was_changed_is_an_error():
    images = np.ones((1024, 1024), np.float32)
    _, pull = lf.vjp(lambda w: mx.sum(w * mx.array(images[:4])), mx.array(2.0))
    assert pull(mx.array(1.0))[0].item() == 4096
    images[0, 0] = 5
    with pytest.raises(ValueError, match="`images` has changed since the call"):
        pull(mx.array(1.0))
