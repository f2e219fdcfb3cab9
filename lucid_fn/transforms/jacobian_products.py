"""`jvp`, `vjp` and `hvp`: products with Jacobians and Hessians, over trees."""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.ops import mlx_transforms
from lucid_fn.tracing import tracked, transforming
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.arguments import (
    as_array,
    check_function,
    describe,
    fenced,
    name_of,
    owned,
    to_arrays,
)
from lucid_fn.transforms.closures import frozen
from lucid_fn.transforms.gradients import REVERSE_FIX, gradient_of
from lucid_fn.transforms.rule_checks import pair
from lucid_fn.types import Array, Tree


def _primals(
    primals: Sequence[Tree], what: str, caller: str
) -> tuple[list[Array], tree.Structure]:
    """The leaves of the arguments of a function, checked to be differentiable."""
    if not isinstance(primals, tuple | list):
        raise TypeError(
            f"{caller}: {what} must be a tuple with one tree an argument, got "
            f"{type(primals).__name__}; write ({what[:-1]},) for a single one"
        )
    arrays, structure = to_arrays(tuple(primals), what, caller)
    for array, path in zip(arrays, tree.paths(tuple(primals)), strict=True):
        if not mx.issubdtype(array.dtype, mx.inexact):
            raise TypeError(
                f"{caller}: {what}.{path} must be a float array to be differentiated, "
                f"got {describe(array)}; what is constant, `fn` may read from outside"
            )
    return arrays, structure


def _with_tangents(
    primals: Sequence[Tree], tangents: Sequence[Tree], caller: str
) -> tuple[list[Array], tree.Structure, list[Array]]:
    """The leaves of the primals, their structure, and the leaves of the tangents."""
    leaves, structure = _primals(primals, "primals", caller)
    _primals(tangents, "tangents", caller)
    directions = _match(tuple(tangents), tuple(primals), "tangents", "primals", caller)
    return leaves, structure, directions


def _match(values: Tree, like: Tree, what: str, other: str, caller: str) -> list[Array]:
    """The leaves of `values`, which must have the structure and shapes of `like`."""

    def check(path: str, x: Any, want: Any) -> Array:
        got, expected = as_array(x), as_array(want)
        if got is None or expected is None or got.shape != expected.shape:
            raise ValueError(
                f"{caller}: {what} must have the shapes of {other}, got "
                f"{describe(x)} for {describe(want)} at {path or 'the top'}"
            )
        return got.astype(expected.dtype)

    checked = tree.map_with_path(
        check, values, like, caller=f"{caller} ({what} and {other})"
    )
    return tree.leaves(checked)


def _flat(
    fn: Callable[..., Any], structure: tree.Structure, has_aux: bool, caller: str
) -> tuple[Callable[..., list[Array]], list[tuple[tree.Structure, Any]]]:
    """`fn` from arrays to arrays, and a list that gets the structure and aux."""
    left: list[tuple[tree.Structure, Any]] = []

    def flat(*leaves: Array) -> list[Array]:
        out = fn(*tree.unflatten(structure, list(leaves)))
        value, aux = _pair(out, caller) if has_aux else (out, None)
        arrays, out_structure = to_arrays(value, "result", caller)
        left.append((out_structure, aux))
        return arrays

    return flat, left


def _pair(out: Any, caller: str) -> tuple[Tree, Any]:
    return pair(out, "fn with has_aux=True", "(value, aux)", caller)


def jvp(
    fn: Callable[..., Any],
    primals: Sequence[Tree],
    tangents: Sequence[Tree],
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """`fn(*primals)` and its derivative in the direction of the tangents.

    Args:
        fn: a function of trees to a tree of arrays.
        primals: the arguments.
        tangents: as many trees, of the same structures and shapes.
        has_aux: whether `fn` returns a pair `(value, aux)`.

    Returns:
        The value and the derivative, trees of the same structure; and `aux`, with
        `has_aux`.

    Raises:
        TypeError: if `primals` or `tangents` is not a tuple of trees of float arrays.
        ValueError: if tangents and primals differ in structure or shape.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.jvp(lambda x: x**2, (mx.array(3.0),), (mx.array(1.0),))
        (array(9, dtype=float32), array(6, dtype=float32))
    """
    check_function("jvp", fn)
    leaves, structure, directions = _with_tangents(primals, tangents, "jvp")
    flat, left = _flat(fn, structure, has_aux, "jvp")
    leaves = tracked(leaves)
    fix = "use vjp, grad or hvp, or give the operation a rule with lf.custom_jvp"
    with transforming(), diagnosis.explains_missing_rule("jvp", fix):
        values, moved = mlx_transforms.jvp(flat, leaves, directions)
    (out, aux), found = left[-1], (list(values), list(moved))
    return (*(tree.unflatten(out, x) for x in found), *[aux] * has_aux)


def vjp(
    fn: Callable[..., Any], *primals: Tree, has_aux: bool = False
) -> tuple[Any, ...]:
    """`fn(*primals)`, and the function from its cotangents to those of the primals.

    MLX needs the cotangents before it traces, so each call of that function runs `fn`
    again, with the variables of its closure as they were, and a `vmap` of it runs `fn`
    once for all cotangents. `jit` around both merges the runs into one. For a scalar,
    `value_and_grad` runs `fn` once.

    Args:
        fn: a function of trees to a tree of arrays.
        primals: the arguments.
        has_aux: whether `fn` returns a pair `(value, aux)`.

    Returns:
        The value, and a function that takes a tree of the value's structure and
        shapes and returns a tuple of trees, one for each primal; and `aux`, with
        `has_aux`.

    Raises:
        TypeError: if a leaf of `primals` is not a float array, or one of the value is
            not an array.
        ValueError: when the function is called, if the structures or shapes differ, or
            if something that `fn` reads outside of its closure has changed since.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> y, pull = lf.vjp(lambda x: x**2, mx.array(3.0))
        >>> pull(mx.array(1.0))
        (array(6, dtype=float32),)
    """
    check_function("vjp", fn)
    leaves, structure = _primals(primals, "primals", "vjp")
    function = frozen(fn, "vjp")
    with diagnosis.drawing_nothing(name_of(fn), "vjp"):
        out = fn(*tree.unflatten(structure, list(map(owned, leaves))))
    function.note_run()
    value, aux = _pair(out, "vjp") if has_aux else (out, None)
    to_arrays(value, "result", "vjp")

    def pull(cotangents: Tree) -> tuple[Tree, ...]:
        given = _match(cotangents, value, "cotangents", "the value", "vjp")
        arrays = tracked(leaves)
        flat, _ = _flat(function.at_call(), structure, has_aux, "vjp")
        with (
            transforming(reverse=True),
            diagnosis.explains_missing_rule("vjp", REVERSE_FIX),
        ):
            _, grads = mlx_transforms.vjp(fenced(flat), arrays, given)
        pulled: tuple[Tree, ...] = tree.unflatten(structure, list(grads))
        return pulled

    return (value, pull, aux) if has_aux else (value, pull)


def hvp(
    fn: Callable[..., Any], primals: Sequence[Tree], tangents: Sequence[Tree]
) -> tuple[Tree, ...]:
    """The Hessian of a scalar function times a vector: the gradient of `grad(fn) @ v`.

    By reverse over reverse mode, since MLX has no forward derivatives of convolutions
    and of indexing, which the gradient of a cross-entropy needs.

    Args:
        fn: a function of trees of float arrays to an array of shape `()`.
        primals: the arguments, all of which are differentiated.
        tangents: as many trees, of the same structures and shapes.

    Returns:
        A tuple of trees of the primals' structures.

    Raises:
        TypeError: if `primals` or `tangents` is not a tuple of trees of float arrays.
        ValueError: if tangents and primals differ, or if `fn` returns no scalar.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.hvp(lambda x: mx.sum(x**3), (mx.array([1.0, 2.0]),), (mx.ones(2),))
        (array([6, 12], dtype=float32),)
    """
    check_function("hvp", fn)
    leaves, structure, directions = _with_tangents(primals, tangents, "hvp")
    places = range(len(primals))

    def slope(*args: Any) -> Array:
        grads = gradient_of(fn, places, False, "hvp")(*args)[1]
        products = zip(tree.leaves(grads), directions, strict=True)
        return sum([mx.sum(g * v) for g, v in products if g.size], mx.array(0.0))

    args = tree.unflatten(structure, leaves)
    product: tuple[Tree, ...] = gradient_of(slope, places, False, "hvp")(*args)[1]
    return product
