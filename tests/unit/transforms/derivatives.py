"""Derivatives that call a function a second time."""

import mlx.core as mx
import pytest

import lucid_fn as lf

ONE = mx.array(1.0)


def gradient_after(change, fn):
    """The derivative of `fn`, computed after a change of what `fn` has read."""
    _, pull = lf.vjp(fn, ONE)
    change()
    return pull(ONE)[0].item()


CALLS = {
    "checkpoint": lambda fn, x: lf.checkpoint(fn)(x),
    "cond": lambda fn, x: lf.cond(mx.array(True), fn, lambda x: x, x),
    "fori_loop": lambda fn, x: lf.fori_loop(0, 1, lambda _, c: fn(c), x),
    "map": lambda fn, x: lf.map(fn, x[None])[0],
    "scan": lambda fn, x: lf.scan(lambda c, _: (fn(c), None), x, None, length=1)[0],
    "custom_vjp": lambda fn, x: lf.custom_vjp(fn).defvjp(
        lambda x: (fn(x), None), lambda _, ct: (ct,)
    )(x),
    "custom_jvp": lambda fn, x: lf.custom_jvp(fn).defjvp(
        lambda primals, tangents: (fn(*primals), tangents[0])
    )(x),
}
calls = pytest.mark.parametrize("name", CALLS)
