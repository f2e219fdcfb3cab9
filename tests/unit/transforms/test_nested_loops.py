"""Loops inside of loops, and inside of layers: values and gradients."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random

INNER: dict[str, Callable[[Any, Any], Any]] = {
    "no output": lambda c, w: lf.scan(lambda d, _: (d * w, d), c, length=3)[0],
    "one of two": lambda c, w: mx.sum(
        lf.scan(lambda d, _: (d * w, (d, d * d)), c, length=3)[1][0]
    ),
}
OUTER: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "scan": lambda g: lambda w: lf.scan(lambda c, _: (g(c, w), None), 1.0, length=2)[0],
    "fori_loop": lambda g: lambda w: lf.fori_loop(0, 2, lambda i, c: g(c, w), 1.0),
    "map": lambda g: lambda w: mx.sum(lf.map(lambda c: g(c, w), mx.ones(2))),
}
DERIVATIVES: dict[str, Callable[[Any, Any], Any]] = {
    "grad": lambda f, w: lf.grad(f)(w),
    "jit of grad": lambda f, w: lf.jit(lf.grad(f))(w),
    "vmap of grad": lambda f, w: lf.vmap(lf.grad(f))(w[None])[0],
}


@pytest.mark.parametrize("how", DERIVATIVES)
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_a_nested_loop_of_which_outputs_are_not_used_has_gradients(
    inner: str, outer: str, how: str
) -> None:
    f, w = OUTER[outer](INNER[inner]), mx.array(0.7)
    found = DERIVATIVES[how](f, w)
    assert found.item() == pytest.approx(lf.jvp(f, (w,), (mx.array(1.0),))[1].item())


LOOPS: dict[str, Callable[[Any, Any], Any]] = {
    "scan": lambda p, x: lf.scan(lambda h, _: (h @ p["w"], None), x, length=2)[0],
    "fori_loop": lambda p, x: lf.fori_loop(0, 2, lambda i, h: h @ p["w"], x),
    "map": lambda p, x: lf.map(lambda h: h @ p["w"] @ p["w"], x),
    "while_loop": lambda p, x: lf.while_loop(
        lambda h: mx.max(h) < 4, lambda h: h @ p["w"], x
    ),
    "cond": lambda p, x: lf.jit(
        lambda x: lf.cond(mx.max(x) > 0, lambda h: h @ p["w"] @ p["w"], mx.sin, x)
    )(x),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_closes_over_the_params_of_a_parametric_layer(loop: str) -> None:
    layer = nn.parametric(lambda key: {"w": 2 * mx.eye(3)}, LOOPS[loop])
    params, state = layer.init(random.key(0))
    y, _ = layer.apply(params, state, mx.ones((2, 3)), train=True)
    assert y.tolist() == mx.full((2, 3), 4.0).tolist()


def test_params_that_a_loop_misses_are_named() -> None:
    layer = nn.parametric(lambda key: {"w": mx.eye(3)}, LOOPS["scan"])
    with pytest.raises(ValueError, match="params must hold 'w', got v"):
        layer.apply({"v": mx.eye(3)}, {}, mx.ones((2, 3)), train=True)
