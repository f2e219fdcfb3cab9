"""scan, fori_loop, while_loop, cond and map have jax.lax's values and derivatives."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import tree

jax = pytest.importorskip("jax")
jnp = jax.numpy
lax = jax.lax

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 3)).astype("f") / 2
H = RNG.normal(size=3).astype("f")
XS = RNG.normal(size=(7, 3)).astype("f")


def recurrence(np, scan, cond, fori_loop, map, **options):
    """A scan over a closure, with a dict of outputs and an integer in the carry."""

    def f(w, h, xs):
        def body(carry, x):
            h, count = carry
            h = np.tanh(h @ w + x) + 0.1 * count
            return (h, count + 1), {"h": h, "sum": np.sum(h)}

        (h, _), ys = scan(body, (h, 0), xs, **options)
        return np.sum(ys["h"] ** 2) + np.sum(h) + np.sum(ys["sum"])

    return f


def in_reverse(*functions):
    return recurrence(*functions, reverse=True)


def checkpointed(*functions):
    options = {"checkpoint_every": 3} if functions[0] is mx else {}
    return recurrence(*functions, **options)


def checkpointed_in_reverse(*functions):
    options = {"checkpoint_every": 2} if functions[0] is mx else {}
    return recurrence(*functions, reverse=True, **options)


def nested(np, scan, cond, fori_loop, map):
    def f(w, h, xs):
        def inner(h, _):
            return np.tanh(h @ w), None

        def outer(h, x):
            h, _ = scan(inner, h + x, None, 2)
            return h, h

        return np.sum(scan(outer, h, xs)[1] ** 2)

    return f


def counted(np, scan, cond, fori_loop, map):
    def f(w, h, xs):
        return np.sum(fori_loop(2, 6, lambda i, h: np.tanh(h @ w) * i, h) ** 2)

    return f


def mapped(np, scan, cond, fori_loop, map):
    return lambda w, h, xs: np.sum(map(lambda x: np.tanh(x @ w + h), xs) ** 3)


def chosen(np, scan, cond, fori_loop, map):
    def f(w, h, xs):
        total = np.sum(h)
        y = cond(total > 0, lambda x: np.sqrt(x), lambda x: x * w[0, 0], total)
        return y * np.sum(w)

    return f


BUILDERS = (
    *(recurrence, in_reverse, checkpointed, checkpointed_in_reverse),
    *(nested, counted, mapped, chosen),
)
OURS = (mx, lf.scan, lf.cond, lf.fori_loop, lf.map)
THEIRS = (jnp, lax.scan, lax.cond, lax.fori_loop, lax.map)


def ways(lib, array, jvp):
    """How a function of (w, h, xs) may be transformed, in either library."""
    args = tuple(map(array, (W, H, XS)))
    batch = array(np.stack([H, -H]))
    axes = (None, 0, None)

    def gradient(f):
        return lib.grad(f, (0, 1, 2))

    def norm(f):
        return lambda *args: sum((g**2).sum() for g in gradient(f)(*args))

    def summed(f):
        return lambda w, h, xs: lib.vmap(f, axes)(w, h, xs).sum()

    many = (args[0], batch, args[2])
    return {
        "value": lambda f: f(*args),
        "jit": lambda f: lib.jit(f)(*args),
        "grad": lambda f: gradient(f)(*args),
        "jit of grad": lambda f: lib.jit(gradient(f))(*args),
        "grad of grad": lambda f: gradient(norm(f))(*args),
        "jvp": lambda f: jvp(f, args, args),
        "vmap": lambda f: lib.vmap(f, axes)(*many),
        "vmap of grad": lambda f: lib.vmap(gradient(f), axes)(*many),
        "grad of vmap": lambda f: gradient(summed(f))(*many),
        "hessian": lambda f: lib.hessian(f, 1)(*args),
    }


OUR_WAYS, THEIR_WAYS = ways(lf, mx.array, lf.jvp), ways(jax, jnp.array, jax.jvp)


FEW = "value", "jit of grad", "vmap of grad"
CASES = [
    *((build, way) for build in (recurrence, chosen) for way in OUR_WAYS),
    *((build, way) for build in BUILDERS[1:-1] for way in FEW),
]


@pytest.mark.parametrize(
    ("build", "way"), CASES, ids=[f"{build.__name__}, {way}" for build, way in CASES]
)
def test_values_and_derivatives_are_those_of_jax(build, way, unfused):
    ours = tree.leaves(OUR_WAYS[way](build(*OURS)))
    theirs = jax.tree.leaves(jax.jit(lambda: THEIR_WAYS[way](build(*THEIRS)))())
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        assert x.shape == y.shape
        scale = max(1.0, float(np.abs(y).max()))
        np.testing.assert_allclose(np.array(x), y, rtol=1e-4, atol=3e-6 * scale)


CARRIES = {
    "an int of an int": lambda np, scan: scan(lambda c, x: (c + 1, c), 0, None, 3),
    "an int and floats": lambda np, scan: scan(
        lambda c, x: (c + x, c), 0, np.array([0.5, 1.0])
    ),
    "a float and half precision": lambda np, scan: scan(
        lambda c, x: (c + x, c), 0.0, np.array([0.5, 1.0]).astype(np.float16)
    ),
    "no iterations": lambda np, scan: scan(
        lambda c, x: (c + x, {"y": x * 2}), np.ones(3), np.zeros((0, 3))
    ),
    "None": lambda np, scan: scan(lambda c, x: (None, x), None, np.arange(3)),
    "a tree": lambda np, scan: scan(
        lambda c, x: ({"a": c["b"], "b": c["a"] + x}, None),
        {"b": np.zeros(2), "a": np.ones(2)},
        np.ones((3, 2)),
    ),
}


@pytest.mark.parametrize("what", CARRIES)
def test_carries_and_outputs_have_the_dtypes_of_jax(what):
    ours, theirs = CARRIES[what](mx, lf.scan), CARRIES[what](jnp, lax.scan)
    pairs = zip(tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    for x, y in pairs:
        assert str(x.dtype) == f"mlx.core.{y.dtype}"
        np.testing.assert_array_equal(np.array(x), np.array(y))


def test_while_loop_is_that_of_jax():
    def newton(np, while_loop):
        def improve(pair):
            x, _ = pair
            new = 0.5 * (x + 2.0 / x)
            return new, np.abs(new - x)

        return while_loop(lambda p: p[1] > 1e-4, improve, (1.0, 1.0))

    ours, theirs = newton(mx, lf.while_loop), newton(jnp, lax.while_loop)
    np.testing.assert_allclose(ours[0].item(), theirs[0], rtol=1e-6)
