"""Linear algebra with derivatives: systems, determinants and decompositions.

Names and signatures are those of `jax.numpy.linalg`, and of `jax.scipy.linalg` for
`solve_triangular`. All functions take leading axes as a batch, in float32 and float64,
under every transformation of `lf`; `mx.vmap` itself has no rule for LU and QR. MLX has
them on CPUs only, so matrices on GPUs are computed there too. The values of arrays are
not read: where there is no result, as for a singular matrix, it is NaN.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import mlx.core as mx

from lucid_fn.call_errors import guide
from lucid_fn.checks import check_array, check_bool, shape_error
from lucid_fn.ops.custom_derivative import after, custom_function
from lucid_fn.ops.mlx_transforms import as_list, directions, like
from lucid_fn.ops.vectorize import mapped_array
from lucid_fn.types import Array

__all__ = [
    "EighResult",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
    "cholesky",
    "det",
    "eigh",
    "inv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
]


# ---- functions of matrices ----


class _matrix_function:  # a decorator, as `custom_function`
    """A function of matrices that computes on the CPU, with a rule for `vmap`.

    MLX's own have neither derivatives nor, where they factor by LU or QR, a rule for
    `vmap`. All of them accept leading axes, so a mapped batch is one more.

    Args:
        run: function from matrices with equal leading axes to an array, or several,
            with the same leading axes.
        empty: the same for matrices without elements, on which LAPACK would divide by
            zero and abort the process.
        arity: the number of matrices.
    """

    def __init__(
        self, run: Callable[..., Any], empty: Callable[..., Any], arity: int = 1
    ) -> None:
        self._run = run
        self._empty = empty
        self._arity = arity
        self._custom = custom_function(self._forward)
        self._custom.vmap(self._vectorized)

    def __call__(self, *matrices: Array) -> Any:
        mapped = mapped_array()
        return self._custom(*matrices, *([] if mapped is None else [mapped]))

    def _forward(self, *arrays: Array) -> Any:
        matrices = arrays[: self._arity]
        if len(arrays) > self._arity:
            # Inside of `vmap`, MLX would look for a rule of each operation of `run`.
            # Since `arrays[-1]` is mapped, the rule below replaces the result anyway.
            matrices = tuple(mx.zeros(x.shape, x.dtype) for x in matrices)
        run = self._empty if _any_empty(matrices) else self._run
        with _on_cpu():
            return run(*map(mx.stop_gradient, matrices))

    def _vectorized(self, arrays: Any, axes: Any) -> tuple[Any, Any]:
        pairs = list(zip(as_list(arrays), as_list(axes), strict=True))
        size = next(x.shape[axis] for x, axis in pairs if axis is not None)
        rows = [
            mx.broadcast_to(x, (size, *x.shape))
            if axis is None
            else mx.moveaxis(x, axis, 0)
            for x, axis in pairs[: self._arity]
        ]
        out = self(*rows)
        return out, 0 if isinstance(out, mx.array) else type(out)([0] * len(out))

    def vjp(self, rule: Callable[..., Any]) -> None:
        """Sets `rule(*matrices, *cotangents)`, which returns a gradient per matrix."""

        def vjp(primals: Any, cotangents: Any, _: Any) -> Any:
            given = as_list(primals)
            matrices, others = given[: self._arity], given[self._arity :]
            if _any_empty(matrices):
                grads = list(map(mx.zeros_like, matrices))
            else:
                grads = as_list(rule(*matrices, *as_list(cotangents)))
            grads += map(mx.zeros_like, others)
            return like(grads, primals)

        self._custom.vjp(vjp)

    def jvp(self, rule: Callable[..., Any]) -> None:
        """Sets `rule(*matrices, *tangents)`, which returns a tangent per result."""

        def jvp(primals: Any, tangents: Any) -> Any:
            dx = directions(primals, tangents)
            matrices = as_list(primals)[: self._arity]
            if _any_empty(matrices):
                out = self._empty(*matrices)
                zeros = list(map(mx.zeros_like, as_list(out)))
                return zeros[0] if isinstance(out, mx.array) else zeros
            return rule(*matrices, *dx[: self._arity])

        self._custom.jvp(jvp)


def _on_cpu() -> AbstractContextManager[Any]:
    return nullcontext() if mx.default_device() == mx.cpu else mx.stream(mx.cpu)


def _any_empty(matrices: Sequence[Array]) -> bool:
    return any(x.size == 0 for x in matrices)


# ---- checks ----


def _check_matrix(caller: str, **matrices: Array) -> None:
    """Raises unless each is `(..., m, n)`, of a dtype that LAPACK factors."""
    check_array(caller, **matrices)
    for name, a in matrices.items():
        if a.dtype not in (mx.float32, mx.float64):
            raise TypeError(
                f"{caller}: {name} must be float32 or float64, got {a.dtype}; convert "
                f"it with {name}.astype(mx.float32)"
            )
        if a.ndim < 2:
            raise shape_error(caller, name, a, "(..., m, n)")


def _check_square(caller: str, fix: str, a: Array) -> None:
    """`_check_matrix` for a square matrix; `fix` ends the message."""
    _check_matrix(caller, a=a)
    if a.shape[-1] != a.shape[-2]:
        raise ValueError(f"{caller}: a must have shape (..., n, n), got {a.shape}{fix}")


def _as_system(caller: str, a: Array, b: Array) -> tuple[Array, Array]:
    """`a` and `b` of `a x = b` as matrices of the same dtype and leading axes."""
    b = b[:, None] if b.ndim == 1 else b
    _check_matrix(caller, b=b)
    if b.shape[-2] != a.shape[-1]:
        raise ValueError(
            f"{caller}: b must have shape ({a.shape[-1]},) or (..., {a.shape[-1]}, k) "
            f"for a of shape {a.shape}, got {b.shape}"
        )
    try:
        leading = mx.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"{caller}: the leading axes of a and b must broadcast, got shapes "
            f"{a.shape} and {b.shape}"
        ) from None
    dtype = mx.result_type(a, b)
    a, b = (mx.broadcast_to(x, (*leading, *x.shape[-2:])).astype(dtype) for x in (a, b))
    return a, b


# ---- helpers ----


def _identity_like(a: Array, rows: int, columns: int) -> Array:
    """`mx.eye(rows, columns)` for each of the matrices `a`."""
    one = mx.eye(rows, columns, dtype=a.dtype)
    return mx.broadcast_to(one, (*a.shape[:-2], rows, columns))


def _transposed(a: Array) -> Array:
    """The transposed matrices."""
    return a.swapaxes(-1, -2)


def _diagonal(a: Array) -> Array:
    """`(..., n, n)` to `(..., n)`."""
    return mx.diagonal(a, axis1=-2, axis2=-1)


def _symmetric(a: Array) -> Array:
    """The symmetric part, `(a + a.T) / 2`."""
    return (a + _transposed(a)) / 2


def _nan_unless(condition: Array, arrays: Sequence[Array]) -> list[Array]:
    """The arrays, with NaN for each matrix whose condition is false."""
    nan = mx.array(mx.nan)
    return [
        mx.where(
            condition.reshape(*condition.shape, *[1] * (x.ndim - condition.ndim)),
            x,
            nan.astype(x.dtype),
        )
        for x in arrays
    ]


# ---- systems and determinants ----

_ALTERNATIVES = {
    "solve": "; for least squares factor a by qr, then solve_triangular(r, q.T @ b)",
    "inv": "; the pseudo-inverse is made of svd",
}


def solve(a: Array, b: Array) -> Array:
    """Solves the linear systems `a x = b`.

    Args:
        a: float32 or float64, shape `(..., n, n)`.
        b: float32 or float64, shape `(n,)` or `(..., n, k)`; leading axes broadcast.

    Returns:
        `x`, shape `(n,)`, `(..., n)` or `(..., n, k)`. Where `a` is singular, `x` and
        its gradients are NaN; `lf.debug.nonfinite` finds where.

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
    _check_square("solve", _ALTERNATIVES["solve"], a)
    matrix, columns = _as_system("solve", a, b)
    x = cast(Array, _solve(matrix, columns))
    return x.squeeze(-1) if b.ndim == 1 else x


def _run_solve(a: Array, b: Array) -> Array:
    rows, lower, upper = mx.linalg.lu(a)
    b = mx.take_along_axis(b, mx.argsort(rows, axis=-1)[..., None], axis=-2)
    return _substitute(upper, _substitute(lower, b, lower=True), lower=False)


_solve = _matrix_function(_run_solve, lambda a, b: mx.zeros_like(b), arity=2)


@_solve.vjp
def _(a: Array, b: Array, g: Array) -> tuple[Array, Array]:
    db = _solve(_transposed(a), g)
    return -db @ _transposed(_solve(a, b)), db


@_solve.jvp
def _(a: Array, b: Array, da: Array, db: Array) -> Array:
    return cast(Array, _solve(a, db - da @ _solve(a, b)))


def inv(a: Array) -> Array:
    """The inverse of each matrix. For a system, `solve` is faster and more accurate.

    Args:
        a: float32 or float64, shape `(..., n, n)`.

    Returns:
        The shape of `a`; NaN where `a` is singular.

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
    _check_square("inv", _ALTERNATIVES["inv"], a)
    matrix, identity = _as_system("inv", a, mx.eye(a.shape[-1], dtype=a.dtype))
    return cast(Array, _solve(matrix, identity))


def solve_triangular(
    a: Array,
    b: Array,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
) -> Array:
    """Solves `a x = b` for a triangular `a`, whose other half is not read.

    Args:
        a: float32 or float64, shape `(..., n, n)`.
        b: float32 or float64, shape `(n,)` or `(..., n, k)`; leading axes broadcast.
        trans: 0 or `"N"` for `a x = b`, 1 or `"T"` for `a.T x = b`.
        lower: whether `a` is lower triangular; upper by default, as in JAX, MLX and
            SciPy.
        unit_diagonal: whether the diagonal of `a` is taken as ones, and not read.

    Returns:
        `x`, shape `(n,)`, `(..., n)` or `(..., n, k)`; NaN where there is a
        zero on the diagonal.

    Raises:
        TypeError: if an array is not of these dtypes, or a flag is not a bool.
        ValueError: if the shapes do not fit, or `trans` is not one of these.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> a = mx.array([[1.0, 0.0], [1.0, 2.0]])
        >>> ops.linalg.solve_triangular(a, mx.array([1.0, 3.0]), lower=True)
        array([1, 1], dtype=float32)
    """
    name = "solve_triangular"
    _check_square(name, "", a)
    check_bool(name, lower=lower, unit_diagonal=unit_diagonal)
    if trans not in (0, 1, "N", "T") or isinstance(trans, bool):
        raise ValueError(f"{name}: trans must be 0, 1, 'N' or 'T', got {trans!r}")
    matrix, columns = _as_system(name, a, b)
    matrix = mx.tril(matrix) if lower else mx.triu(matrix)
    if unit_diagonal:
        identity = mx.eye(a.shape[-1], dtype=matrix.dtype)
        matrix = mx.where(identity == 1, identity, matrix)
    if trans in (1, "T"):
        matrix, lower = _transposed(matrix), not lower
    x = cast(Array, (_solve_lower if lower else _solve_upper)(matrix, columns))
    return x.squeeze(-1) if b.ndim == 1 else x


def _substitute(a: Array, b: Array, *, lower: bool) -> Array:
    pivots = _diagonal(a)
    regular = mx.all(pivots != 0, axis=-1)
    # LAPACK would raise at a zero on the diagonal, when the array is evaluated.
    identity = mx.eye(a.shape[-1], dtype=a.dtype)
    safe = mx.where(regular[..., None, None], a, identity)
    return _nan_unless(regular, [mx.linalg.tri_inv(safe, upper=not lower) @ b])[0]


def _triangular(lower: bool) -> Any:
    """`solve(a, b)` for a triangular `a`, whose other half is zero."""
    solve = _matrix_function(
        lambda a, b: _substitute(a, b, lower=lower),
        lambda a, b: mx.zeros_like(b),
        arity=2,
    )
    half = mx.tril if lower else mx.triu

    @solve.vjp
    def _(a: Array, b: Array, g: Array) -> tuple[Array, Array]:
        db = (_solve_upper if lower else _solve_lower)(_transposed(a), g)
        return half(-db @ _transposed(solve(a, b))), db

    @solve.jvp
    def _(a: Array, b: Array, da: Array, db: Array) -> Any:
        return solve(a, db - half(da) @ solve(a, b))

    return solve


_solve_lower, _solve_upper = _triangular(True), _triangular(False)


def cholesky(a: Array, *, upper: bool = False) -> Array:
    """The Cholesky factors of symmetric positive definite matrices: `a = L L.T`.

    If `a` is not symmetric, `(a + a.T) / 2` is factored, as in JAX.

    Args:
        a: float32 or float64, shape `(..., n, n)`.
        upper: whether to return `L.T`.

    Returns:
        `L`, lower triangular, of the shape of `a`; NaN where `a` is not positive
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
    _check_square("cholesky", "", a)
    check_bool("cholesky", upper=upper)
    factor = cast(Array, _cholesky(_symmetric(a)))
    return _transposed(factor) if upper else factor


def _run_cholesky(a: Array) -> Array:
    factor = mx.linalg.cholesky(a)
    # LAPACK stops at the first pivot that is not positive, and leaves it in place.
    definite = mx.all(_diagonal(factor) > 0, axis=-1)
    return _nan_unless(definite, [factor])[0]


_cholesky = _matrix_function(_run_cholesky, mx.zeros_like)


def _lower_half(a: Array) -> Array:
    """The lower triangle, with half of the diagonal."""
    return mx.tril(a) - mx.eye(a.shape[-1], dtype=a.dtype) * a / 2


@_cholesky.vjp
def _(a: Array, g: Array) -> Array:
    factor = _cholesky(a)
    middle = _lower_half(_transposed(factor) @ mx.tril(g))
    left = _solve_upper(_transposed(factor), middle)
    return _symmetric(_transposed(_solve_upper(_transposed(factor), _transposed(left))))


@_cholesky.jvp
def _(a: Array, da: Array) -> Any:
    factor = _cholesky(a)
    left = _solve_lower(factor, da)
    both = _solve_lower(factor, _transposed(left))
    return factor @ _lower_half(both)


class SlogdetResult(NamedTuple):
    """The result of `slogdet`."""

    sign: Array
    logabsdet: Array


def slogdet(a: Array) -> SlogdetResult:
    """The signs of determinants, and the logarithms of their absolute values.

    Args:
        a: float32 or float64, shape `(..., n, n)`.

    Returns:
        `SlogdetResult(sign, logabsdet)`, both of shape `(...)`: 0 and `-inf` where `a`
        is singular, where gradients are not finite.

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
    _check_square("slogdet", "", a)
    return SlogdetResult(*_slogdet(a))


def _empty_det(a: Array) -> Array:
    """The determinants of empty matrices, 1."""
    return mx.ones(a.shape[:-2], a.dtype)


def _empty_slogdet(a: Array) -> list[Array]:
    return [_empty_det(a), mx.zeros(a.shape[:-2], a.dtype)]


_slogdet = _matrix_function(lambda a: mx.linalg.slogdet(a), _empty_slogdet)


@_slogdet.vjp
def _(a: Array, _: Array, g: Array) -> Array:
    return g[..., None, None] * _transposed(inv(a))


@_slogdet.jvp
def _(a: Array, da: Array) -> list[Array]:
    dlogabsdet = mx.sum(_diagonal(inv(a) @ da), axis=-1)
    return [mx.zeros_like(dlogabsdet), dlogabsdet]


def det(a: Array) -> Array:
    """The determinants of matrices; they may overflow where `slogdet` does not.

    Args:
        a: float32 or float64, shape `(..., n, n)`.

    Returns:
        Shape `(...)`. The gradient, `det(a) inv(a).T`, is NaN where `a` is
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
    _check_square("det", "", a)
    return cast(Array, _det(a))


def _run_det(a: Array) -> Array:
    rows, _, upper = mx.linalg.lu(a)
    rows = rows.astype(mx.int32)
    # The sign of a permutation is that of the product of its pairwise differences.
    later = mx.sign(rows[..., None, :] - rows[..., :, None])
    signs = mx.where(mx.triu(mx.ones(later.shape, mx.bool_), 1), later, 1)
    sign = mx.prod(signs, axis=(-2, -1)).astype(a.dtype)
    return sign * mx.prod(_diagonal(upper), axis=-1)


_det = _matrix_function(_run_det, _empty_det)


@_det.vjp
def _(a: Array, g: Array) -> Any:
    return (g * _det(a))[..., None, None] * _transposed(inv(a))


@_det.jvp
def _(a: Array, da: Array) -> Any:
    return _det(a) * mx.sum(_diagonal(inv(a) @ da), axis=-1)


# ---- decompositions ----


def _product(g: Array, factor: Array) -> Array:
    """`g * factor`, but 0 where `g` is 0, even if the factor is infinite.

    The factors are reciprocals of differences that may be 0. In a gradient through the
    eigenvalues alone, the cotangents of the vectors are 0, and must not give NaN.
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
    """The result of `eigh`: `a @ eigenvectors == eigenvectors * eigenvalues`."""

    eigenvalues: Array
    eigenvectors: Array


def eigh(a: Array) -> EighResult:
    """Eigenvalues, in ascending order, and eigenvectors of symmetric matrices.

    If `a` is not symmetric, `(a + a.T) / 2` is decomposed, as in JAX.

    Args:
        a: float32 or float64, shape `(..., n, n)`.

    Returns:
        `EighResult(eigenvalues, eigenvectors)`, shapes `(..., n)` and `(..., n, n)`;
        the vectors are columns of length 1, with the signs of LAPACK. Where two
        eigenvalues are equal the vectors have no derivative, and gradients through them
        are not finite; those through the eigenvalues alone are.

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
    _check_square("eigh", "; the singular values are svd's", a)
    return EighResult(*_eigh(_symmetric(a)))


def _run_eigh(a: Array) -> list[Array]:
    finite, a = _finite(a)
    # `mx.compile` would merge two decompositions of one matrix, and lose the results.
    return _nan_unless(finite, list(mx.linalg.eigh(after(a, finite))))


def _finite(a: Array) -> tuple[Array, Array]:
    """Whether each matrix is finite, and zeros in place of those that are not.

    LAPACK would raise for them.
    """
    finite = mx.all(mx.isfinite(a), axis=(-2, -1))
    return finite, mx.where(finite[..., None, None], a, mx.zeros_like(a))


_eigh = _matrix_function(_run_eigh, lambda a: [_diagonal(a), a])


@_eigh.vjp
def _(a: Array, dvalues: Array, dvectors: Array) -> Array:
    values, vectors = _eigh(a)
    inner = _product(_transposed(vectors) @ dvectors, _gaps(values))
    return _symmetric(vectors @ (_diag(dvalues) + inner) @ _transposed(vectors))


@_eigh.jvp
def _(a: Array, da: Array) -> list[Array]:
    values, vectors = _eigh(a)
    inner = _transposed(vectors) @ da @ vectors
    return [_diagonal(inner), vectors @ _product(inner, _gaps(values))]


class SVDResult(NamedTuple):
    """The result of `svd`: `a == (u * s[..., None, :]) @ vh`."""

    U: Array
    S: Array
    Vh: Array


def svd(
    a: Array, full_matrices: bool = True, compute_uv: bool = True
) -> SVDResult | Array:
    """The singular value decomposition, `a = U diag(S) Vh`.

    Args:
        a: float32 or float64, shape `(..., m, n)`; let `k` be the smaller of the two.
        full_matrices: whether `U` and `Vh` are square. The vectors that complete them
            are not determined by `a`, and have no derivative.
        compute_uv: whether `U` and `Vh` are returned at all.

    Returns:
        `SVDResult(U, S, Vh)`, shapes `(..., m, k)`, `(..., k)` and `(..., k, n)`, or
        `(..., m, m)` and `(..., n, n)`; or `S` alone, in descending order. Where two
        singular values are equal, or one is 0, the vectors have no derivative, and
        gradients through them are not finite; those through the values alone are.

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
    _check_matrix("svd", a=a)
    check_bool("svd", full_matrices=full_matrices, compute_uv=compute_uv)
    square = a.shape[-1] == a.shape[-2]
    full = compute_uv and full_matrices and not square
    result = SVDResult(*(_full_svd if full else _svd)(a))
    return result if compute_uv else result.S


def _run_svd(a: Array) -> list[Array]:
    finite, a = _finite(a)
    return _nan_unless(finite, list(mx.linalg.svd(a)))


def _run_reduced(a: Array) -> list[Array]:
    u, s, vh = _run_svd(a)
    k = s.shape[-1]
    return [u[..., :, :k], s, vh[..., :k, :]]


def _empty_svd(a: Array) -> list[Array]:
    m, n = a.shape[-2:]
    return [_identity_like(a, m, m), _diagonal(a), _identity_like(a, n, n)]


def _empty_reduced(a: Array) -> list[Array]:
    k = min(a.shape[-2:])
    u, s, vh = _empty_svd(a)
    return [u[..., :, :k], s, vh[..., :k, :]]


_full_svd = _matrix_function(_run_svd, _empty_svd)
_svd = _matrix_function(_run_reduced, _empty_reduced)


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
    left, right = _transposed(u) @ du, dvh @ _transposed(vh)  # (k, k) both
    gaps = _gaps(mx.square(s))
    inner = (
        _product(left - _transposed(left), gaps) * s[..., None, :]
        + s[..., :, None] * _product(_transposed(right) - right, gaps)
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
    inner = _transposed(u) @ da @ _transposed(vh)  # (k, k)
    gaps, row, column = _gaps(mx.square(s)), s[..., None, :], s[..., :, None]
    scaled = inner * row
    du = u @ _product(scaled + _transposed(scaled), gaps)
    scaled = column * inner
    dvh = _transposed(_product(scaled + _transposed(scaled), gaps)) @ vh
    if a.shape[-2] > a.shape[-1]:
        along = da @ _transposed(vh)
        du = du + _product(along - u @ inner, 1 / row)
    if a.shape[-2] < a.shape[-1]:
        along = _transposed(u) @ da
        dvh = dvh + _product(along - inner @ vh, 1 / column)
    return [du, _diagonal(inner), dvh]


class QRResult(NamedTuple):
    """The result of `qr`: `a == Q @ R`."""

    Q: Array
    R: Array


def qr(a: Array) -> QRResult:
    """The QR decomposition, `a = Q R`, with orthonormal columns in `Q`.

    Args:
        a: float32 or float64, shape `(..., m, n)`; let `k` be the smaller of the two.

    Returns:
        `QRResult(Q, R)`, shapes `(..., m, k)` and `(..., k, n)`; `R` is upper
        triangular, with the signs of LAPACK. Gradients are not finite where the first
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
    _check_matrix("qr", a=a)
    k = a.shape[-2]
    if k >= a.shape[-1]:
        return QRResult(*_qr(a))
    q, r = _qr(a[..., :k])
    return QRResult(q, mx.concatenate([r, _transposed(q) @ a[..., k:]], axis=-1))


def _empty_qr(a: Array) -> list[Array]:
    k = min(a.shape[-2:])
    return [_identity_like(a, a.shape[-2], k), mx.zeros_like(a[..., :k, :])]


_qr = _matrix_function(lambda a: mx.linalg.qr(a), _empty_qr)


@_qr.vjp
def _(a: Array, dq: Array, dr: Array) -> Array:
    q, r = _qr(a)
    inner = r @ _transposed(dr) - _transposed(dq) @ q
    inner = mx.tril(inner) + _transposed(mx.tril(inner, -1))
    # x R^-T
    return _transposed(solve_triangular(r, _transposed(dq + q @ inner)))


@_qr.jvp
def _(a: Array, da: Array) -> list[Array]:
    q, r = _qr(a)
    columns = _transposed(solve_triangular(r, _transposed(da), trans=1))  # da R^-1
    inner = _transposed(q) @ columns
    below = mx.tril(inner, -1)
    rotation = below - _transposed(below)  # antisymmetric: q.T dq
    return [q @ (rotation - inner) + columns, (inner - rotation) @ r]


guide(globals(), "ops.linalg")
