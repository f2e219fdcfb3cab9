"""Functions without results, which crash the process in MLX's custom functions."""

import mlx.core as mx
import pytest

import lucid_fn as lf

X = mx.ones(3)
NOTHING = {
    "custom_vjp": lf.custom_vjp(lambda x: ()).defvjp(
        lambda x: ((), None), lambda _, ct: (None,)
    ),
    "custom_jvp": lf.custom_jvp(lambda x: ()).defjvp(lambda xs, ts: ((), ())),
    "scan": lambda x: lf.scan(lambda c, x: ((), None), (), x)[0],
    "scan in segments": lambda x: lf.scan(
        lambda c, x: ((), None), (), x, checkpoint_every=2
    )[0],
    "map": lambda x: lf.map(lambda x: (), x),
    "fori_loop": lambda x: lf.fori_loop(0, 2, lambda i, c: c, ()),
    "cond": lambda x: lf.cond(x[0] > 0, lambda x: (), lambda x: (), x),
}
OUTER = {
    "itself": lambda fn: fn,
    "jit": lf.jit,
    "vmap": lambda fn: lambda x: lf.vmap(fn)(mx.stack([x, x])),
    "grad": lambda fn: (
        lambda x: lf.grad(lambda x: (mx.sum(x), fn(x)), has_aux=True)(x)[1]
    ),
    "jit of grad of vmap": lambda fn: lf.jit(OUTER["grad"](OUTER["vmap"](fn))),
}


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("name", NOTHING)
def test_a_function_without_results_returns_none(name, outer):
    assert OUTER[outer](NOTHING[name])(X) == ()
