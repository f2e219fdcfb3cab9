"""Eigenvalues of symmetric matrices, singular values, and QR."""

from typing import Any, NamedTuple, cast

import mlx.core as mx

from lucid_fn.checks import check_bool
from lucid_fn.ops.custom_derivative import after, custom_function
from lucid_fn.ops.linalg.matrices import (
    check_matrix,
    check_square,
    diagonal,
    identity_like,
    matrix_function,
    nan_unless,
    symmetric,
    transposed,
)
from lucid_fn.ops.linalg.solving import solve_triangular
from lucid_fn.types import Array


def _product(g: Array, factor: Array) -> Array:
    """`g * factor`, 0 wherever `g` is.

    The factors are quotients of differences that may be 0. Whoever differentiates the
    eigenvalues alone gives zeros for the vectors, and must get zeros back.
    """
    return cast(Array, _zero_first(g, mx.broadcast_to(factor, g.shape)))


_zero_first = custom_function(lambda g, factor: mx.where(g == 0, g, g * factor))


@_zero_first.vjp
def _(primals: Any, cotangent: Array, _: Any) -> tuple[Array, Array]:
    g, factor = primals
    return _product(cotangent, factor), _product(cotangent, g)


@_zero_first.jvp
def _(primals: Any, tangents: Any) -> Array:
    g, factor = primals
    dg, dfactor = tangents
    terms = [] if dg is None else [_product(dg, factor)]
    terms += [] if dfactor is None else [_product(dfactor, g)]
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _gaps(values: Array) -> Array:
    """`1 / (values[j] - values[i])` at `(i, j)`, and 0 on the diagonal."""
    identity = mx.eye(values.shape[-1], dtype=values.dtype)
    return 1 / (values[..., None, :] - values[..., :, None] + identity) - identity


def _diag(values: Array) -> Array:
    """`(..., n)` to diagonal matrices `(..., n, n)`."""
    return values[..., None] * mx.eye(values.shape[-1], dtype=values.dtype)


class EighResult(NamedTuple):
    """What `eigh` returns: `a @ eigenvectors == eigenvectors * eigenvalues`."""

    eigenvalues: Array
    eigenvectors: Array


def eigh(a: Array) -> EighResult:
    """Eigenvalues, in ascending order, and eigenvectors of symmetric matrices.

    Of another matrix the symmetric part, `(a + a.T) / 2`, is decomposed, as in JAX.

    Args:
        a: float32 or float64, shape `(..., n, n)`.

    Returns:
        `EighResult(eigenvalues, eigenvectors)`, shapes `(..., n)` and `(..., n, n)`;
        the vectors are columns of length 1, whose signs are LAPACK's. Where two
        eigenvalues are equal the vectors have no derivative, and a gradient through
        them is not finite; one through the eigenvalues alone is.

    Raises:
        TypeError: if `a` is not an array of these dtypes.
        ValueError: if it is not square.

    Source: the derivative is that of Giles, 2008, An extended collection of matrix
    derivative results for forward and reverse mode AD, section 3.1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> values, vectors = ops.linalg.eigh(mx.array([[2.0, 0.0], [0.0, 1.0]]))
        >>> values
        array([1, 2], dtype=float32)
    """
    check_square("eigh", "; the singular values are svd's", a)
    return EighResult(*_eigh(symmetric(a)))


def _run_eigh(a: Array) -> list[Array]:
    finite, a = _finite(a)
    # `mx.compile` merges two decompositions of one matrix, and loses their results.
    return nan_unless(finite, list(mx.linalg.eigh(after(a, finite))))


def _finite(a: Array) -> tuple[Array, Array]:
    """Whether each matrix is finite, and zeros for those which LAPACK would refuse."""
    finite = mx.all(mx.isfinite(a), axis=(-2, -1))
    return finite, mx.where(finite[..., None, None], a, mx.zeros_like(a))


_eigh = matrix_function(_run_eigh, lambda a: [diagonal(a), a])


@_eigh.vjp
def _(a: Array, dvalues: Array, dvectors: Array) -> Array:
    values, vectors = _eigh(a)
    turned = _product(transposed(vectors) @ dvectors, _gaps(values))
    return symmetric(vectors @ (_diag(dvalues) + turned) @ transposed(vectors))


@_eigh.jvp
def _(a: Array, da: Array) -> list[Array]:
    values, vectors = _eigh(a)
    moved = transposed(vectors) @ da @ vectors
    return [diagonal(moved), vectors @ _product(moved, _gaps(values))]


class SVDResult(NamedTuple):
    """What `svd` returns: `a == (u * s[..., None, :]) @ vh`."""

    U: Array
    S: Array
    Vh: Array


def svd(
    a: Array, full_matrices: bool = True, compute_uv: bool = True
) -> SVDResult | Array:
    """The singular value decomposition, `a = U diag(S) Vh`.

    Args:
        a: float32 or float64, shape `(..., m, n)`; let `k` be the smaller of the two.
        full_matrices: whether `U` and `Vh` are square. What is added to them is not
            determined by `a`, and has no derivative.
        compute_uv: whether `U` and `Vh` are returned at all.

    Returns:
        `SVDResult(U, S, Vh)`, shapes `(..., m, k)`, `(..., k)` and `(..., k, n)`, or
        `(..., m, m)` and `(..., n, n)`; or `S` alone, in descending order. Where two
        singular values are equal, or one is 0, the vectors have no derivative, and a
        gradient through them is not finite; one through the values alone is.

    Raises:
        TypeError: if `a` is not an array of these dtypes, or a flag is not a bool; in
            derivatives of full matrices, unless `a` is square.
        ValueError: if `a` has fewer than two axes.

    Source: the derivative is that of Townsend, 2016, Differentiating the singular value
    decomposition, https://j-towns.github.io/papers/svd-derivative.pdf.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.linalg.svd(mx.array([[0.0, 2.0], [1.0, 0.0]]), compute_uv=False)
        array([2, 1], dtype=float32)
    """
    check_matrix("svd", a=a)
    check_bool("svd", full_matrices=full_matrices, compute_uv=compute_uv)
    square = a.shape[-1] == a.shape[-2]
    full = compute_uv and full_matrices and not square
    result = SVDResult(*(_full_svd if full else _svd)(a))
    return result if compute_uv else result.S


def _run_svd(a: Array) -> list[Array]:
    finite, a = _finite(a)
    return nan_unless(finite, list(mx.linalg.svd(a)))


def _run_reduced(a: Array) -> list[Array]:
    u, s, vh = _run_svd(a)
    k = s.shape[-1]
    return [u[..., :, :k], s, vh[..., :k, :]]


def _empty_svd(a: Array) -> list[Array]:
    m, n = a.shape[-2:]
    return [identity_like(a, m, m), diagonal(a), identity_like(a, n, n)]


def _empty_reduced(a: Array) -> list[Array]:
    k = min(a.shape[-2:])
    u, s, vh = _empty_svd(a)
    return [u[..., :, :k], s, vh[..., :k, :]]


_full_svd = matrix_function(_run_svd, _empty_svd)
_svd = matrix_function(_run_reduced, _empty_reduced)


def _refused(*_: Any) -> Any:
    raise TypeError(
        "svd: full matrices have no derivative unless a is square, since a does not "
        "determine them; give full_matrices=False"
    )


_full_svd.vjp(_refused)
_full_svd.jvp(_refused)


@_svd.vjp
def _(a: Array, du: Array, ds: Array, dvh: Array) -> Any:
    u, s, vh = _svd(a)
    left, right = transposed(u) @ du, dvh @ transposed(vh)  # (k, k) both
    gaps = _gaps(mx.square(s))
    inner = (
        _product(left - transposed(left), gaps) * s[..., None, :]
        + s[..., :, None] * _product(transposed(right) - right, gaps)
        + _diag(ds)
    )
    grad = u @ inner @ vh
    if a.shape[-2] > a.shape[-1]:
        grad = grad + _product(du - u @ left, 1 / s[..., None, :]) @ vh
    if a.shape[-2] < a.shape[-1]:
        grad = grad + u @ _product(dvh - right @ vh, 1 / s[..., :, None])
    return grad


@_svd.jvp
def _(a: Array, da: Array) -> list[Array]:
    u, s, vh = _svd(a)
    inner = transposed(u) @ da @ transposed(vh)  # (k, k)
    gaps, row, column = _gaps(mx.square(s)), s[..., None, :], s[..., :, None]
    turned = inner * row
    du = u @ _product(turned + transposed(turned), gaps)
    turned = column * inner
    dvh = transposed(_product(turned + transposed(turned), gaps)) @ vh
    if a.shape[-2] > a.shape[-1]:
        along = da @ transposed(vh)
        du = du + _product(along - u @ inner, 1 / row)
    if a.shape[-2] < a.shape[-1]:
        along = transposed(u) @ da
        dvh = dvh + _product(along - inner @ vh, 1 / column)
    return [du, diagonal(inner), dvh]


class QRResult(NamedTuple):
    """What `qr` returns: `a == Q @ R`."""

    Q: Array
    R: Array


def qr(a: Array) -> QRResult:
    """The QR decomposition, `a = Q R`, with orthonormal columns in `Q`.

    Args:
        a: float32 or float64, shape `(..., m, n)`; let `k` be the smaller of the two.

    Returns:
        `QRResult(Q, R)`, shapes `(..., m, k)` and `(..., k, n)`; `R` is an upper
        triangle, whose signs are LAPACK's. Gradients are not finite where the first
        `k` columns of `a` are linearly dependent.

    Raises:
        TypeError: if `a` is not an array of these dtypes.
        ValueError: if it has fewer than two axes.

    Source: the derivative is that of Liao et al., 2019, Differentiable programming
    tensor networks, appendix A, https://arxiv.org/abs/1903.09650.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> q, r = ops.linalg.qr(mx.array([[3.0, 1.0], [4.0, 2.0], [0.0, 2.0]]))
        >>> q.shape, r.shape
        ((3, 2), (2, 2))
    """
    check_matrix("qr", a=a)
    k = a.shape[-2]
    if k >= a.shape[-1]:
        return QRResult(*_qr(a))
    q, r = _qr(a[..., :k])
    return QRResult(q, mx.concatenate([r, transposed(q) @ a[..., k:]], axis=-1))


def _empty_qr(a: Array) -> list[Array]:
    k = min(a.shape[-2:])
    return [identity_like(a, a.shape[-2], k), mx.zeros_like(a[..., :k, :])]


_qr = matrix_function(lambda a: mx.linalg.qr(a), _empty_qr)


@_qr.vjp
def _(a: Array, dq: Array, dr: Array) -> Array:
    q, r = _qr(a)
    inner = r @ transposed(dr) - transposed(dq) @ q
    inner = mx.tril(inner) + transposed(mx.tril(inner, -1))
    # x R^-T
    return transposed(solve_triangular(r, transposed(dq + q @ inner)))


@_qr.jvp
def _(a: Array, da: Array) -> list[Array]:
    q, r = _qr(a)
    moved = transposed(solve_triangular(r, transposed(da), trans=1))  # da R^-1
    inner = transposed(q) @ moved
    below = mx.tril(inner, -1)
    turned = below - transposed(below)
    return [q @ (turned - inner) + moved, (inner - turned) @ r]
