"""Linear systems, inverses, Cholesky factors and determinants."""

from typing import Any, NamedTuple, cast

import mlx.core as mx

from lucid_fn.checks import check_bools
from lucid_fn.ops.linalg.matrices import (
    as_system,
    check_square,
    diagonal,
    matrix_function,
    nan_unless,
    symmetric,
    transposed,
)
from lucid_fn.types import Array

_INSTEAD = {
    "solve": "; for least squares factor a by qr, then solve_triangular(r, q.T @ b)",
    "inv": "; the pseudo-inverse is made of svd",
}


def solve(a: Array, b: Array) -> Array:
    """Solves the linear systems `a x = b`.

    Args:
        a: float32 or float64, shape `(..., n, n)`.
        b: float32 or float64, shape `(n,)` or `(..., n, k)`; leading axes broadcast.

    Returns:
        `x`, shape `(n,)`, `(..., n)` or `(..., n, k)`. Where `a` is singular it is not
        a number, as are its gradients: `lf.debug.nonfinite` finds such places.

    Raises:
        TypeError: if an argument is not an array of these dtypes.
        ValueError: if the shapes do not fit.

    Source: Golub and Van Loan, Matrix Computations, section 3.4 (LU with pivoting).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.linalg.solve(mx.array([[2.0, 0.0], [0.0, 4.0]]), mx.array([2.0, 2.0]))
        array([1, 0.5], dtype=float32)
    """
    check_square("solve", _INSTEAD["solve"], a)
    matrix, columns = as_system("solve", a, b)
    x = cast(Array, _solve(matrix, columns))
    return x.squeeze(-1) if b.ndim == 1 else x


def _run_solve(a: Array, b: Array) -> Array:
    rows, lower, upper = mx.linalg.lu(a)
    b = mx.take_along_axis(b, mx.argsort(rows, axis=-1)[..., None], axis=-2)
    return _substitute(upper, _substitute(lower, b, lower=True), lower=False)


_solve = matrix_function(_run_solve, lambda a, b: mx.zeros_like(b), arity=2)


@_solve.vjp
def _(a: Array, b: Array, g: Array) -> tuple[Array, Array]:
    db = _solve(transposed(a), g)
    return -db @ transposed(_solve(a, b)), db


@_solve.jvp
def _(a: Array, b: Array, da: Array, db: Array) -> Array:
    return cast(Array, _solve(a, db - da @ _solve(a, b)))


def inv(a: Array) -> Array:
    """The inverse of each matrix. To solve a system, `solve` is faster and closer.

    Args:
        a: float32 or float64, shape `(..., n, n)`.

    Returns:
        The shape of `a`; not a number where `a` is singular.

    Raises:
        TypeError: if `a` is not an array of these dtypes.
        ValueError: if it is not square.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.linalg.inv(mx.array([[2.0, 0.0], [0.0, 4.0]]))
        array([[0.5, 0],
               [0, 0.25]], dtype=float32)
    """
    check_square("inv", _INSTEAD["inv"], a)
    matrix, identity = as_system("inv", a, mx.eye(a.shape[-1], dtype=a.dtype))
    return cast(Array, _solve(matrix, identity))


def solve_triangular(
    a: Array,
    b: Array,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
) -> Array:
    """Solves `a x = b` with a triangular `a`, of which the other half is not read.

    Args:
        a: float32 or float64, shape `(..., n, n)`.
        b: float32 or float64, shape `(n,)` or `(..., n, k)`; leading axes broadcast.
        trans: 0 or `"N"` for `a x = b`, 1 or `"T"` for `a.T x = b`.
        lower: whether `a` is a lower triangle. It is an upper one by default, as in
            JAX, MLX and SciPy.
        unit_diagonal: whether the diagonal of `a` counts as ones, and is not read.

    Returns:
        `x`, shape `(n,)`, `(..., n)` or `(..., n, k)`; not a number where there is a
        zero on the diagonal.

    Raises:
        TypeError: if an array is not of these dtypes, or a flag is not a bool.
        ValueError: if the shapes do not fit, or `trans` is none of these.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> a = mx.array([[1.0, 0.0], [1.0, 2.0]])
        >>> ops.linalg.solve_triangular(a, mx.array([1.0, 3.0]), lower=True)
        array([1, 1], dtype=float32)
    """
    name = "solve_triangular"
    check_square(name, "", a)
    check_bools(name, lower=lower, unit_diagonal=unit_diagonal)
    if trans not in (0, 1, "N", "T") or isinstance(trans, bool):
        raise ValueError(f"{name}: trans must be 0, 1, 'N' or 'T', got {trans!r}")
    matrix, columns = as_system(name, a, b)
    matrix = mx.tril(matrix) if lower else mx.triu(matrix)
    if unit_diagonal:
        identity = mx.eye(a.shape[-1], dtype=matrix.dtype)
        matrix = mx.where(identity == 1, identity, matrix)
    if trans in (1, "T"):
        matrix, lower = transposed(matrix), not lower
    x = cast(Array, (_solve_lower if lower else _solve_upper)(matrix, columns))
    return x.squeeze(-1) if b.ndim == 1 else x


def _substitute(a: Array, b: Array, *, lower: bool) -> Array:
    pivots = diagonal(a)
    regular = mx.all(pivots != 0, axis=-1)
    # LAPACK fails at a zero on the diagonal, when it is too late for an error.
    identity = mx.eye(a.shape[-1], dtype=a.dtype)
    safe = mx.where(regular[..., None, None], a, identity)
    return nan_unless(regular, [mx.linalg.tri_inv(safe, upper=not lower) @ b])[0]


def _triangular(lower: bool) -> Any:
    """The solution with a matrix whose other half is zeros."""
    solve = matrix_function(
        lambda a, b: _substitute(a, b, lower=lower),
        lambda a, b: mx.zeros_like(b),
        arity=2,
    )
    half = mx.tril if lower else mx.triu

    @solve.vjp
    def _(a: Array, b: Array, g: Array) -> tuple[Array, Array]:
        db = (_solve_upper if lower else _solve_lower)(transposed(a), g)
        return half(-db @ transposed(solve(a, b))), db

    @solve.jvp
    def _(a: Array, b: Array, da: Array, db: Array) -> Any:
        return solve(a, db - half(da) @ solve(a, b))

    return solve


_solve_lower, _solve_upper = _triangular(True), _triangular(False)


def cholesky(a: Array, *, upper: bool = False) -> Array:
    """The Cholesky factors of symmetric positive definite matrices: `a = L L.T`.

    Of another matrix the symmetric part, `(a + a.T) / 2`, is factored, as in JAX.

    Args:
        a: float32 or float64, shape `(..., n, n)`.
        upper: whether to return `L.T`.

    Returns:
        `L`, a lower triangle, the shape of `a`; not a number where `a` is not positive
        definite.

    Raises:
        TypeError: if `a` is not an array of these dtypes, or `upper` is not a bool.
        ValueError: if `a` is not square.

    Source: the derivative is that of Murray, 2016, https://arxiv.org/abs/1602.07527.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.linalg.cholesky(mx.array([[4.0, 2.0], [2.0, 2.0]]))
        array([[2, 0],
               [1, 1]], dtype=float32)
    """
    check_square("cholesky", "", a)
    check_bools("cholesky", upper=upper)
    factor = cast(Array, _cholesky(symmetric(a)))
    return transposed(factor) if upper else factor


def _run_cholesky(a: Array) -> Array:
    factor = mx.linalg.cholesky(a)
    # LAPACK stops at the first pivot that is not positive, and leaves it there.
    definite = mx.all(diagonal(factor) > 0, axis=-1)
    return nan_unless(definite, [factor])[0]


_cholesky = matrix_function(_run_cholesky, mx.zeros_like)


def _lower_half(a: Array) -> Array:
    """The lower triangle, with half of the diagonal."""
    return mx.tril(a) - mx.eye(a.shape[-1], dtype=a.dtype) * a / 2


@_cholesky.vjp
def _(a: Array, g: Array) -> Array:
    factor = _cholesky(a)
    middle = _lower_half(transposed(factor) @ mx.tril(g))
    left = _solve_upper(transposed(factor), middle)
    return symmetric(transposed(_solve_upper(transposed(factor), transposed(left))))


@_cholesky.jvp
def _(a: Array, da: Array) -> Any:
    factor = _cholesky(a)
    left = _solve_lower(factor, da)
    both = _solve_lower(factor, transposed(left))
    return factor @ _lower_half(both)


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Array
    logabsdet: Array


def slogdet(a: Array) -> SlogdetResult:
    """The signs of determinants, and the logarithms of their absolute values.

    Args:
        a: float32 or float64, shape `(..., n, n)`.

    Returns:
        `SlogdetResult(sign, logabsdet)`, both of shape `(...)`: 0 and `-inf` where `a`
        is singular, where there is no gradient either.

    Raises:
        TypeError: if `a` is not an array of these dtypes.
        ValueError: if it is not square.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> sign, logabsdet = ops.linalg.slogdet(mx.array([[0.0, 1.0], [1.0, 0.0]]))
        >>> sign.item(), logabsdet.item()
        (-1.0, 0.0)
    """
    check_square("slogdet", "", a)
    return SlogdetResult(*_slogdet(a))


def _empty_det(a: Array) -> Array:
    """1 for each matrix without rows."""
    return mx.ones(a.shape[:-2], a.dtype)


def _empty_slogdet(a: Array) -> list[Array]:
    return [_empty_det(a), mx.zeros(a.shape[:-2], a.dtype)]


_slogdet = matrix_function(lambda a: mx.linalg.slogdet(a), _empty_slogdet)


@_slogdet.vjp
def _(a: Array, _: Array, g: Array) -> Array:
    return g[..., None, None] * transposed(inv(a))


@_slogdet.jvp
def _(a: Array, da: Array) -> list[Array]:
    moved = mx.sum(diagonal(inv(a) @ da), axis=-1)
    return [mx.zeros_like(moved), moved]


def det(a: Array) -> Array:
    """The determinants of matrices; they overflow where `slogdet` does not.

    Args:
        a: float32 or float64, shape `(..., n, n)`.

    Returns:
        Shape `(...)`. The gradient, `det(a) inv(a).T`, is not a number where `a` is
        singular.

    Raises:
        TypeError: if `a` is not an array of these dtypes.
        ValueError: if it is not square.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.linalg.det(mx.array([[2.0, 0.0], [0.0, 4.0]]))
        array(8, dtype=float32)
    """
    check_square("det", "", a)
    return cast(Array, _det(a))


def _run_det(a: Array) -> Array:
    rows, _, upper = mx.linalg.lu(a)
    rows = rows.astype(mx.int32)
    # The sign of a permutation is that of the product of all differences.
    later = mx.sign(rows[..., None, :] - rows[..., :, None])
    signs = mx.where(mx.triu(mx.ones(later.shape, mx.bool_), 1), later, 1)
    sign = mx.prod(signs, axis=(-2, -1)).astype(a.dtype)
    return sign * mx.prod(diagonal(upper), axis=-1)


_det = matrix_function(_run_det, _empty_det)


@_det.vjp
def _(a: Array, g: Array) -> Any:
    return (g * _det(a))[..., None, None] * transposed(inv(a))


@_det.jvp
def _(a: Array, da: Array) -> Any:
    return _det(a) * mx.sum(diagonal(inv(a) @ da), axis=-1)
