"""Loops read captured values anew at each call."""

import itertools
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import tree

P: dict[str, Any] = {}
WEIGHTS: list[Any] = []
ARRAY = mx.zeros(2)
NUMPY = np.zeros(2, np.float32)


def scale() -> Any:
    return P["w"]


def forward(h: Any) -> Any:
    return h * P["w"]


class Scaled:
    """Has a method and a property that read a dict, and the method itself."""

    held = P

    def times(self, x: Any) -> Any:
        self.times  # noqa: B018  # a method that reads itself has an end, too
        return x * self.held["w"]

    @property
    def weight(self) -> Any:
        return self.held["w"]


SCALED = Scaled()

LOOPS: dict[str, Callable[[], Any]] = {
    "scan": lambda: lf.scan(lambda c, x: (c * P["w"] + x, None), 0.0, mx.ones(4))[0],
    "fori_loop": lambda: lf.fori_loop(0, 3, lambda i, h: h * P["w"] + 1, 1.0),
    "map": lambda: lf.map(lambda x: x * P["w"], mx.ones(4)),
    "while_loop": lambda: lf.while_loop(
        lambda h: h < 50, lambda h: h * (P["w"] + 1) + 1, 1.0
    ),
    "the condition of while_loop": lambda: lf.while_loop(
        lambda h: h < 8 * P["w"], lambda h: h + 1, 0.0
    ),
    "a function": lambda: lf.map(lambda x: x * scale(), mx.ones(4)),
    "a method": lambda: lf.map(lambda x: SCALED.times(x), mx.ones(4)),
    "a method as the body": lambda: lf.map(SCALED.times, mx.ones(4)),
    "a property": lambda: lf.map(lambda x: x * SCALED.weight, mx.ones(4)),
    "the body itself": lambda: lf.map(forward, mx.ones(4)),
    "a gradient": lambda: lf.grad(
        lambda a: lf.fori_loop(0, 3, lambda i, h: h * P["w"], a)
    )(mx.array(1.0)),
    "a loop inside jit": lambda: lf.jit(lambda x: lf.map(lambda x: x * P["w"], x))(
        mx.ones(4)
    ),
}


@pytest.mark.parametrize("new", [0.5, mx.array(0.5)], ids=["number", "array"])
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_reads_an_item_of_a_dict_that_has_changed(name: str, new: Any) -> None:
    P["w"] = type(new)(1.0)
    LOOPS[name]()
    P["w"] = new
    found = LOOPS[name]()
    with lf.disable_jit():
        expected = LOOPS[name]()
    assert tree.map(lambda x: x.tolist(), found) == expected.tolist()


def _assign(key: Any, value: Any, container: Any) -> Callable[[], None]:
    return lambda: container.__setitem__(key, value)


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (lambda x: x + WEIGHTS[0], _assign(0, 5.0, WEIGHTS)),
        (lambda x: x + sum(WEIGHTS), lambda: WEIGHTS.append(2.0)),
        (lambda x: x + ARRAY, _assign(0, 5.0, ARRAY)),
        (lambda x: x + mx.array(NUMPY), _assign(0, 5.0, NUMPY)),
        (lambda x: x * 3 if P["triple"] else x, _assign("triple", True, P)),
        (lambda x: x * 3 if P["mode"] == "b" else x, _assign("mode", "b", P)),
    ],
    ids=["list item", "append", "array item", "NumPy item", "flag", "string"],
)
def test_a_loop_sees_changes_in_place(
    body: Callable[[Any], Any], change: Callable[[], None]
) -> None:
    WEIGHTS[:] = [1.0]
    P.update(triple=False, mode="a")
    ARRAY[0] = NUMPY[0] = 1.0
    xs = mx.ones((3, 2))
    lf.map(body, xs)
    change()
    assert lf.map(body, xs).tolist() == [body(x).tolist() for x in xs]


def test_numpy_values_of_a_closure_are_those_at_the_call() -> None:
    shift = np.zeros(2, np.float32)

    def run() -> Any:
        return lf.map(lambda x: x + mx.array(shift), mx.ones((1, 2))).tolist()

    assert run() == [[1, 1]]
    shift += 1
    assert run() == [[2, 2]]


def test_a_loop_over_the_same_values_is_not_traced_again() -> None:
    P["w"] = mx.array(2.0)
    traces = itertools.count()

    def run() -> None:
        def body(x: Any) -> Any:
            next(traces)
            return forward(x) + ARRAY.sum() + mx.array(NUMPY).sum()

        lf.map(body, mx.ones(4))

    run()
    once = next(traces)
    run()
    assert next(traces) == once + 1


def test_functions_that_close_over_one_another_reach_the_same_arrays():
    def loss(w):
        held = {"w": w}
        scaled = lambda x: w * x  # noqa: E731
        wrapped = lambda x: scaled(x) * held["w"]  # noqa: E731

        def turn(total, x):
            return total + scaled(x) + wrapped(x) + held["w"], None

        return lf.scan(turn, 0.0, mx.array([1.0, 2.0, 3.0]))[0]

    # The sum over x of w x + w^2 x + w.
    assert lf.grad(loss)(2.0).item() == 6 + 2 * 2 * 6 + 3
    assert lf.jit(lf.grad(loss))(2.0).item() == 33
