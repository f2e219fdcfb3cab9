"""Functions for loops and branches that take another number of arguments."""

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

import lucid_fn as lf

XS = mx.ones(3)


def one(x: Any) -> Any:
    return x


def two(a: Any, b: Any) -> Any:
    return a


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "scan": (
        lambda: lf.scan(one, 0.0, XS),
        r"scan: f must take carry and x, as in f\(carry, x",
    ),
    "fori_loop": (
        lambda: lf.fori_loop(0, 2, one, 0.0),
        r"fori_loop: body must take i and carry, .* got one\(x: .*too many",
    ),
    "map": (lambda: lf.map(two, XS), r"map: f must take x, .* got two\(a: "),
    "cond of while_loop": (
        lambda: lf.while_loop(two, one, 0.0),
        r"while_loop: cond must take carry,",
    ),
    "body of while_loop": (
        lambda: lf.while_loop(lambda x: x < 1, two, 0.0),
        r"while_loop: body must take carry, .* got two",
    ),
    "body of while_loop inside jit": (
        lambda: lf.jit(lambda x: lf.while_loop(lambda x: True, two, x))(XS),
        r"while_loop: body must take carry, .* got two",
    ),
    "cond": (
        lambda: lf.cond(True, one, two, XS),
        r"cond: false_fn must take operands\[0\], .* got two",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_callback_and_its_argument_are_named(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    "fn", [functools.partial(two, 1.0), lambda x, *more: x, lambda x, y=2: x, mx.sin]
)
def test_a_function_that_accepts_more_is_called(fn: Any) -> None:
    assert lf.map(fn, XS).shape == (3,)


def test_a_function_that_wraps_one_of_other_parameters_is_called() -> None:
    @functools.wraps(two)
    def halved(x: Any) -> Any:
        return two(x, x)

    assert lf.map(halved, XS).shape == (3,)
