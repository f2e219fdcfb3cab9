"""Differentiable collectives over trees."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_count, check_type
from lucid_fn.distributed import agreement
from lucid_fn.distributed.group import Group
from lucid_fn.ops.custom_derivative import after, custom_function
from lucid_fn.tracing import is_tracing, order, started
from lucid_fn.types import Array, Tree

Collective = Callable[[Array], Array]


def all_sum(values: Tree, group: Group | None) -> Tree:
    """The sum of each leaf over all processes.

    Its derivative is a sum as well: the gradient in the values of one process is that
    of the losses of all processes, so the cotangents are summed too.

    Args:
        values: a tree of arrays, with the same shapes and dtypes on all ranks. Bools
            become int32.
        group: as `init` returns it; `None` is a group of one.

    Returns:
        A tree like `values`, bitwise equal on all ranks.

    Raises:
        TypeError: if a leaf is not an array.
        ValueError: if the ranks call different collectives, or with different shapes or
            dtypes. Checked at each call outside of `jit`, and once per trace inside.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed
        >>> group = distributed.init()  # of 4 processes the result would be 4
        >>> distributed.all_sum(mx.array(1.0), group)
        array(1, dtype=float32)
    """
    return _map("all_sum", sum_array, values, group)


def all_mean(values: Tree, group: Group | None) -> Tree:
    """The mean of each leaf over all processes: `all_sum(values) / size`.

    Args:
        values: a tree of float arrays, with the same shapes and dtypes on all ranks.
        group: as `init` returns it; `None` is a group of one.

    Returns:
        A tree like `values`, in its dtypes.

    Raises:
        TypeError: if a leaf is not a float array.
        ValueError: as `all_sum`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed
        >>> distributed.all_mean({"loss": mx.array(0.5)}, distributed.init())
        {'loss': array(0.5, dtype=float32)}
    """
    for path, leaf in tree.named_leaves(values).items():
        if isinstance(leaf, mx.array) and not mx.issubdtype(leaf.dtype, mx.inexact):
            raise TypeError(
                f"all_mean: {path or 'values'} must be a float array, got "
                f"{leaf.dtype}; convert it, or use all_sum"
            )

    def mean(group: Group, x: Array) -> Array:
        return sum_array(group, x / group.size)

    return _map("all_mean", mean, values, group)


def all_gather(values: Tree, group: Group | None) -> Tree:
    """The arrays of all processes, stacked along a new first axis, in rank order.

    Args:
        values: a tree of arrays, with the same shapes and dtypes on all ranks.
        group: as `init` returns it; `None` is a group of one.

    Returns:
        A tree like `values`, of arrays `(size, ...)`.

    Raises:
        TypeError: if a leaf is not an array.
        ValueError: as `all_sum`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed
        >>> distributed.all_gather(mx.array([1.0, 2.0]), distributed.init()).shape
        (1, 2)
    """
    if not agreement.is_distributed(group):
        _check_arrays("all_gather", values)
        return tree.map(lambda x: x[None], values)
    return _map("all_gather", _gather, values, group)


def broadcast(values: Tree, group: Group | None, *, root: int = 0) -> Tree:
    """The arrays of rank `root`, on every rank.

    Args:
        values: a tree of arrays, with the same shapes and dtypes on all ranks; only
            the values of rank `root` are used.
        group: as `init` returns it; `None` is a group of one.
        root: the rank whose arrays are sent, in `[0, size)`.

    Returns:
        A tree like `values`.

    Raises:
        TypeError: if a leaf is not an array.
        ValueError: as `all_sum`, and if `root` is not a rank.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed
        >>> distributed.broadcast({"w": mx.ones(2)}, distributed.init())
        {'w': array([1, 1], dtype=float32)}
    """
    size = 1 if group is None else group.size
    root = check_count("broadcast", "root", root, at_least=0, below=size)

    def send(group: Group, x: Array) -> Array:
        # A masked sum, whose derivative sums the cotangents of all ranks.
        own = mx.where(mx.array(group.rank == root), x, mx.zeros_like(x))
        return sum_array(group, own).astype(x.dtype)

    return _map("broadcast", send, values, group)


def sum_gradients(values: Tree, group: Group | None) -> Tree:
    """The identity, whose gradient is summed over all processes.

    The start of a tensor-parallel region: all ranks have the same `values`, and each
    computes a different part of the following operations, up to `sum_parts`.

    Args:
        values: a tree of float arrays, the same on all ranks.
        group: as `init` returns it; `None` is a group of one.

    Returns:
        A tree like `values`.

    Raises:
        TypeError: if a leaf is not an array.
        ValueError: as `all_sum`, in its derivative.

    Source: Shoeybi et al., 2019, https://arxiv.org/abs/1909.08053, section 3: `f`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed
        >>> distributed.sum_gradients(mx.array(1.0), distributed.init())
        array(1, dtype=float32)
    """
    _check_arrays("sum_gradients", values)
    if not agreement.is_distributed(group):
        return values
    return tree.map(_sum_gradients(group), values)


def sum_parts(values: Tree, group: Group | None) -> Tree:
    """The sum of each leaf over all processes, whose gradient is the identity.

    The end of a tensor-parallel region that `sum_gradients` started. The value is that
    of `all_sum`. With `all_sum` each rank has its own loss, and gradients are those of
    the sum of all losses; here all ranks compute the same loss from the result, which
    counts once, so the cotangent is passed on unchanged.

    Args:
        values: a tree of float arrays, with the same shapes and dtypes on all ranks.
        group: as `init` returns it; `None` is a group of one.

    Returns:
        A tree like `values`, bitwise equal on all ranks.

    Raises:
        TypeError: if a leaf is not an array.
        ValueError: as `all_sum`.

    Source: Shoeybi et al., 2019, https://arxiv.org/abs/1909.08053, section 3: `g`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed
        >>> distributed.sum_parts(mx.array(1.0), distributed.init())
        array(1, dtype=float32)
    """
    return _map("sum_parts", _sum_of_parts, values, group)


def barrier(group: Group | None) -> None:
    """Waits until all processes have called it.

    Args:
        group: as `init` returns it; `None` is a group of one.

    Raises:
        ValueError: if another rank calls something else here.

    Example:
        >>> from lucid_fn import distributed
        >>> distributed.barrier(distributed.init())
    """
    agreement.agree(group, "barrier", ["barrier"])


def _map(
    name: str, fn: Callable[[Group, Array], Array], values: Tree, group: Group | None
) -> Tree:
    _check_arrays(name, values)
    if not agreement.is_distributed(group):
        return values
    announce(name, values, group)
    return started(tree.map(partial(fn, group), values))


def _check_arrays(name: str, values: Tree) -> None:
    for path, leaf in tree.named_leaves(values).items():
        fix = "convert it with mx.array"
        check_type(name, path or "values", leaf, mx.array, "an array", fix=fix)


def announce(name: str, values: Tree, group: Group) -> None:
    """Checks that all ranks are about to run the same collective.

    Outside of a trace this happens immediately. Collectives that `jit` traces are
    compared once per trace, before it first runs, so that later calls cost nothing.
    """
    leaves = tree.named_leaves(values)
    signatures = [
        f"{name} of {path or 'an array'} {x.shape} {str(x.dtype).rpartition('.')[2]}"
        for path, x in leaves.items()
    ]
    current = order()
    if not is_tracing():
        agreement.agree(group, name, signatures)
    elif current is not None:
        current.signatures += signatures
        current.agree = partial(agreement.agree, group)


# ---- one array ----


def sum_array(group: Group, x: Array) -> Array:
    """The sum of one array; the caller must `announce` it."""
    if x.dtype == mx.bool_:
        x = x.astype(mx.int32)
    return _in_order(_all_sum(group), x) if x.size else x


def _sum_of_parts(group: Group, x: Array) -> Array:
    return _in_order(_sum_parts(group), x) if x.size else x


def _gather(group: Group, x: Array) -> Array:
    if x.size:
        return _in_order(_all_gather(group), x)
    return mx.zeros((group.size, *x.shape), x.dtype)


def _in_order(collective: Collective, x: Array) -> Array:
    """`collective(x)`, evaluated after all collectives that were called before."""
    current = order()
    if current is None:  # evaluation starts at once, in the order of the program
        return collective(x)
    if current.last is not None:
        x = after(x, mx.stop_gradient(current.last))
    current.last = collective(x)
    return current.last


@cache
def _all_sum(group: Group) -> Collective:
    """The sum, with derivatives and a rule for `vmap`.

    MLX's own vjp is the identity; here the loss is the sum of the losses of all ranks.
    """

    @custom_function
    def run(x: Array) -> Array:
        return mx.distributed.all_sum(x, group=group.handle, stream=_stream(group))

    @run.vjp
    def vjp(x: Array, g: Array, _: Array) -> Array:
        announce("gradient of all_sum", g, group)
        return sum_array(group, g)

    @run.jvp
    def jvp(x: Array, dx: Array) -> Array:
        announce("tangent of all_sum", dx, group)
        return sum_array(group, dx)

    run.vmap(lambda x, axis: (run(x), axis))
    return run


@cache
def _sum_gradients(group: Group) -> Collective:
    """The identity, whose transpose is `_sum_parts`."""

    @custom_function
    def run(x: Array) -> Array:
        return x

    @run.vjp
    def vjp(x: Array, g: Array, _: Array) -> Array:
        announce("gradient of sum_gradients", g, group)
        return _sum_of_parts(group, g)

    @run.jvp
    def jvp(x: Array, dx: Array) -> Array:
        return run(dx)  # type: ignore[no-any-return]  # of an array it is one

    run.vmap(lambda x, axis: (run(x), axis))
    return run


@cache
def _sum_parts(group: Group) -> Collective:
    """The sum, whose transpose is `_sum_gradients`."""

    @custom_function
    def run(x: Array) -> Array:
        return mx.distributed.all_sum(x, group=group.handle, stream=_stream(group))

    @run.vjp
    def vjp(x: Array, g: Array, _: Array) -> Array:
        return _sum_gradients(group)(g)

    @run.jvp
    def jvp(x: Array, dx: Array) -> Array:
        announce("tangent of sum_parts", dx, group)
        return _sum_of_parts(group, dx)

    run.vmap(lambda x, axis: (run(x), axis))
    return run


@cache
def _all_gather(group: Group) -> Collective:
    """The arrays of all ranks, stacked; `x` must not be empty."""

    @custom_function
    def run(x: Array) -> Array:
        handle, stream = group.handle, _stream(group)
        return mx.distributed.all_gather(x[None], group=handle, stream=stream)

    @run.vjp
    def vjp(x: Array, g: Array, _: Array) -> Array:
        announce("gradient of all_gather", g, group)
        return sum_array(group, g)[group.rank]

    @run.jvp
    def jvp(x: Array, dx: Array) -> Array:
        announce("tangent of all_gather", dx, group)
        return _gather(group, dx)

    @run.vmap
    def vmap(x: Array, axis: int) -> tuple[Array, int]:
        return run(mx.moveaxis(x, axis, 0)), 1  # (size, B, ...)

    return run


def _stream(group: Group) -> Any:
    """A separate stream for collectives, to overlap them with the backward pass."""
    return _own_stream() if group.backend in ("ring", "mpi") else None


@cache
def _own_stream() -> Any:
    return mx.new_thread_local_stream(mx.cpu)
