"""Assertions of trees of arrays and of functions of them, by chex."""

from collections.abc import Callable
from typing import Any

import chex
import mlx.core as mx
import numpy as np

from lucid_fn import random, transforms, tree
from lucid_fn.types import Array, Tree


def _numpy(arrays: Tree) -> Tree:
    """The tree in NumPy, which has no bfloat16."""

    def convert(leaf: Any) -> Any:
        if not isinstance(leaf, mx.array):
            return leaf
        half = leaf.dtype in (mx.bfloat16, mx.float16)
        return np.array(leaf.astype(mx.float32) if half else leaf)

    return tree.map(convert, arrays)


def assert_close(
    actual: Tree, expected: Tree, *, rtol: float = 1e-6, atol: float = 0.0
) -> None:
    """Fails unless two trees have one structure, and their values are close.

    Args:
        actual: a tree of arrays and numbers.
        expected: the tree it should be.
        rtol: allowed difference, relative to `expected`.
        atol: allowed difference besides.

    Raises:
        AssertionError: if they differ; the message names the leaf.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import testing
        >>> testing.assert_close({"w": mx.array([1.0])}, {"w": mx.array([1.0 + 1e-7])})
    """
    chex.assert_trees_all_close(_numpy(actual), _numpy(expected), rtol=rtol, atol=atol)


def assert_same_structure(a: Tree, b: Tree) -> None:
    """Fails unless two trees have one structure, and their leaves shapes and dtypes.

    Args:
        a: a tree of arrays.
        b: the tree it should be like.

    Raises:
        AssertionError: if they differ; the message names the first leaf.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import testing
        >>> testing.assert_same_structure([mx.zeros(2)], [mx.ones(2)])
    """

    def check(path: str, x: Any, y: Any) -> None:
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise AssertionError(
                f"{path}: {x.dtype} {x.shape} is not {y.dtype} {y.shape}"
            )

    try:
        tree.map_with_path(check, a, b)
    except ValueError as error:
        raise AssertionError(str(error)) from None


def assert_finite(arrays: Tree) -> None:
    """Fails if a leaf holds an infinity or a NaN.

    Args:
        arrays: a tree of arrays.

    Raises:
        AssertionError: the message names the leaves.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import testing
        >>> testing.assert_finite({"w": mx.array([1.0, 2.0])})
    """
    bad = [
        path
        for path, leaf in tree.named_leaves(arrays).items()
        if not tree.all_finite(leaf).item()
    ]
    if bad:
        raise AssertionError(f"not finite: {', '.join(bad)}")


def check_pure(fn: Callable[..., Tree], *args: Tree, rtol: float = 1e-5) -> None:
    """Fails unless `fn` is a pure function that compiles.

    It is called twice, and compiled: the results must agree, and the arguments stay as
    they were.

    Args:
        fn: a function of trees of arrays to a tree of arrays.
        args: its arguments.
        rtol: allowed difference between compiled and not, relative.

    Raises:
        AssertionError: if a result or an argument differs.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import testing
        >>> testing.check_pure(lambda x: {"y": x * 2}, mx.array([1.0, 2.0]))
    """
    before = _numpy(args)
    first, second = _numpy(fn(*args)), _numpy(fn(*args))
    chex.assert_trees_all_equal(_numpy(args), before)
    chex.assert_trees_all_equal(first, second)
    compiled = _numpy(transforms.jit(lambda *args: fn(*args))(*args))
    chex.assert_trees_all_close(compiled, first, rtol=rtol, atol=rtol)


def check_grads(
    fn: Callable[[Tree], Array],
    params: Tree,
    *,
    seed: int = 0,
    step: float = 1e-2,
    rtol: float = 2e-2,
) -> None:
    """Fails unless the gradient of `fn` is its slope in a direction drawn at random.

    The slope is a central difference, in float32: keep the numbers near 1.

    Args:
        fn: from a tree of float arrays to a loss of shape `()`.
        params: where the gradient is checked.
        seed: draws the direction, a vector of length 1.
        step: half the distance between the two points of the difference.
        rtol: allowed difference, relative to the length of the gradient.

    Raises:
        AssertionError: if they differ.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import testing
        >>> params = {"w": mx.array([1.0, 2.0])}
        >>> testing.check_grads(lambda p: mx.sum(p["w"] ** 2), params)
    """
    grads = transforms.grad(fn)(params)
    direction = _direction(grads, seed)
    ahead = fn(tree.map(lambda p, d: p + step * d, params, direction))
    behind = fn(tree.map(lambda p, d: p - step * d, params, direction))
    slope = ((ahead - behind) / (2 * step)).item()
    products = tree.map(lambda g, d: mx.sum(g * d), grads, direction)
    expected = sum(leaf.item() for leaf in tree.leaves(products))
    tolerance = rtol * max(float(np.array(tree.global_norm(grads))), 1e-3)
    if not abs(slope - expected) <= tolerance:
        raise AssertionError(
            f"the gradient says {expected:.6g} where the slope is {slope:.6g}, "
            f"allowed is a difference of {tolerance:.2g}"
        )


def _direction(grads: Tree, seed: int) -> Tree:
    """Half the gradient's direction, half a random one on its side, of length 1.

    A gradient that is too long shows along itself, one that points elsewhere across.
    """

    def unit(vector: Tree) -> Tree:
        length = tree.global_norm(vector) + 1e-12
        return tree.map(lambda x: x / length, vector)

    def draw(path: str, g: Array) -> Array:
        return random.normal(random.fold_in(random.key(seed), path), g.shape)

    drawn = unit(tree.map_with_path(draw, grads))
    along = unit(grads)
    products = tree.map(lambda a, b: mx.sum(a * b), along, drawn)
    same_side = sum(leaf.item() for leaf in tree.leaves(products)) >= 0
    # On the other side the two would cancel, for a single number entirely.
    sign = 1.0 if same_side else -1.0
    return unit(tree.map(lambda a, b: a + sign * b, along, drawn))
