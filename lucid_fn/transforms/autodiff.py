"""Derivatives of functions over trees, with the checks that MLX words badly."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.transforms import captures
from lucid_fn.transforms.arguments import (
    as_array,
    check_function,
    describe,
    name_of,
    parameter_names,
)
from lucid_fn.types import Array, Tree


def value_and_grad(
    fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
) -> Callable[..., tuple[Any, Tree]]:
    """The function that returns `fn`'s value and its gradient.

    Args:
        fn: `fn(params, *args) -> loss`, or `-> (loss, aux)` with `has_aux`. `loss` is
            a float array of shape `()`; `aux` is any tree, for instance the new state.
        argnums: the position of the argument to differentiate, or several. Its leaves
            are float arrays, or Python floats, which become arrays.
        has_aux: whether `fn` returns a pair.

    Returns:
        `(params, *args) -> (loss, grads)`, or `-> ((loss, aux), grads)`; `grads` has
        the structure, shapes and dtypes of the argument, and is a tuple of such trees
        if `argnums` is a sequence.

    Raises:
        ValueError: when called, if `loss` is not a scalar, or if there is no argument
            at a position.
        TypeError: if `fn` is not a function, or `argnums` holds something else than
            positions; when called, if `fn` returns another kind of thing, or if a leaf
            to differentiate is not of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> f = value_and_grad(lambda w: mx.sum(w**2))
        >>> f(mx.array([1.0, 2.0]))
        (array(5, dtype=float32), array([2, 4], dtype=float32))
    """
    return _value_and_grad(fn, argnums, has_aux, "value_and_grad")


def grad(
    fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """The function that returns the gradient of `fn`: see `value_and_grad`.

    Returns:
        `(params, *args) -> grads`, or `-> (grads, aux)` with `has_aux`.

    Raises:
        ValueError: as `value_and_grad`.
        TypeError: as `value_and_grad`.

    Example:
        >>> grad(lambda x: x**3)(2.0)
        array(12, dtype=float32)
        >>> grad(grad(lambda x: x**3))(2.0)
        array(12, dtype=float32)
    """
    both = _value_and_grad(fn, argnums, has_aux, "grad")

    @functools.wraps(fn)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return gradient


def _value_and_grad(
    fn: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool, caller: str
) -> Callable[..., tuple[Any, Tree]]:
    check_function(caller, fn)
    places = [argnums] if isinstance(argnums, int) else argnums
    if not isinstance(places, list | tuple | range) or any(
        not isinstance(place, int) or isinstance(place, bool) for place in places
    ):
        raise TypeError(
            f"{caller}: argnums must be the position of an argument or a sequence of "
            f"positions, got {argnums!r}"
        )
    names = parameter_names(fn)

    @functools.wraps(fn)
    def both(*args: Any, **kwargs: Any) -> tuple[Any, Tree]:
        for place in places:
            if not -len(args) <= place < len(args):
                raise ValueError(
                    f"{caller}: argnums must name a positional argument of "
                    f"`{name_of(fn)}`, got {place} in a call with {len(args)} of them; "
                    "what is differentiated is given by position"
                )
        chosen = [place % len(args) for place in places]
        leaves, structure = _float_leaves({i: args[i] for i in chosen}, names, caller)

        def loss_of(leaves: list[Array]) -> Any:
            given = tree.unflatten(structure, leaves)
            out = fn(*[given.get(i, arg) for i, arg in enumerate(args)], **kwargs)
            return _check_loss(out, has_aux, name_of(fn), caller)

        if leaves:
            value, grads = mx.value_and_grad(loss_of)(leaves)
        else:
            value, grads = loss_of(leaves), []
        by_place = tree.unflatten(structure, grads)
        if isinstance(argnums, int):
            return value, by_place[chosen[0]]
        return value, tuple(by_place[i] for i in chosen)

    return both


def _float_leaves(
    args: dict[int, Any], names: list[str], caller: str
) -> tuple[list[Array], tree.Structure]:
    """The leaves to differentiate, as arrays."""
    leaves, structure = tree.flatten(args)
    arrays = []
    for i, leaf in enumerate(leaves):
        array = as_array(leaf)
        if array is None or not mx.issubdtype(array.dtype, mx.inexact):
            place, _, rest = tree.paths(args)[i].partition(".")
            name = names[int(place)] if int(place) < len(names) else f"args[{place}]"
            where = f"{name}.{rest}".rstrip(".")
            raise TypeError(
                f"{caller}: {where} must be a float array to be differentiated, got "
                f"{describe(leaf)}; keep counters and flags in the state or in "
                "another argument"
            )
        arrays.append(array)
    return arrays, structure


def _check_loss(out: Any, has_aux: bool, name: str, caller: str) -> Any:
    loss = out
    if has_aux:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(
                f"{caller}: with has_aux=True `{name}` must return (loss, aux), got "
                f"{type(out).__name__}"
            )
        loss = out[0]
    elif isinstance(out, tuple | list | dict):
        raise TypeError(
            f"{caller}: `{name}` must return the loss, an array of shape (), got "
            f"{type(out).__name__}; to return more besides, use has_aux=True and "
            "return (loss, aux)"
        )
    if not isinstance(loss, mx.array):
        raise TypeError(
            f"{caller}: the loss that `{name}` returns must be an array, got "
            f"{describe(loss)}; a number has no gradient (was it made with .item() "
            "or float()?)"
        )
    if loss.shape != ():
        raise ValueError(
            f"{caller}: the loss that `{name}` returns must have shape (), got "
            f"{loss.shape}; reduce it with mx.mean or mx.sum"
        )
    if not mx.issubdtype(loss.dtype, mx.floating):
        raise TypeError(
            f"{caller}: the loss that `{name}` returns must be a float, got "
            f"{loss.dtype}"
        )
    return out


def _arrays(values: Tree, what: str, caller: str) -> tuple[list[Array], tree.Structure]:
    leaves, structure = tree.flatten(values)
    arrays = []
    for i, leaf in enumerate(leaves):
        array = as_array(leaf)
        if array is None:
            where = f"{what}.{tree.paths(values)[i]}".rstrip(".")
            raise TypeError(f"{caller}: {where} must be an array, got {describe(leaf)}")
        arrays.append(array)
    return arrays, structure


def _primals(
    primals: Sequence[Tree], what: str, caller: str
) -> tuple[list[Array], tree.Structure]:
    """The leaves of the arguments of a function, which are differentiated."""
    if not isinstance(primals, tuple | list):
        raise TypeError(
            f"{caller}: {what} must be a tuple with one tree an argument, got "
            f"{type(primals).__name__}; write ({what[:-1]},) for a single one"
        )
    arrays, structure = _arrays(tuple(primals), what, caller)
    for array, path in zip(arrays, tree.paths(tuple(primals)), strict=True):
        if not mx.issubdtype(array.dtype, mx.inexact):
            raise TypeError(
                f"{caller}: {what}.{path} must be a float array to be differentiated, "
                f"got {describe(array)}; what is constant, `fn` may read from outside"
            )
    return arrays, structure


def _flat(
    fn: Callable[..., Any], structure: tree.Structure, caller: str
) -> tuple[Callable[..., list[Array]], list[tree.Structure]]:
    """`fn` from flat arrays to flat arrays, and where it leaves its structure."""
    out_structures: list[tree.Structure] = []

    def flat(*leaves: Array) -> list[Array]:
        out = fn(*tree.unflatten(structure, list(leaves)))
        arrays, out_structure = _arrays(out, "result", caller)
        out_structures.append(out_structure)
        return arrays

    return flat, out_structures


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


def jvp(
    fn: Callable[..., Any], primals: Sequence[Tree], tangents: Sequence[Tree]
) -> tuple[Tree, Tree]:
    """`fn(*primals)` and its derivative in the direction of the tangents.

    Args:
        fn: a function of trees to a tree of arrays.
        primals: the arguments.
        tangents: as many trees, of the same structures and shapes.

    Returns:
        The value and the derivative, two trees of one structure.

    Raises:
        TypeError: if `primals` or `tangents` is no tuple of trees of float arrays.
        ValueError: if tangents and primals differ in structure or shape.

    Example:
        >>> import mlx.core as mx
        >>> jvp(lambda x: x**2, (mx.array(3.0),), (mx.array(1.0),))
        (array(9, dtype=float32), array(6, dtype=float32))
    """
    return _jvp(fn, primals, tangents, "jvp")


def _jvp(
    fn: Callable[..., Any],
    primals: Sequence[Tree],
    tangents: Sequence[Tree],
    caller: str,
) -> tuple[Tree, Tree]:
    check_function(caller, fn)
    leaves, structure = _primals(primals, "primals", caller)
    _primals(tangents, "tangents", caller)
    directions = _match(tuple(tangents), tuple(primals), "tangents", "primals", caller)
    flat, out_structures = _flat(fn, structure, caller)
    values, derivatives = mx.jvp(flat, leaves, directions)
    out = out_structures[-1]
    return tree.unflatten(out, list(values)), tree.unflatten(out, list(derivatives))


def vjp(
    fn: Callable[..., Any], *primals: Tree
) -> tuple[Tree, Callable[[Tree], tuple[Tree, ...]]]:
    """`fn(*primals)`, and the function from its cotangents to those of the primals.

    Args:
        fn: a function of trees to a tree of arrays.
        primals: the arguments.

    Returns:
        The value, and a function that takes a tree of the value's structure and
        shapes and returns a tuple of trees, one for each primal.

    Raises:
        TypeError: if a leaf of `primals` is no float array, or one of the value none.
        ValueError: when the function is called, if the structures or shapes differ.

    Example:
        >>> import mlx.core as mx
        >>> y, pull = vjp(lambda x: x**2, mx.array(3.0))
        >>> pull(mx.array(1.0))
        (array(6, dtype=float32),)
    """
    check_function("vjp", fn)
    leaves, structure = _primals(primals, "primals", "vjp")
    flat, _ = _flat(fn, structure, "vjp")
    value = fn(*tree.unflatten(structure, leaves))
    _arrays(value, "result", "vjp")

    def pull(cotangents: Tree) -> tuple[Tree, ...]:
        given = _match(cotangents, value, "cotangents", "the value", "vjp")
        _, grads = mx.vjp(flat, leaves, given)
        pulled: tuple[Tree, ...] = tree.unflatten(structure, list(grads))
        return pulled

    return value, pull


def hvp(
    fn: Callable[..., Any], primals: Sequence[Tree], tangents: Sequence[Tree]
) -> tuple[Tree, ...]:
    """The Hessian of a scalar function times a vector: forward over reverse.

    Args:
        fn: a function of trees of float arrays to an array of shape `()`.
        primals: the arguments, all of which are differentiated.
        tangents: as many trees, of the same structures and shapes.

    Returns:
        A tuple of trees of the primals' structures.

    Raises:
        TypeError: if `primals` or `tangents` is no tuple of trees of float arrays.
        ValueError: if tangents and primals differ, or if `fn` returns no scalar.

    Example:
        >>> import mlx.core as mx
        >>> hvp(lambda x: mx.sum(x**3), (mx.array([1.0, 2.0]),), (mx.ones(2),))
        (array([6, 12], dtype=float32),)
    """
    _primals(primals, "primals", "hvp")
    gradient = _value_and_grad(fn, range(len(primals)), False, "hvp")
    _, product = _jvp(lambda *args: gradient(*args)[1], primals, tangents, "hvp")
    result: tuple[Tree, ...] = product
    return result


def checkpoint(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, whose backward pass computes the intermediate results again.

    Saves the memory that they would take, for the time of one more forward pass.

    Args:
        fn: a function of trees of arrays to a tree of arrays. Arguments that are not
            arrays are constants.

    Raises:
        TypeError: if `fn` is not a function; when called, if a result is no array.
        ValueError: when called inside `grad`, if `fn` reads params without being given
            them as an argument: no gradient would reach them.

    Example:
        >>> import mlx.core as mx
        >>> grad(checkpoint(lambda x: mx.sin(mx.sin(x))))(0.0)
        array(1, dtype=float32)
    """

    check_function("checkpoint", fn)

    @functools.wraps(fn)
    def saving(*args: Any, **kwargs: Any) -> Any:
        captures.find(fn, "checkpoint")
        leaves, structure = tree.flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, mx.array)]
        out_structures: list[tree.Structure] = []

        def flat(*arrays: Array) -> list[Array]:
            filled = list(leaves)
            for place, array in zip(places, arrays, strict=True):
                filled[place] = array
            args, kwargs = tree.unflatten(structure, filled)
            out, out_structure = _arrays(fn(*args, **kwargs), "result", "checkpoint")
            out_structures.append(out_structure)
            return out

        out = mx.checkpoint(flat)(*[leaves[i] for i in places])
        return tree.unflatten(out_structures[-1], list(out))

    return saving
