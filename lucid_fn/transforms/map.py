"""`map`: a function of one entry applied to each, one after another."""

from collections.abc import Callable
from typing import Any

from lucid_fn.checks import check_function, check_parameters
from lucid_fn.transforms.scan import iterations_of, run_scan
from lucid_fn.types import Tree


def map(f: Callable[[Any], Any], xs: Tree) -> Tree:
    """Stacks `f(x)` for each entry `x` of the leading axis of `xs`, one after another.

    It takes the memory of one call, where `lf.vmap` takes that of all of them. See
    `scan` about loops inside `lf.jit`.

    Args:
        f: a pure function of a tree to a tree of arrays; compiled once.
        xs: a tree of arrays with axes 0 of one size.

    Returns:
        The tree that `f` returns, each leaf stacked along axis 0.

    Raises:
        TypeError: as `scan`.
        ValueError: as `scan`.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.map(lambda x: mx.sum(x), mx.array([[1.0, 2.0], [3.0, 4.0]]))
        array([3, 7], dtype=float32)
    """
    check_function("map", "f", f)

    def call(f: Callable[..., Any], carry: Tree, x: Tree) -> tuple[Tree, Tree]:
        check_parameters("map", "f", f, ("x",))
        return None, f(x)

    return run_scan(
        f, None, xs, iterations_of(xs, None, "map"), caller="map", call=call
    )[1]
