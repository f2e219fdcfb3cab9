"""What linear algebra does with singular, degenerate, empty and wrong arguments."""

from contextlib import nullcontext

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import ops, testing
from lucid_fn.ops import linalg

SINGULAR = mx.array([[1.0, 2.0], [2.0, 4.0]])
ZEROS = mx.zeros((2, 2))
NAN = mx.full((2, 2), mx.nan)


def drawn(*shape, seed=0):
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def all_nan(*arrays):
    return all(np.isnan(np.array(x)).all() for x in arrays)


@pytest.mark.parametrize("a", [ZEROS, NAN], ids=["zeros", "nan"])
def test_a_singular_matrix_has_no_solution_and_no_inverse(a):
    assert all_nan(linalg.solve(a, mx.ones(2)), linalg.inv(a))
    assert all_nan(linalg.solve_triangular(a, mx.ones(2)))


def test_only_the_singular_matrix_of_a_batch_has_no_inverse():
    good = mx.array([[2.0, 0.0], [0.0, 4.0]])
    bad, kept = linalg.inv(mx.stack([ZEROS, good]))
    assert all_nan(bad)
    assert kept.tolist() == [[0.5, 0.0], [0.0, 0.25]]


@pytest.mark.parametrize("n", [2, 40, 100])
def test_a_matrix_that_is_not_positive_definite_has_no_cholesky_factor(n):
    rng = np.random.default_rng(n)
    for row in (0, n // 2, n - 1):
        a = rng.normal(size=(n, n))
        a = a @ a.T + n * np.eye(n)
        assert not all_nan(linalg.cholesky(mx.array(a, mx.float64)))
        a[row, row] = -1.0
        assert all_nan(linalg.cholesky(mx.array(a, mx.float64)))


def test_decompositions_of_what_is_not_finite_are_not_numbers():
    assert all_nan(*linalg.eigh(NAN), *linalg.svd(NAN), linalg.svd(NAN, True, False))


def test_the_determinant_of_a_singular_matrix_is_zero():
    sign, logabsdet = linalg.slogdet(SINGULAR)
    assert (sign.item(), logabsdet.item()) == (0.0, -np.inf)
    assert linalg.det(SINGULAR).item() == 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_determinants_have_the_sign_of_the_permutation(n):
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(n)
        a = np.eye(n, dtype=np.float32)[order]
        assert linalg.det(mx.array(a)).item() == round(np.linalg.det(a))


IDENTITY = mx.eye(3)


@pytest.mark.parametrize("a", [IDENTITY, mx.zeros((3, 3))], ids=["identity", "zeros"])
def test_the_gradient_of_equal_eigenvalues_alone_is_finite(a):
    weights = mx.array([1.0, 2.0, 3.0])
    for loss in (
        lambda a: mx.sum(weights * linalg.eigh(a)[0]),
        lambda a: mx.sum(weights * linalg.svd(a)[1]),
    ):
        testing.assert_finite(lf.grad(loss)(a))


@pytest.mark.parametrize("which", [linalg.eigh, lambda a: linalg.svd(a)[1:]])
def test_the_gradient_of_vectors_with_equal_values_is_not_finite(which):
    weights = drawn(3, 3)
    grads = lf.grad(lambda a: mx.sum(weights * which(a)[1]))(IDENTITY)
    assert not np.isfinite(np.array(grads)).all()


def test_full_matrices_of_a_matrix_that_is_not_square_have_no_derivative():
    u, _, vh = linalg.svd(drawn(4, 2))
    assert (u.shape, vh.shape) == ((4, 4), (2, 2))

    def loss(a):
        return mx.sum(linalg.svd(a)[0])

    with pytest.raises(TypeError, match="svd: full matrices have no derivative"):
        lf.grad(loss)(drawn(4, 2))
    with pytest.raises(TypeError, match="give full_matrices=False"):
        lf.jvp(loss, (drawn(4, 2),), (drawn(4, 2),))


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3), (2, 5, 3)])
def test_decompositions_can_be_multiplied_together_again(shape, full):
    a = drawn(*shape)
    u, s, vh = linalg.svd(a, full_matrices=full)
    k = s.shape[-1]
    testing.assert_close((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], a, atol=1e-5)
    q, r = linalg.qr(a)
    testing.assert_close(q @ r, a, atol=1e-5)
    assert mx.array_equal(r, mx.triu(r))


def test_a_matrix_that_all_examples_share_is_factored_for_all():
    a, bs = drawn(3, 3), drawn(4, 3, seed=1)
    expected = mx.stack([linalg.solve(a, b) for b in bs])
    testing.assert_close(lf.vmap(lambda b: linalg.solve(a, b))(bs), expected)
    scaled = lf.jit(lambda a: lf.vmap(lambda b: linalg.inv(a)[0] * b)(bs))
    testing.assert_close(scaled(a), linalg.inv(a)[0] * bs, rtol=1e-5)
    q = lf.vmap(lambda b: lf.vmap(lambda c: linalg.qr(a)[0][0] * c)(b[None]))(bs)
    testing.assert_close(q[:, 0], linalg.qr(a)[0][0] * bs, rtol=1e-5)


def test_a_gradient_of_a_vectorized_function_reaches_a_shared_matrix():
    a, bs = drawn(3, 3), drawn(4, 3, seed=1)

    def loss(a, solve):
        return mx.sum(mx.sin(solve(a)))

    got = lf.grad(loss)(a, lambda a: lf.vmap(lambda b: linalg.solve(a, b))(bs))
    expected = lf.grad(loss)(a, lambda a: linalg.solve(a, bs.T).T)
    testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_jacobians_and_hessians_pass_through():
    a = drawn(3, 3) + 3 * mx.eye(3)
    forward, reverse = lf.jacfwd(linalg.inv)(a), lf.jacrev(linalg.inv)(a)
    testing.assert_close(forward, reverse, rtol=1e-4, atol=1e-5)
    hessian = lf.hessian(lambda a: linalg.slogdet(a)[1])(a)
    inverse = np.array(linalg.inv(a))
    expected = -np.einsum("jk,li->ijkl", inverse, inverse)
    testing.assert_close(hessian, mx.array(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3, 3), (2, 0, 0)])
def test_empty_batches_and_empty_matrices_have_empty_results(shape):
    a = mx.zeros(shape)
    for fn in (linalg.inv, linalg.cholesky, linalg.eigh, linalg.qr, linalg.svd):
        out = fn(a)
        for y in out if isinstance(out, tuple) else [out]:
            assert y.size == 0


def test_one_axis_of_b_is_one_vector():
    assert linalg.solve(drawn(2, 3, 3), mx.ones(3)).shape == (2, 3)
    assert linalg.solve(drawn(3, 3), mx.ones((3, 1))).shape == (3, 1)
    assert linalg.solve_triangular(drawn(2, 3, 3), mx.ones(3)).shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linalg.inv(drawn(2, 3)), r"inv: a must have shape \(..., n, n\)"),
        (lambda: linalg.solve(drawn(2, 3), mx.ones(2)), "least squares"),
        (lambda: linalg.qr(mx.ones(3)), r"qr: a must have shape \(..., m, n\)"),
        (lambda: linalg.solve(drawn(3, 3), mx.ones(2)), r"b must have shape \(3,\)"),
        (lambda: linalg.solve(drawn(2, 3, 3), drawn(4, 3, 1)), "must broadcast"),
        (lambda: linalg.solve_triangular(drawn(3, 3), mx.ones(3), 2), "trans must be"),
    ],
)
def test_shapes_that_do_not_fit_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linalg.inv(mx.eye(2, dtype=mx.float16)), "inv: a must be float32 or"),
        (lambda: linalg.eigh(mx.eye(2).astype(mx.int32)), r"a.astype\(mx.float32\)"),
        (lambda: linalg.svd(np.eye(2)), r"convert it with mx.array\(a\)"),
        (lambda: linalg.svd(mx.eye(2), 1), "full_matrices must be a bool, got 1"),
        (lambda: linalg.cholesky(mx.eye(2), upper=1), "upper must be a bool, got 1"),
        (
            lambda: linalg.solve_triangular(mx.eye(2), mx.ones(2), lower="L"),
            "lower must be a bool, got 'L'",
        ),
    ],
)
def test_types_and_dtypes_that_do_not_fit_are_told(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_other_devices_hand_their_matrices_to_the_cpu(monkeypatch):
    streams = []
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(mx, "stream", lambda s: streams.append(s) or nullcontext())
    assert linalg.inv(mx.eye(2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert streams == [mx.cpu]


def test_an_unknown_name_is_answered():
    with pytest.raises(AttributeError, match=r"did you mean ops\.linalg\.cholesky"):
        ops.linalg.cholesky_  # noqa: B018  # the look-up is what fails
