"""`scan`: loops with a carry over the leading axis of trees."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_bool, check_count, check_function, check_parameters
from lucid_fn.tracing import started
from lucid_fn.transforms.arguments import describe, name_of
from lucid_fn.transforms.bodies import arrays_of, body_of, with_dtypes
from lucid_fn.transforms.closures import closure_convert
from lucid_fn.transforms.untraced import untraced
from lucid_fn.types import Tree


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Tree,
    xs: Tree = None,
    length: int | None = None,
    *,
    reverse: bool = False,
    checkpoint_every: int | None = None,
) -> tuple[Tree, Tree]:
    """Runs `carry, y = f(carry, x)` over the leading axis of `xs`, and stacks each `y`.

    `f` is compiled once, whatever the number of iterations: in Python it runs only
    while it is traced. All derivatives work, also in what `f` closes over, and so does
    `vmap`. Reverse derivatives keep the carry before each iteration, and recompute the
    rest.

    Inside `lf.jit` the loop is unrolled, and may have 2,048 iterations. Call a
    longer one outside of it: it is compiled by itself.

    Args:
        f: a pure function `(carry, x) -> (carry, y)` of trees. The carry keeps its
            structure, shapes and dtypes.
        init: the carry before the first iteration: arrays and numbers. A Python number
            takes the dtype that `f` gives it.
        xs: a tree of arrays whose axes 0 have the number of iterations as their size;
            or `None`, in which case `x` is `None`.
        length: the number of iterations; may be omitted if `xs` has an array.
        reverse: whether to go from the last entry of `xs` to the first; each `y` stays
            at the index of its `x`.
        checkpoint_every: keep the carry only once in so many iterations for the reverse
            derivative, and compute those in between again.

    Returns:
        The carry after the last iteration, and each `y`, stacked: `(length, ...)`.

    Raises:
        TypeError: if `f` is not a function, does not return a pair, or changes the
            structure, a shape or a dtype of the carry, the message names the leaf; if
            it needs the value of an array; if an argument is of the wrong type.
        ValueError: if the arrays of `xs` and `length` disagree, if there is neither, if
            a loop inside `lf.jit` is too long, if `f` draws from MLX's hidden random
            state, or reads an array of a transformation around the call in an
            attribute. In the derivative, if something that `f` reads has changed since
            the call, other than variables of its closure.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> decay = mx.array(0.5)
        >>> def average(h, x):
        ...     h = decay * h + (1 - decay) * x
        ...     return h, h
        >>> last, ys = lf.scan(average, 0.0, mx.array([1.0, 1.0, 1.0]))
        >>> ys
        array([0.5, 0.75, 0.875], dtype=float32)
    """
    check_function("scan", "f", f)
    check_bool("scan", reverse=reverse)
    if checkpoint_every is not None:
        checkpoint_every = check_count("scan", "checkpoint_every", checkpoint_every)
    iterations = iterations_of(xs, length, "scan")
    return run_scan(
        f, init, xs, iterations, reverse=reverse, every=checkpoint_every, caller="scan"
    )


def _pair(f: Callable[..., Any], carry: Tree, x: Tree) -> tuple[Tree, Tree]:
    check_parameters("scan", "f", f, ("carry", "x"))
    out = f(carry, x)
    if not (isinstance(out, tuple | list) and len(out) == 2):
        raise TypeError(
            f"scan: `{name_of(f)}` must return the pair (carry, y), got "
            f"{type(out).__name__}; write (carry, None) if there is no y"
        )
    return out[0], out[1]


def run_scan(
    f: Callable[..., Any],
    init: Tree,
    xs: Tree,
    length: int,
    *,
    reverse: bool = False,
    every: int | None = None,
    caller: str,
    call: Callable[..., tuple[Tree, Tree]] = _pair,
) -> tuple[Tree, Tree]:
    """`scan` of `call(f, carry, x)`."""
    from lucid_fn.transforms import loop  # not above: most programs have no loop

    inputs, in_structure = arrays_of(xs, "xs", caller)
    carry, structure = arrays_of(init, "init", caller)
    converted = closure_convert(f, caller)
    example = tree.unflatten(
        in_structure, [mx.zeros(x.shape[1:], x.dtype) for x in inputs]
    )
    in_specs = tuple((x.shape[1:], x.dtype) for x in inputs)
    carry = with_dtypes(
        *(init, carry, converted, (caller, in_structure, in_specs)),
        lambda c: call(f, c, example)[0],
    )
    specs = tuple((x.shape, x.dtype) for x in (*converted.arrays, *carry))
    key = structure, in_structure, specs, in_specs
    traced = body_of(name_of(f), converted, structure, in_structure, key, call, caller)
    body, arrays = traced.body, [*converted.arrays, *carry]
    if length == 0:
        one = [mx.zeros(x.shape[1:], x.dtype) for x in inputs]
        shown = untraced(body, [*arrays, *one])[len(carry) :]
        pairs = zip(body.output_shapes, shown, strict=True)
        after, ys = carry, [mx.zeros((0, *shape), y.dtype) for shape, y in pairs]
    elif every is None or every >= length:
        after, ys = loop.run(
            body, [*arrays, *inputs], length, reverse=reverse, caller=caller
        )
    else:
        after, ys = loop.run_in_segments(
            body, [*arrays, *inputs], length, every, reverse=reverse, caller=caller
        )
    last, out = (
        tree.unflatten(structure, after),
        tree.unflatten(traced.structures[-1], ys),
    )
    return started((last, out))


def iterations_of(xs: Tree, length: int | None, caller: str) -> int:
    """The number of iterations, on which all arrays and `length` must agree."""
    found: tuple[str, int] | None = None
    if length is not None:
        found = "length", check_count(caller, "length", length, at_least=0)
    for path, leaf in zip(tree.paths(xs), tree.leaves(xs), strict=True):
        where = f"xs.{path}".rstrip(".")
        if not getattr(leaf, "shape", ()):
            raise ValueError(
                f"{caller}: {where} must have an axis 0 to go over, got "
                f"{describe(leaf)}; read what all iterations share from outside of the "
                "function"
            )
        size = leaf.shape[0]
        if found is None:
            found = where, size
        elif found[1] != size:
            raise ValueError(
                f"{caller}: the arrays of xs and length must agree on the number of "
                f"iterations, got {found[1]} for {found[0]} and {size} for {where}"
            )
    if found is None:
        raise ValueError(f"{caller}: length must be given where xs has no array")
    return found[1]
