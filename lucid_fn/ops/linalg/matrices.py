"""What functions of matrices share: checks, batches under `vmap`, and the device.

MLX's own have neither derivatives nor, where they factor by LU or QR, a rule for
`vmap`. All of them take leading axes, so a batch that is mapped over is one more.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import mlx.core as mx

from lucid_fn.checks import check_array, shape_error
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.mlx_transforms import as_list, directions, like
from lucid_fn.ops.vectorize import mapped_array
from lucid_fn.types import Array


class matrix_function:  # a decorator, as `custom_function`
    """Decorates `run(*matrices)`, whose derivatives `vjp` and `jvp` set.

    Args:
        run: of matrices with equal leading axes to an array or several with the same.
            MLX has it on CPUs alone, so it is computed there.
        empty: the same where a matrix has no elements. LAPACK is not to see these: a
            division by their length ends the process.
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
            # Inside of `vmap`: MLX would look for a rule of each operation. With
            # `arrays[-1]` among the arguments the rule below replaces the result.
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
        """Sets `rule(*matrices, *cotangents)`, which returns one gradient a matrix."""

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
        """Sets `rule(*matrices, *tangents)`, which returns one tangent a result."""

        def jvp(primals: Any, tangents: Any) -> Any:
            moved = directions(primals, tangents)
            matrices = as_list(primals)[: self._arity]
            if _any_empty(matrices):
                out = self._empty(*matrices)
                zeros = list(map(mx.zeros_like, as_list(out)))
                return zeros[0] if isinstance(out, mx.array) else zeros
            return rule(*matrices, *moved[: self._arity])

        self._custom.jvp(jvp)


def _on_cpu() -> AbstractContextManager[Any]:
    return nullcontext() if mx.default_device() == mx.cpu else mx.stream(mx.cpu)


def _any_empty(matrices: Sequence[Array]) -> bool:
    return any(x.size == 0 for x in matrices)


# ---- checks ----


def check_matrix(caller: str, **matrices: Array) -> None:
    """Raises unless each is of shape `(..., m, n)` and of a dtype that MLX factors."""
    check_array(caller, **matrices)
    for name, a in matrices.items():
        if a.dtype not in (mx.float32, mx.float64):
            raise TypeError(
                f"{caller}: {name} must be float32 or float64, got {a.dtype}; convert "
                f"it with {name}.astype(mx.float32)"
            )
        if a.ndim < 2:
            raise shape_error(caller, name, a, "(..., m, n)")


def check_square(caller: str, fix: str, a: Array) -> None:
    """`check_matrix` of a square one; `fix` is what to call instead."""
    check_matrix(caller, a=a)
    if a.shape[-1] != a.shape[-2]:
        raise ValueError(f"{caller}: a must have shape (..., n, n), got {a.shape}{fix}")


def as_system(caller: str, a: Array, b: Array) -> tuple[Array, Array]:
    """`a` and `b` of `a x = b` as matrices of one dtype and equal leading axes."""
    b = b[:, None] if b.ndim == 1 else b
    check_matrix(caller, b=b)
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


# ---- small things of matrices ----


def identity_like(a: Array, rows: int, columns: int) -> Array:
    """`mx.eye(rows, columns)` for each of the matrices `a`."""
    one = mx.eye(rows, columns, dtype=a.dtype)
    return mx.broadcast_to(one, (*a.shape[:-2], rows, columns))


def transposed(a: Array) -> Array:
    """The matrices with their axes exchanged."""
    return a.swapaxes(-1, -2)


def diagonal(a: Array) -> Array:
    """`(..., n, n)` to `(..., n)`."""
    return mx.diagonal(a, axis1=-2, axis2=-1)


def symmetric(a: Array) -> Array:
    """The symmetric part, `(a + a.T) / 2`."""
    return (a + transposed(a)) / 2


def nan_unless(condition: Array, arrays: Sequence[Array]) -> list[Array]:
    """The arrays, with NaN for each matrix for which the condition does not hold."""
    nan = mx.array(mx.nan)
    return [
        mx.where(
            condition.reshape(*condition.shape, *[1] * (x.ndim - condition.ndim)),
            x,
            nan.astype(x.dtype),
        )
        for x in arrays
    ]
