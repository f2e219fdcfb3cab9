"""Linear algebra against jax, in float32 and float64: values and derivatives."""

from functools import partial

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import ops
from tests.fusion import jitted

jax = pytest.importorskip("jax")
jnp = jax.numpy

linalg = ops.linalg
BOUNDS = {"float32": 3e-4, "float64": 1e-10}


def square(rng):
    return [rng.normal(size=(2, 4, 4)) + 3 * np.eye(4)]


def definite(rng):
    (a,) = square(rng)
    return [a @ a.swapaxes(-1, -2) + np.eye(4)]


def system(rng):
    return [*square(rng), rng.normal(size=(4, 3))]


def vector(rng):
    return [*square(rng), rng.normal(size=4)]


def tall(rng):
    return [rng.normal(size=(2, 5, 3))]


def wide(rng):
    return [rng.normal(size=(3, 5))]


def solve_triangular(a, b, **options):
    """SciPy's takes one matrix; JAX's too, and a batch by `vmap`."""
    b = jnp.broadcast_to(b, (len(a), *b.shape))
    return jax.vmap(lambda a, b: jax.scipy.linalg.solve_triangular(a, b, **options))(
        a, b
    )


def with_signs(library, name, out):
    """Vectors whose first numbers are positive: LAPACKs differ in the signs."""
    if name == "eigh":
        values, vectors = out
        return values, vectors * library.sign(vectors[..., :1, :])
    if name == "svd" and isinstance(out, tuple):
        u, s, vh = out
        signs = library.sign(u[..., :1, :])
        return u * signs, s, vh * signs.swapaxes(-1, -2)
    return out


def both(name, inputs, **options):
    ours, theirs = getattr(linalg, name), getattr(jnp.linalg, name)
    return pytest.param(
        lambda *args: with_signs(mx, name, ours(*args, **options)),
        lambda *args: with_signs(jnp, name, theirs(*args, **options)),
        inputs,
        id=f"{name} {inputs.__name__} {options or ''}",
    )


def triangular(**options):
    return pytest.param(
        lambda *args: linalg.solve_triangular(*args, **options),
        lambda *args: solve_triangular(*args, **options),
        system,
        id=f"solve_triangular {options}",
    )


FUNCTIONS = [
    both("solve", system),
    both("solve", vector),
    both("inv", square),
    both("cholesky", definite),
    both("cholesky", square),
    both("cholesky", definite, upper=True),
    triangular(),
    triangular(lower=True),
    triangular(trans=1),
    triangular(trans="T", lower=True, unit_diagonal=True),
    both("slogdet", square),
    both("det", square),
    both("eigh", definite),
    both("eigh", square),
    both("svd", square),
    both("svd", tall, full_matrices=False),
    both("svd", wide, full_matrices=False),
    both("svd", wide, compute_uv=False),
    both("qr", square),
    both("qr", tall),
    both("qr", wide),
]


each = pytest.mark.parametrize(("ours", "theirs", "inputs"), FUNCTIONS)


def listed(out):
    return list(out) if isinstance(out, tuple) else [out]


def close(ours, theirs, dtype):
    bound = BOUNDS[dtype]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=bound, atol=bound)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def drawn(inputs, dtype, seed=0):
    return [x.astype(dtype) for x in inputs(np.random.default_rng(seed))]


def arrays(values, dtype):
    return [mx.array(x, getattr(mx, dtype)) for x in values]


@each
def test_values_are_those_of_jax(ours, theirs, inputs, dtype):
    values = drawn(inputs, dtype)
    out = listed(ours(*arrays(values, dtype)))
    expected = listed(jax.jit(theirs)(*values))
    assert [str(y.dtype).removeprefix("mlx.core.") for y in out] == [
        str(y.dtype) for y in expected
    ]
    close(out, expected, dtype)


def weighted(function, weights):
    """A loss in which every number of every result counts."""

    def loss(*args):
        return sum(
            (w * y * y * y).sum()
            for w, y in zip(weights, listed(function(*args)), strict=True)
        )

    return loss


def weights_of(theirs, values, dtype):
    rng = np.random.default_rng(7)
    out = listed(jax.eval_shape(theirs, *values))
    return [rng.normal(size=y.shape).astype(dtype) for y in out]


def gradients(ours, inputs, weights, dtype):
    values = arrays(drawn(inputs, dtype), dtype)
    loss = weighted(ours, arrays(weights, dtype))
    return lf.grad(loss, argnums=tuple(range(len(values))))(*values)


@each
def test_gradients_are_those_of_jax(ours, theirs, inputs):
    with jax.enable_x64(True):
        values = drawn(inputs, "float64")
        weights = weights_of(theirs, values, "float64")
        got = gradients(ours, inputs, weights, "float64")
        places = tuple(range(len(values)))
        expected = jax.jit(jax.grad(weighted(theirs, weights), places))(*values)
        close(got, expected, "float64")


@each
def test_gradients_in_float32_are_those_in_float64(ours, theirs, inputs):
    weights = [
        np.array(y) for y in listed(ours(*arrays(drawn(inputs, "float64"), "float64")))
    ]
    wide = gradients(ours, inputs, weights, "float64")
    close(gradients(ours, inputs, weights, "float32"), wide, "float32")


@each
def test_forward_derivatives_are_those_of_jax(ours, theirs, inputs):
    with jax.enable_x64(True):
        values, moved = (drawn(inputs, "float64", seed) for seed in (0, 1))
        given = (tuple(arrays(x, "float64")) for x in (values, moved))
        _, got = lf.jvp(ours, *given)
        _, expected = jax.jit(partial(jax.jvp, theirs))(tuple(values), tuple(moved))
        close(listed(got), listed(expected), "float64")


@each
def test_second_derivatives_are_those_of_jax(ours, theirs, inputs):
    with jax.enable_x64(True):
        values = drawn(inputs, "float64")
        weights = weights_of(theirs, values, "float64")
        moved = drawn(inputs, "float64", seed=1)

        def along(library, gradient, tangents):
            return lambda *args: sum(
                library.sum(g * t)
                for g, t in zip(gradient(*args), tangents, strict=True)
            )

        places = tuple(range(len(values)))
        ours_twice = along(
            mx,
            lf.grad(weighted(ours, arrays(weights, "float64")), argnums=places),
            arrays(moved, "float64"),
        )
        theirs_twice = along(jnp, jax.grad(weighted(theirs, weights), places), moved)
        got = lf.grad(ours_twice, argnums=places)(*arrays(values, "float64"))
        expected = jax.jit(jax.grad(theirs_twice, places))(*values)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-7, atol=1e-7)


@each
@pytest.mark.parametrize("order", ["vmap of grad", "grad of vmap", "jit of vmap"])
def test_vectorized_functions_are_those_of_the_examples(ours, theirs, inputs, order):
    first, *shared = arrays(drawn(inputs, "float64"), "float64")
    batch = mx.stack([first, 1.1 * first])
    axes = (0, *[None] * len(shared))

    def loss(*args):
        return sum(mx.sum(mx.sin(y)) for y in listed(ours(*args)))

    if order == "vmap of grad":
        got = lf.vmap(lf.grad(loss), axes)(batch, *shared)
        expected = [lf.grad(loss)(x, *shared) for x in batch]
    elif order == "grad of vmap":
        got = lf.grad(lambda x: mx.sum(lf.vmap(loss, axes)(x, *shared)))(batch)
        expected = [lf.grad(loss)(x, *shared) for x in batch]
    else:
        got = jitted(lf.vmap(loss, axes), batch, *shared)
        expected = [loss(x, *shared) for x in batch]
    close(list(got), expected, "float64")
