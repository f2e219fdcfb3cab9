"""Tools to debug functions: `disable_jit`, `eval_shape` and `check_pure`."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.checks import check_bool, shapes_only
from lucid_fn.tracing import lazily
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.arguments import as_array, check_function, name_of
from lucid_fn.transforms.compilation import compiling
from lucid_fn.transforms.surroundings import Surroundings
from lucid_fn.types import Array, Tree


@contextmanager
def disable_jit(disable: bool = True) -> Iterator[None]:
    """Inside the block, functions of `jit` run uncompiled, line by line.

    So `print`, `breakpoint` and errors see values. `LUCID_FN_JIT=none` in the
    environment does the same for a whole program.

    Args:
        disable: `False` compiles again, inside a block that disables it.

    Raises:
        TypeError: if `disable` is not a bool.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> @lf.jit
        ... def shown(x):
        ...     print(x)
        ...     return x + 1
        >>> with lf.disable_jit():
        ...     y = shown(mx.array(1.0))
        array(1, dtype=float32)
    """
    check_bool("disable_jit", disable=disable)
    token = compiling.set(not disable)
    try:
        yield
    finally:
        compiling.reset(token)


@dataclasses.dataclass(frozen=True)
class ShapeDtype:
    """The shape and dtype of an array, without its values."""

    shape: tuple[int, ...]
    dtype: mx.Dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


def eval_shape(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Tree:
    """The shapes and dtypes of `fn(*args, **kwargs)`, without computing it.

    Args:
        fn: a function of trees to a tree of arrays.
        args: its arguments. A `ShapeDtype`, or anything else with a `shape` and a
            `dtype` of MLX, may stand for an array.
        kwargs: its keyword arguments, likewise.

    Returns:
        The tree that `fn` returns, with a `ShapeDtype` in place of each array.

    Raises:
        TypeError: if `fn` is not a function, or needs the value of an array.

    Example:
        >>> import lucid_fn as lf
        >>> from lucid_fn import models, random
        >>> params, state = lf.eval_shape(models.lenet5().init, random.key(0))
        >>> params["fc1"]["weight"]
        ShapeDtype(shape=(120, 256), dtype=mlx.core.float32)
    """
    check_function("eval_shape", fn)
    leaves, structure = tree.flatten((args, kwargs))
    holders = [_placeholder(leaf) for leaf in leaves]
    places = [i for i, array in enumerate(holders) if array is not None]
    found: list[Tree] = []

    def traced(arrays: list[Array]) -> None:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        args, kwargs = tree.unflatten(structure, filled)
        found.append(tree.map(_spec, fn(*args, **kwargs)))

    given = [array for array in holders if array is not None]
    with (
        diagnosis.explaining_value_reads(name_of(fn), "eval_shape"),
        lazily(),
        shapes_only(),
    ):
        mx.compile(traced)(given)
    return found[-1]


def _placeholder(leaf: Any) -> Array | None:
    """A lazy array of the shape and dtype of a leaf; `None` if it lacks them."""
    if isinstance(leaf, mx.array):
        return leaf
    if isinstance(leaf, np.ndarray):
        return as_array(leaf)
    dtype, shape = getattr(leaf, "dtype", None), getattr(leaf, "shape", None)
    if isinstance(dtype, mx.Dtype) and shape is not None:
        return mx.zeros(tuple(shape), dtype)
    return None


def _spec(leaf: Any) -> Any:
    if isinstance(leaf, mx.array):
        return ShapeDtype(leaf.shape, leaf.dtype)
    return leaf


def check_pure(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps `fn` with a check at each call that it is pure.

    It runs twice, and must return the same both times, leave its arguments and what it
    reads from outside as they are, and not draw from the hidden random states of MLX
    and NumPy. For debugging: the check reads all values.

    Args:
        fn: a function of trees to a tree of arrays.

    Returns:
        A function with the signature of `fn`, which returns what `fn` returns.

    Raises:
        TypeError: if `fn` is not a function.
        ValueError: when called, if `fn` is not pure; the message says why.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> def in_place(x):
        ...     x += 1
        ...     return x
        >>> lf.check_pure(in_place)(mx.array(1.0))
        Traceback (most recent call last):
        ...
        ValueError: check_pure: `in_place` changes its argument args.0; build a new ...
    """
    check_function("check_pure", fn)
    name = name_of(fn)

    @functools.wraps(fn)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = {"args": args, "kwargs": kwargs}
        copies = tree.map(_copy, given)
        outside = Surroundings()
        outside.add(fn, name)
        outside.find_addresses()
        hidden, numpy_state = diagnosis.random_state(), _numpy_state()
        out = fn(*args, **kwargs)
        if diagnosis.random_state() is not hidden or _numpy_state() != numpy_state:
            raise ValueError(
                f"check_pure: `{name}` draws from a hidden random state; give it a key "
                "and draw with lucid_fn.random"
            )
        if changed := _first_difference(given, copies):
            raise ValueError(
                f"check_pure: `{name}` changes its argument {changed}; build a new "
                "tree or array, as by x = x + 1 in place of x += 1"
            )
        if written := outside.changed():
            raise ValueError(
                f"check_pure: `{name}` changes `{written}`, which it is not given; "
                "take it as an argument, and return its new value"
            )
        again = fn(*copies["args"], **copies["kwargs"])
        if differs := _first_difference({"result": out}, {"result": again}):
            raise ValueError(
                f"check_pure: `{name}` returns another value at a second call, at "
                f"{differs}; what it depends on must be an argument"
            )
        return out

    return checked


def _copy(leaf: Any) -> Any:
    return mx.array(leaf) if isinstance(leaf, mx.array) else leaf


def _numpy_state() -> Any:
    kind, keys, *rest = np.random.get_state(legacy=True)
    return kind, bytes(np.asarray(keys)), *rest


def _first_difference(a: Tree, b: Tree) -> str | None:
    """The path at which two trees differ, if they do."""
    ours, theirs = tree.named_leaves(a), tree.named_leaves(b)
    for path in sorted({*ours, *theirs}):
        if path not in ours or path not in theirs:
            return path
        if not tree.equal(ours[path], theirs[path], equal_nan=True).item():
            return path
    return None
