"""What holds of every function of linear algebra."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import testing, tree
from lucid_fn.ops import linalg
from tests.fusion import jitted


def reduced_svd(a):
    return linalg.svd(a, full_matrices=False)


def singular_values(a):
    return linalg.svd(a, compute_uv=False)


def solve(a):
    return linalg.solve(a, mx.ones((a.shape[-1], 2)))


def solve_no_columns(a):
    return linalg.solve(a, mx.ones((a.shape[-1], 0)))


def solve_triangular(a):
    return linalg.solve_triangular(a, mx.ones(a.shape[-1]))


SQUARE = {
    linalg.inv: np.linalg.inv,
    linalg.det: np.linalg.det,
    linalg.slogdet: np.linalg.slogdet,
    linalg.cholesky: np.linalg.cholesky,
    linalg.eigh: np.linalg.eigh,
    solve: lambda a: np.linalg.solve(a, np.ones((*a.shape[:-1], 2))),
    solve_no_columns: lambda a: np.linalg.solve(a, np.ones((*a.shape[:-1], 0))),
    solve_triangular: lambda a: np.ones(a.shape[:-1]),
}
ANY = {
    linalg.qr: np.linalg.qr,
    linalg.svd: np.linalg.svd,
    reduced_svd: lambda a: np.linalg.svd(a, full_matrices=False),
    singular_values: lambda a: np.linalg.svd(a, compute_uv=False),
}
SQUARE_SHAPES = [(0, 0), (0, 3, 3), (2, 0, 0), (2, 0, 3, 3)]
OTHER_SHAPES = [(0, 3), (3, 0), (0, 2, 3), (0, 3, 2), (2, 3, 0), (2, 0, 3)]
EMPTY = [(fn, shape) for fn in SQUARE | ANY for shape in SQUARE_SHAPES]
EMPTY += [(fn, shape) for fn in ANY for shape in OTHER_SHAPES]


def name_of(value):
    return getattr(value, "__name__", str(value))


def cubes(fn):
    """A loss of all that `fn` returns, or of one of several results."""
    return lambda a: sum(mx.sum(x**3) for x in tree.leaves(fn(a)))


def test_every_function_is_under_the_laws():
    names = {fn.__name__ for fn in SQUARE | ANY}
    assert {name for name in linalg.__all__ if name.islower()} <= names


@pytest.mark.parametrize(("fn", "shape"), EMPTY, ids=name_of)
def test_empty_matrices_have_the_results_of_numpy(fn, shape):
    got = tree.leaves(fn(mx.zeros(shape)))
    expected = (SQUARE | ANY)[fn](np.zeros(shape, np.float32))
    expected = expected if isinstance(expected, tuple) else [expected]
    assert len(got) == len(expected)
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.array(x), y)


@pytest.mark.parametrize(("fn", "shape"), EMPTY, ids=name_of)
def test_derivatives_of_empty_matrices_are_empty(fn, shape):
    a = mx.zeros(shape)
    grad = lf.grad(cubes(fn))
    assert mx.array_equal(grad(a), a)
    assert mx.array_equal(jitted(grad, a), a)
    out, tangent = lf.jvp(fn, (a,), (a,))
    zeros = tree.map(mx.zeros_like, out)
    testing.assert_close(tangent, zeros)


@pytest.mark.parametrize(
    ("fn", "shape"), [case for case in EMPTY if len(case[1]) > 2], ids=name_of
)
def test_empty_matrices_can_be_mapped_over(fn, shape):
    a = mx.zeros(shape)
    testing.assert_close(lf.vmap(fn)(a), fn(a))


SQUARE_MATRIX = mx.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]])
TALL_MATRIX = mx.array([[1.0, 0.5], [2.0, 4.0], [3.0, 1.0]])
TRANSFORMATIONS = {
    "grad": lf.grad,
    "value_and_grad": lf.value_and_grad,
    "grad beside the function": lambda f: lambda a: (f(a), lf.grad(f)(a)),
    "grad of grad": lambda f: lf.grad(lambda a: mx.sum(lf.grad(f)(a) ** 2)),
    "jvp": lambda f: lambda a: lf.jvp(f, (a,), (a * a,)),
    "vmap of grad": lambda f: lambda a: lf.vmap(lf.grad(f))(mx.stack([a, 2 * a])),
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("fn", SQUARE | ANY, ids=name_of)
def test_compiled_derivatives_are_those_without_compilation(fn, transformation):
    a = TALL_MATRIX if fn in (linalg.qr, reduced_svd) else SQUARE_MATRIX
    results = len(tree.leaves(fn(a)))
    losses = [
        lambda a, i=i: cubes(lambda a: tree.leaves(fn(a))[i])(a) for i in range(results)
    ]
    for loss in [cubes(fn), *losses]:
        run = TRANSFORMATIONS[transformation](loss)
        testing.assert_close(jitted(run, a), run(a), rtol=1e-4, atol=1e-4)
