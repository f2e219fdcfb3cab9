"""Assertions on trees of arrays, and on functions of them."""

from collections.abc import Callable
from typing import Any

import chex
import mlx.core as mx
import numpy as np

from lucid_fn import random, transforms, tree
from lucid_fn.types import Array, Tree


def _numpy(arrays: Tree) -> Tree:
    """The tree with NumPy arrays, half precision as float32."""

    def convert(leaf: Any) -> Any:
        if not isinstance(leaf, mx.array):
            return leaf
        half = leaf.dtype in (mx.bfloat16, mx.float16)
        return np.array(leaf.astype(mx.float32) if half else leaf)

    return tree.map(convert, arrays)


def assert_close(
    actual: Tree, expected: Tree, *, rtol: float = 1e-6, atol: float = 0.0
) -> None:
    """Assert that two trees have the same structure and close values.

    Args:
        actual: a tree of arrays and numbers.
        expected: the expected tree.
        rtol: relative tolerance.
        atol: absolute tolerance, in addition.

    Raises:
        AssertionError: if they differ; the message names the leaf.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import testing
        >>> testing.assert_close({"w": mx.array([1.0])}, {"w": mx.array([1.0 + 1e-7])})
    """
    chex.assert_trees_all_close(_numpy(actual), _numpy(expected), rtol=rtol, atol=atol)


def assert_same_structure(a: Tree, b: Tree) -> None:
    """Assert that two trees have the same structure, shapes and dtypes.

    Args:
        a: a tree of arrays.
        b: the expected tree.

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
    """Assert that no leaf holds an infinity or a NaN.

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
    """Assert that `fn` is pure and can be compiled.

    It is called twice, and once compiled: the results must agree, and the arguments
    must not change.

    Args:
        fn: function from trees of arrays to a tree of arrays.
        args: its arguments.
        rtol: tolerance between compiled and eager results.

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
    """Assert that the gradient of `fn` agrees with a finite difference.

    Compares the directional derivative along a random direction with a central
    difference in float32, which is most exact for numbers near 1.

    Args:
        fn: function from a tree of float arrays to a loss of shape `()`.
        params: point at which the gradient is checked.
        seed: seed of the direction, a vector of length 1.
        step: half the distance between the two points of the difference.
        rtol: tolerance, relative to the norm of the gradient.

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
            f"the gradient gives a slope of {expected:.6g}, finite differences give "
            f"{slope:.6g}; the tolerance is {tolerance:.2g}"
        )


def _direction(grads: Tree, seed: int) -> Tree:
    """A unit vector halfway between the gradient and a random direction.

    An error in the norm shows along the gradient, one in the direction across it.
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
    # Opposite vectors would cancel, entirely if there is a single number.
    sign = 1.0 if same_side else -1.0
    return unit(tree.map(lambda a, b: a + sign * b, along, drawn))
