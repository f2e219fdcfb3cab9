"""Derivatives after a change of what their function reads."""

import collections
import os
import types

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn.transforms.surroundings import Surroundings
from tests.unit.transforms.derivatives import CALLS, ONE, calls, gradient_after


class Slotted:
    __slots__ = ("scale",)


class Default:
    scale = 2.0


class Heir(Default):
    scale = 2.0


# ---- containers in closures: the derivative has them as they were ----


def test_a_counter_in_a_closure_counts_as_at_the_call_and_stays_as_it_was_changed():
    counts = collections.Counter(a=2)
    assert gradient_after(lambda: counts.update(a=5), lambda x: x * counts["a"]) == 2
    assert counts == {"a": 7}


def test_a_counter_that_a_checkpoint_closes_over_counts_as_at_the_call():
    counts = collections.Counter(a=2)

    def loss(x):
        y = lf.checkpoint(lambda x: x * counts["a"])(x)
        counts.update(a=5)
        return y

    assert lf.grad(loss)(ONE).item() == 2
    assert counts == {"a": 7}


def test_an_ordered_dict_in_a_closure_has_its_order():
    scales = collections.OrderedDict(a=2.0, b=5.0)

    def first(x):
        return x * next(iter(scales.values()))

    assert gradient_after(lambda: scales.move_to_end("a"), first) == 2
    assert list(scales) == ["b", "a"]


def test_an_array_of_a_closure_may_be_changed_in_place():
    w = mx.array(2.0)

    def change():
        nonlocal w
        w -= 1

    assert gradient_after(change, lambda x: x * w) == 2
    assert w.item() == 1


@pytest.mark.parametrize("kind", [dict, list])
def test_a_container_that_holds_itself_is_closed_over(kind):
    scales = {0: 2.0} if kind is dict else [2.0, None]
    scales[1] = scales
    gradient = lf.grad(lf.checkpoint(lambda x: x * scales[1][1][0]))
    assert gradient(ONE).item() == 2


def test_an_array_in_a_container_that_holds_itself_gets_its_gradient():
    def loss(scale):
        scales = {"scale": scale}
        scales["self"] = scales
        return lf.checkpoint(lambda x: x * scales["self"]["scale"])(mx.array(3.0))

    assert lf.grad(loss)(mx.array(2.0)).item() == 3


# ---- changes of anything else are errors ----

thing = types.SimpleNamespace()
slotted = Slotted()
default = Default()
numbers = {"scale": 2.0, "all": [2.0], "more": collections.deque([2.0])}
ordered = collections.OrderedDict(a=2.0, b=5.0)
names = {"scale"}
array = mx.array(2.0)
scales = np.array([2.0])
view = scales[:]
view.flags.writeable = False
objects = np.array([2.0, None], object)


def make_scaled(scale):
    def change():
        nonlocal scale
        scale = 5.0

    return lambda x: x * scale, change


scaled, change_scaled = make_scaled(2.0)


@pytest.fixture(autouse=True)
def as_before():
    """The globals of this module as they were."""
    global array, scales, view, scaled, change_scaled
    thing.__dict__.clear()
    thing.__dict__.update(scale=2.0, held=types.SimpleNamespace(scale=2.0))
    slotted.scale = Default.scale = Heir.scale = 2.0
    default.__dict__.clear()
    numbers.update(scale=2.0, all=[2.0], more=collections.deque([2.0]))
    ordered.move_to_end("b")
    names.clear()
    names.add("scale")
    array, scales, objects[0] = mx.array(2.0), np.array([2.0]), 2.0
    view = scales[:]
    view.flags.writeable = False
    scaled, change_scaled = make_scaled(2.0)


def of(value):
    return value.scale


def assign(owner, name="scale", value=5.0):
    return lambda: setattr(owner, name, value)


def rebind_array():
    global array
    array = mx.array(5.0)


def change_array():
    array[...] = 5.0


CHANGES = {
    "attribute": (lambda x: x * thing.scale, assign(thing), "thing.scale"),
    "attribute of an attribute": (
        lambda x: x * thing.held.scale,
        lambda: setattr(thing.held, "scale", 5.0),
        "thing.held.scale",
    ),
    "attribute read elsewhere": (lambda x: x * of(thing), assign(thing), "thing.scale"),
    "attribute by name": (
        lambda x: x * getattr(thing, "scale"),  # noqa: B009  # the point of it
        assign(thing),
        "thing.scale",
    ),
    "deleted attribute": (
        lambda x: x * getattr(thing, "scale", 5.0),
        lambda: delattr(thing, "scale"),
        "thing.scale",
    ),
    "slot": (lambda x: x * slotted.scale, assign(slotted), "slotted.scale"),
    "emptied slot": (
        lambda x: x * slotted.scale,
        lambda: delattr(slotted, "scale"),
        "slotted.scale",
    ),
    "new attribute": (
        lambda x: x * (thing.new if hasattr(thing, "new") else 2.0),
        assign(thing, "new"),
        "thing.new",
    ),
    "attribute that hides its class's": (
        lambda x: x * default.scale,
        assign(default),
        "default.scale",
    ),
    "attribute of a class": (
        lambda x: x * Default.scale,
        assign(Default),
        "Default.scale",
    ),
    "deleted attribute of a class": (
        lambda x: x * Heir.scale,
        lambda: delattr(Heir, "scale"),
        "Heir.scale",
    ),
    "global": (lambda x: x * array, rebind_array, "array"),
    "array in place": (lambda x: x * array, change_array, "array"),
    "NumPy in place": (
        lambda x: x * float(scales[0]),
        lambda: scales.fill(5.0),
        "scales",
    ),
    "NumPy, another shape": (
        lambda x: x * float(scales.sum()),
        lambda: scales.resize((3,), refcheck=False),
        "scales",
    ),
    "NumPy view": (lambda x: x * float(view[0]), lambda: scales.fill(5.0), "view"),
    "NumPy objects": (
        lambda x: x * objects[0],
        lambda: objects.__setitem__(0, 5.0),
        "objects",
    ),
    "item of a dict": (
        lambda x: x * numbers["scale"],
        lambda: numbers.update(scale=5.0),
        r"numbers\['scale'\]",
    ),
    "new item of a dict": (
        lambda x: x * sum(v for v in ordered.values()),
        lambda: ordered.update(new=1.0),
        "ordered",
    ),
    "order of a dict": (
        lambda x: x * next(iter(ordered.values())),
        lambda: ordered.move_to_end("a"),
        "ordered",
    ),
    "list in a dict": (
        lambda x: x * sum(numbers["all"]),
        lambda: numbers["all"].append(3.0),
        "numbers",
    ),
    "deque in a dict": (
        lambda x: x * sum(numbers["more"]),
        lambda: numbers["more"].append(3.0),
        "numbers",
    ),
    "set": (lambda x: x * len(names), lambda: names.add("bias"), "names"),
    "closure of a function": (lambda x: scaled(x), lambda: change_scaled(), "scale"),
}


@pytest.fixture(params=CHANGES)
def changed(request):
    yield CHANGES[request.param]
    ordered.pop("new", None)


def test_a_change_is_an_error_that_names_what_has_changed(changed):
    fn, change, name = changed
    message = f"^vjp: `{name}` has changed since the call whose derivative"
    with pytest.raises(ValueError, match=message):
        gradient_after(change, fn)


@calls
def test_each_transformation_that_calls_a_function_again_says_so(name):
    def loss(x):
        y = CALLS[name](lambda x: x * thing.scale, x)
        thing.scale = 5.0
        return y

    with pytest.raises(ValueError, match=f"^{name}: `thing.scale` has changed since"):
        lf.grad(loss)(ONE)


@calls
def test_nothing_of_the_callers_is_written_to_by_a_derivative(name):
    class Guarded:
        scale = 2.0

        def __setattr__(self, name, value):
            raise AssertionError

    guarded = Guarded()
    lf.grad(lambda x: CALLS[name](lambda x: x * guarded.scale, x))(ONE)


@pytest.mark.parametrize("kind", [dict, list])
def test_methods_of_a_container_s_own_class_are_not_run(kind):
    def fail(*_):
        raise AssertionError

    methods = "__setitem__", "clear", "update", "extend", "__iter__", "keys", "values"
    strict = type("Strict", (kind,), dict.fromkeys(methods, fail))
    thing.strict = strict({0: 2.0} if kind is dict else [2.0])
    change = lambda: kind.__setitem__(thing.strict, 0, 5.0)  # noqa: E731
    assert gradient_after(lambda: None, lambda x: x * thing.strict[0]) == 2
    with pytest.raises(ValueError, match=r"`thing\.strict\[0\]` has changed"):
        gradient_after(change, lambda x: x * thing.strict[0])


def test_a_state_that_the_function_replaces_is_a_change():
    def with_state(x):
        thing.h = 2 * thing.h
        return x * thing.h.item()

    thing.h = mx.array(1.0)
    with pytest.raises(ValueError, match=r"`thing\.h` is changed by the function"):
        gradient_after(lambda: None, with_state)


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_reads_of_installed_packages_are_not_noted(folder):
    """Else the snapshot would include all objects of a test framework or debugger."""
    names = {"state": {"scale": 2.0}}
    file = os.path.join(os.sep, "elsewhere", folder, "package.py")
    exec(compile("def scaled(x): return x * state['scale']", file, "exec"), names)
    around = Surroundings()
    around.add(names["scaled"], "scaled")
    names["state"] = {"scale": 5.0}
    assert around.changed() is None
