"""Objects that keep what they hold in unusual ways, and have it put back."""

import collections
import os
import types

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn.transforms.surroundings import Surroundings


def gradient_after(change, fn):
    """The derivative of `fn`, computed after a change of what `fn` has read."""
    _, pull = lf.vjp(fn, mx.array(1.0))
    change()
    return pull(mx.array(1.0))[0].item()


class Slotted:
    __slots__ = ("scale",)


def test_a_counter_is_put_back_with_its_counts_and_stays_as_it_was_changed():
    counts = collections.Counter(a=2)
    assert gradient_after(lambda: counts.update(a=5), lambda x: x * counts["a"]) == 2
    assert counts == {"a": 7}


def test_a_counter_that_a_checkpoint_closes_over_counts_as_at_the_call():
    counts = collections.Counter(a=2)

    def loss(x):
        y = lf.checkpoint(lambda x: x * counts["a"])(x)
        counts.update(a=5)
        return y

    assert lf.grad(loss)(mx.array(1.0)).item() == 2
    assert counts == {"a": 7}


def test_the_order_of_an_ordered_dict_is_put_back():
    scales = collections.OrderedDict(a=2.0, b=5.0)

    def first(x):
        return x * next(iter(scales.values()))

    assert gradient_after(lambda: scales.move_to_end("a"), first) == 2
    assert list(scales) == ["b", "a"]


@pytest.mark.parametrize("kind", [dict, list])
def test_methods_of_a_container_s_own_class_are_not_run(kind):
    def fail(*_):
        raise AssertionError

    methods = "__setitem__", "clear", "update", "extend", "__iter__", "keys", "values"
    strict = type("Strict", (kind,), dict.fromkeys(methods, fail))
    scales = strict({0: 2.0} if kind is dict else [2.0])
    change = lambda: kind.__setitem__(scales, 0, 5.0)  # noqa: E731
    assert gradient_after(change, lambda x: x * scales[0]) == 2
    assert scales[0] == 5


def test_a_slot_that_is_empty_now_stays_empty():
    thing = Slotted()
    thing.scale = 2.0
    change = lambda: delattr(thing, "scale")  # noqa: E731
    assert gradient_after(change, lambda x: x * thing.scale) == 2
    assert not hasattr(thing, "scale")


@pytest.mark.parametrize("kind", [Slotted, types.SimpleNamespace])
def test_an_attribute_that_was_not_there_is_not_there(kind):
    thing = kind()
    change = lambda: setattr(thing, "scale", 5.0)  # noqa: E731

    def scaled(x):
        return x * (thing.scale if hasattr(thing, "scale") else 2.0)

    assert gradient_after(change, scaled) == 2
    assert thing.scale == 5


def test_an_attribute_of_an_object_does_not_hide_the_one_of_its_class_that_was_read():
    class Default:
        scale = 2.0

    thing = Default()
    change = lambda: setattr(thing, "scale", 5.0)  # noqa: E731
    assert gradient_after(change, lambda x: x * thing.scale) == 2
    assert thing.scale == 5


def test_a_view_that_cannot_be_written_to_is_an_error_that_says_what_to_do():
    scales = np.array([2.0])
    view = scales[:]
    view.flags.writeable = False
    with pytest.raises(ValueError, match=r"\(1,\) that was changed after the call"):
        gradient_after(lambda: scales.fill(5.0), lambda x: x * float(view[0]))
    assert view[0] == 5


def test_an_array_of_numpy_that_has_another_shape_now_is_an_error():
    scales = np.array([2.0])
    change = lambda: scales.resize((3,), refcheck=False)  # noqa: E731
    with pytest.raises(ValueError, match=r"\(3,\) that was changed after the call"):
        gradient_after(change, lambda x: x * float(scales.sum()))
    assert scales.shape == (3,)


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_what_packages_read_stays_theirs_wherever_they_are_installed(folder):
    """Else all that a test framework or a debugger holds would be looked through."""
    names = {"state": {"scale": 2.0}}
    file = os.path.join(os.sep, "elsewhere", folder, "package.py")
    exec(compile("def scaled(x): return x * state['scale']", file, "exec"), names)
    around = Surroundings(names["scaled"])
    names["state"] = {"scale": 5.0}
    assert around.changed() is None


@pytest.mark.parametrize("kind", [dict, list])
def test_a_container_that_holds_itself_is_closed_over(kind):
    scales = {0: 2.0} if kind is dict else [2.0, None]
    scales[1] = scales
    gradient = lf.grad(lf.checkpoint(lambda x: x * scales[1][1][0]))
    assert gradient(mx.array(1.0)).item() == 2


def test_an_array_in_a_container_that_holds_itself_gets_its_gradient():
    def loss(scale):
        scales = {"scale": scale}
        scales["self"] = scales
        return lf.checkpoint(lambda x: x * scales["self"]["scale"])(mx.array(3.0))

    assert lf.grad(loss)(mx.array(2.0)).item() == 3
