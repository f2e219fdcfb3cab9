"""`jacrev`, `jacfwd` and `hessian`: whole Jacobians of functions over trees."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_bool, check_size
from lucid_fn.ops import mlx_transforms
from lucid_fn.ops.vectorize import vectorize
from lucid_fn.tracing import any_traced, tracked, transforming
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.argnums import chooser
from lucid_fn.transforms.arguments import (
    check_function,
    describe,
    fenced,
    name_of,
    owned,
    split_aux,
    to_arrays,
)
from lucid_fn.transforms.closures import frozen
from lucid_fn.transforms.gradients import REVERSE_FIX
from lucid_fn.types import Array, Tree

Flat = Callable[..., list[Array]]
Mapped = Callable[[Flat, list[Array]], list[Array]]
Blocks = Callable[[Flat, list[Array], list[Array], Mapped], list[list[Array]]]


def jacrev(
    fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """Returns a function that computes the Jacobian of `fn`, row by row: reverse mode.

    `J[i, j] = d fn(x)[i] / d x[j]`. One backward pass for each entry of the result, all
    of them at once, so memory grows with their number. Use it where results have fewer
    entries than arguments. `fn` is called twice; the first call is for `aux` and the
    shapes of `y`, and computes nothing else.

    Args:
        fn: `fn(x, *args) -> y`, or `-> (y, aux)` with `has_aux`. `y` is a tree of float
            arrays; `aux` is any tree.
        argnums: the position of the argument to differentiate, or several. Its leaves
            are float arrays, or Python floats, which become arrays.
        has_aux: whether `fn` returns a pair.

    Returns:
        `(x, *args) -> jacobian`, or `-> (jacobian, aux)`. The Jacobian has the
        structure of `y`, with a tree like `x` for each leaf, or a tuple of such trees
        if `argnums` is a sequence. Its arrays have the shapes `(*y.shape, *x.shape)`
        and the dtypes of `x`, and are 0 where `y` does not depend on `x`.

    Raises:
        ValueError: when called, if there is no argument at a position, or if MLX would
            vectorize an operation wrongly (see `vmap`).
        TypeError: if `fn` is not a function, or `argnums` is not a position or a
            sequence of them; when called, if a leaf to differentiate or of `y` is not
            of a real float dtype, if `fn` returns no pair with `has_aux`, or if `y`
            depends on no leaf since `fn` converts them to values.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.jacrev(lambda x: {"y": x[0] * x[1]})(mx.array([2.0, 3.0]))
        {'y': array([3, 2], dtype=float32)}
        >>> lf.jacrev(lambda a, x: a @ x, argnums=1)(2 * mx.eye(2), mx.ones(2))
        array([[2, 0],
               [0, 2]], dtype=float32)
    """
    return _jacobian_of(fn, argnums, has_aux, "jacrev", _rows)


def jacfwd(
    fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """Returns a function that computes the Jacobian of `fn`, by columns: forward mode.

    One forward derivative for each entry of the arguments, all of them at once. Use it
    where arguments have fewer entries than results; see `jacrev`. Some operations of
    MLX have no forward derivative, such as `mx.cumprod`.

    Args:
        fn: as in `jacrev`.
        argnums: the position of the argument to differentiate, or several.
        has_aux: whether `fn` returns a pair, `(y, aux)`.

    Returns:
        As `jacrev`, in the dtypes of `y`.

    Raises:
        ValueError: as `jacrev`.
        TypeError: as `jacrev`.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.jacfwd(lambda t: mx.stack([t, t**2, t**3]))(2.0)
        array([1, 4, 12], dtype=float32)
    """
    return _jacobian_of(fn, argnums, has_aux, "jacfwd", _columns)


def hessian(
    fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """Returns a function that computes all second derivatives of `fn`.

    `H[j, k] = d^2 fn(x) / (d x[j] d x[k])`, reverse over reverse. `hvp` computes
    the Hessian times a vector without the matrix.

    Args:
        fn: as in `jacrev`; most often `y` is an array of shape `()`.
        argnums: the position of the argument to differentiate, or several.
        has_aux: whether `fn` returns a pair, `(y, aux)`.

    Returns:
        `(x, *args) -> hessian`, or `-> (hessian, aux)`: the Jacobian of the Jacobian.
        `hessian["w"]["b"]` of params, or `hessian[0]["w"][0]["b"]` if `argnums` is a
        sequence, has the shape `(*y.shape, *w.shape, *b.shape)`.

    Raises:
        ValueError: as `jacrev`.
        TypeError: as `jacrev`.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.hessian(lambda x: x[0] ** 2 * x[1])(mx.array([2.0, 3.0]))
        array([[6, 4],
               [4, 0]], dtype=float32)
    """
    gradient = _jacobian_of(fn, argnums, has_aux, "hessian", _rows)
    return _jacobian_of(gradient, argnums, has_aux, "hessian", _rows)


def _jacobian_of(
    fn: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    caller: str,
    blocks: Blocks,
) -> Callable[..., Any]:
    check_bool(caller, has_aux=has_aux)
    check_function(caller, fn)
    choose = chooser(fn, argnums, caller)

    @functools.wraps(fn)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        leaves, call, collect = choose(args, kwargs)
        _check_real(leaves, caller)
        function = frozen(fn, caller)
        with diagnosis.drawing_nothing(name_of(fn), caller):
            out = call(list(map(owned, leaves)))
        function.note_run()
        value, aux = split_aux(out, has_aux, name_of(fn), caller)
        results, structure = _results(value, name_of(fn), caller)
        depends = True

        def flat(*leaves: Array) -> list[Array]:
            nonlocal depends
            out = call(list(leaves), function.at_call())
            value, _ = split_aux(out, has_aux, name_of(fn), caller)
            arrays, _ = to_arrays(value, "result", caller)
            depends = any_traced(arrays)
            return arrays

        if any(x.size for x in leaves) and any(y.size for y in results):
            leaves = tracked(leaves)
            fix = "use jacrev" if caller == "jacfwd" else REVERSE_FIX
            with transforming(), diagnosis.explains_missing_rule(caller, fix):
                mapped = functools.partial(_mapped, caller=caller, name=name_of(fn))
                found = blocks(flat, leaves, results, mapped)
        else:
            found = [
                [mx.zeros(y.shape + x.shape, x.dtype) for x in leaves] for y in results
            ]
        if not depends:
            what = f"what `{name_of(fn)}` returns"
            diagnosis.check_conversions(call, leaves, what, caller)
        by_result = tree.unflatten(structure, [collect(row) for row in found])
        return (by_result, aux) if has_aux else by_result

    return jacobian


def _rows(
    flat: Flat, leaves: list[Array], results: list[Array], mapped: Mapped
) -> list[list[Array]]:
    """The derivatives of each result in each leaf, by a cotangent for each entry."""

    def pull(*cotangents: Array) -> list[Array]:
        return list(mlx_transforms.vjp(fenced(flat), leaves, list(cotangents))[1])

    rows = mapped(pull, results)  # (entries of results, *x.shape), by leaf
    return [
        [
            row[span].reshape(y.shape + x.shape)
            for x, row in zip(leaves, rows, strict=True)
        ]
        for y, span in zip(results, _spans(results), strict=True)
    ]


def _columns(
    flat: Flat, leaves: list[Array], results: list[Array], mapped: Mapped
) -> list[list[Array]]:
    """The derivatives of each result in each leaf, by a tangent for each entry."""

    def push(*tangents: Array) -> list[Array]:
        return list(mlx_transforms.jvp(flat, leaves, list(tangents))[1])

    columns = mapped(push, leaves)  # (entries of leaves, *y.shape), by result
    return [
        [
            mx.moveaxis(column[span], 0, -1).reshape(y.shape + x.shape)
            for x, span in zip(leaves, _spans(leaves), strict=True)
        ]
        for y, column in zip(results, columns, strict=True)
    ]


def _mapped(
    product: Flat, arrays: list[Array], *, caller: str, name: str
) -> list[Array]:
    """The products with all unit vectors of the space of `arrays`, stacked."""
    units = _units(arrays, caller, name)
    if len(units[0]) == 1:
        # A Hessian of a scalar is not vectorized twice, which slows convolutions down.
        return [y[None] for y in product(*[unit[0] for unit in units])]
    axes = [0] * len(units)
    return list(vectorize(product, axes, caller, f"`{name}`")(*units))


def _units(arrays: list[Array], caller: str, name: str) -> list[Array]:
    """The unit vectors of the space of all entries, as arrays `(entries, *x.shape)`."""
    total = sum(x.size for x in arrays)
    for x in arrays:
        check_size(caller, f"`{name}`", (total, *x.shape))
    return [
        mx.eye(total, x.size, -span.start, x.dtype).reshape(total, *x.shape)
        for x, span in zip(arrays, _spans(arrays), strict=True)
    ]


def _spans(arrays: list[Array]) -> list[slice]:
    """The range of each array's entries among those of all arrays."""
    ends = itertools.accumulate(x.size for x in arrays)
    return [slice(end - x.size, end) for x, end in zip(arrays, ends, strict=True)]


def _results(value: Tree, name: str, caller: str) -> tuple[list[Array], tree.Structure]:
    """The leaves of the value, checked to be differentiable."""
    arrays, structure = to_arrays(value, "result", caller)
    for array, path in zip(arrays, tree.paths(value), strict=True):
        if not mx.issubdtype(array.dtype, mx.floating):
            where = f"result.{path}".rstrip(".")
            fix = "return what has no derivative as aux, with has_aux=True"
            if array.dtype == mx.complex64:
                fix = "return its mx.real and mx.imag"
            raise TypeError(
                f"{caller}: {where} of `{name}` must be a float array to be "
                f"differentiated, got {describe(array)}; {fix}"
            )
    return arrays, structure


def _check_real(leaves: list[Array], caller: str) -> None:
    for leaf in leaves:
        if not mx.issubdtype(leaf.dtype, mx.floating):
            raise TypeError(
                f"{caller}: the arguments to differentiate must be real, got "
                f"{describe(leaf)}; give `fn` the real and the imaginary part"
            )
