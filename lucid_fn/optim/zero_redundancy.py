"""ZeRO stage 1: the optimizer's state is sharded over the processes of a group."""

import itertools
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.distributed.agreement import exchange, is_distributed
from lucid_fn.distributed.collectives import all_gather, broadcast
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.optim import states
from lucid_fn.optim.base import GradientTransformation, check_transformation, stateful
from lucid_fn.tracing import lazily, started
from lucid_fn.types import Array, Params, Tree


class ZeroRedundancyState(NamedTuple):
    """This rank's shard of an optimizer's state.

    `inner` has the structure of the whole state, so that its names are those of a
    checkpoint. An array of shape `s` that another rank owns is replaced by an empty one
    of shape `(0, *s)`.
    """

    inner: Any


def zero_redundancy(
    optimizer: GradientTransformation, group: Group | None
) -> GradientTransformation:
    """Shards the optimizer's state over the processes: stage 1 of ZeRO.

    Each param is owned by one rank, which alone keeps its state and computes its
    update; then the ranks exchange their updates. Params are assigned in order of size,
    largest first, each to the rank with the least so far. All ranks must have the same
    gradients, as `train.make_step(group=)` and `average_gradients` compute them, and
    get the same updates, bitwise equal to those of `optimizer`. Because params are not
    split, this also holds for optimizers of matrices, such as `muon` and `adafactor`,
    and for norms over all gradients.

    The state of one rank is not a checkpoint: see `unshard_state`, which `train.fit`
    calls automatically.

    Args:
        optimizer: a transformation, such as `optim.adamw(1e-3)`, a chain or a wrapper.
        group: as `distributed.init` returns it. With a group of one, and with `None`,
            the result is `optimizer` itself.

    Raises:
        TypeError: if an argument is of the wrong type; on init, if the params are a
            single array.
        ValueError: on init, if the state of one param depends on other params, as in
            `prodigy` and `lbfgs`; or if `optimizer` contains a `zero_redundancy`.

    Source: Rajbhandari et al., 2020, https://arxiv.org/abs/1910.02054, section 5.1;
    the assignment is that of `torch.distributed.optim.ZeroRedundancyOptimizer`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed, optim
        >>> group = distributed.init()
        >>> optimizer = optim.zero_redundancy(optim.adamw(1e-3), group)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    caller = "zero_redundancy"
    check_transformation(caller, "optimizer", optimizer)
    check_group(caller, group)
    if not is_distributed(group):
        return optimizer
    return _divided(optimizer, group)


def _divided(optimizer: GradientTransformation, group: Group) -> GradientTransformation:
    caller = "zero_redundancy"

    def init(params: Params, /) -> ZeroRedundancyState:
        _check_tree(caller, params)
        with lazily():  # only shapes and dtypes are read, so nothing is computed
            whole = optimizer.init(params)
        if is_divided(whole):
            raise ValueError(
                f"{caller}: optimizer must not contain a zero_redundancy, whose state "
                "is sharded already; remove one of them"
            )
        mixed = [
            state
            for state in states.find(whole, tuple)
            if getattr(state, "mixes_params", False)
        ]
        if mixed:
            raise _mixed_params(caller, f"one with a {type(mixed[0]).__name__}")
        owners = assign(params, group.size)
        chosen, _ = tree.partition(lambda path: owners[path] == group.rank, params)
        own: dict[str, Array] = tree.named_leaves(optimizer.init(chosen))

        def keep(path: str, x: Array) -> Array:
            if path not in own or not x.size:
                return mx.zeros((0, *x.shape), x.dtype)
            if own[path].shape != x.shape:
                raise _mixed_params(caller, f"{path} of shape {x.shape}")
            return own[path]

        return ZeroRedundancyState(tree.map_with_path(keep, whole))

    def update(
        grads: Tree, opt_state: ZeroRedundancyState, params: Params, /
    ) -> tuple[Tree, ZeroRedundancyState]:
        # The updates of all params are in the graph, so that norms over all gradients
        # are right. Those that other ranks own are never computed: no result of this
        # rank depends on them.
        whole = tree.map(_fill, opt_state.inner)
        updates, new = optimizer.update(grads, whole, params)
        inner = tree.map(
            lambda old, x: old if _is_absent(old) else x, opt_state.inner, new
        )
        owners = assign(params, group.size)
        return _exchanged(updates, owners, group), ZeroRedundancyState(inner)

    return stateful(caller, ZeroRedundancyState, init, update)


def assign(params: Params, size: int) -> dict[str, int]:
    """The rank that owns each param, by path.

    Params are assigned in order of size, largest first, to the rank with the least.
    """
    leaves = tree.named_leaves(params)
    loads, owners = [0] * size, {}
    for path in sorted(leaves, key=lambda path: -leaves[path].nbytes):
        owners[path] = rank = loads.index(min(loads))
        loads[rank] += leaves[path].nbytes
    return owners


def _exchanged(updates: Tree, owners: dict[str, int], group: Group) -> Tree:
    """The updates of all ranks, each from its owner, in one all-gather per dtype."""
    flat: dict[str, Array] = tree.named_leaves(updates)
    gathered: dict[str, Array] = {}
    for dtype in dict.fromkeys(x.dtype for x in flat.values()):
        parts: list[list[str]] = [[] for _ in range(group.size)]
        for path, x in flat.items():
            if x.dtype == dtype:
                parts[owners[path]].append(path)
        lengths = [sum(flat[path].size for path in part) for part in parts]
        padding = mx.zeros(max(lengths) - lengths[group.rank], dtype)
        own = [flat[path].reshape(-1) for path in parts[group.rank]]
        rows: Array = all_gather(mx.concatenate([*own, padding]), group)  # (size, n)
        for part, row in zip(parts, rows, strict=True):
            ends = [0, *itertools.accumulate(flat[path].size for path in part)]
            for path, (start, end) in zip(part, itertools.pairwise(ends), strict=True):
                gathered[path] = row[start:end].reshape(flat[path].shape)
    return tree.map_with_path(lambda path, _: gathered[path], updates)


def _check_tree(caller: str, params: Tree) -> None:
    if isinstance(params, mx.array):
        raise TypeError(
            f"{caller}: params must be a tree such as a dict, whose arrays are divided "
            f"among the ranks, got an array of shape {params.shape}"
        )


def _mixed_params(caller: str, got: str) -> ValueError:
    return ValueError(
        f"{caller}: optimizer must keep a separate state for each param, got {got}, "
        "which depends on all params; use it without zero_redundancy"
    )


# ---- arrays that other ranks own ----


def _is_absent(x: Array) -> bool:
    return x.ndim > 0 and x.shape[0] == 0


def _fill(x: Array) -> Array:
    """`x`, or an array of NaN if it is absent, so that reading it by mistake shows."""
    if not _is_absent(x):
        return x
    is_float = mx.issubdtype(x.dtype, mx.inexact)
    return mx.full(x.shape[1:], float("nan") if is_float else 0, x.dtype)


def is_divided(values: Any) -> bool:
    """Whether a tree contains the shard of an optimizer's state."""
    return bool(states.find(values, ZeroRedundancyState))


def absent_paths(values: Any) -> list[str]:
    """The paths of the arrays that other ranks own."""
    if not is_divided(values):
        return []
    leaves = tree.named_leaves(values)
    return [path for path, x in leaves.items() if _is_absent(x)]


def check_whole(caller: str, values: Any) -> None:
    """Raises if a tree contains the shard of an optimizer's state."""
    if is_divided(values):
        raise ValueError(
            f"{caller}: opt_state must be whole, got this rank's shard of a "
            "zero_redundancy; on all ranks, call optim.unshard_state(opt_state, group) "
            "and pass its result"
        )


# ---- from shards to the whole state, and back ----


def unshard_state(opt_state: Any, group: Group | None) -> Any:
    """The whole state of an optimizer, gathered from the shards of all ranks.

    It is the state of the optimizer without `zero_redundancy`, so that a checkpoint
    does not depend on the number of processes. All ranks must call it, outside of
    transformations, and all get the result.

    Args:
        opt_state: a sharded state, or a tree that contains one, such as a `TrainState`.
        group: that of `zero_redundancy`.

    Returns:
        The tree, with each `ZeroRedundancyState` replaced by the whole state.

    Raises:
        TypeError: if `group` is not a group.
        ValueError: if the shards belong to another group, or the ranks differ.

    Source: `consolidate_state_dict` of
    `torch.distributed.optim.ZeroRedundancyOptimizer`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed, optim
        >>> group = distributed.init()
        >>> optimizer = optim.zero_redundancy(optim.adam(1e-3), group)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
        >>> whole = optim.unshard_state(opt_state, group)
    """
    caller = "unshard_state"
    check_group(caller, group)
    for state in states.find(opt_state, ZeroRedundancyState):
        if not is_distributed(group):
            raise ValueError(
                f"{caller}: group must be that of zero_redundancy, got a group of one, "
                "which does not have the whole state"
            )
        opt_state = states.replace(opt_state, state, _whole(caller, state, group))
    return opt_state


def _whole(caller: str, state: ZeroRedundancyState, group: Group) -> Any:
    flat: dict[str, Array] = tree.named_leaves(state.inner)
    held = [path for path, x in flat.items() if not _is_absent(x)]
    holders = list(map(set, exchange(group, caller, held)))
    whole = {path: _fill(x) for path, x in flat.items()}
    common = set.intersection(*holders)
    for rank, paths in enumerate(holders):
        own = {path: whole[path] for path in flat if path in paths - common}
        whole |= broadcast(own, group, root=rank)
    return started(tree.map_with_path(lambda path, _: whole[path], state.inner))


def shard_state(opt_state: Any, *, like: Any) -> Any:
    """This rank's shard of a whole state: the inverse of `unshard_state`.

    Args:
        opt_state: a whole state, or a tree that contains one, such as a `TrainState`
            that was saved by a group of any size.
        like: the sharded state or tree, as the optimizer's `init` or `train.init`
            returns it with `zero_redundancy`. It determines which arrays this rank
            owns.

    Returns:
        A tree like `like`.

    Raises:
        ValueError: if names, shapes or dtypes differ.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed, optim
        >>> optimizer = optim.zero_redundancy(optim.adam(1e-3), distributed.init())
        >>> like = optimizer.init({"w": mx.zeros(3)})
        >>> whole = optim.adam(1e-3).init({"w": mx.zeros(3)})
        >>> opt_state = optim.shard_state(whole, like=like)
    """
    whole = whole_like(like)
    values = tree.restore(whole, tree.named_leaves(opt_state), caller="shard_state")
    leaves, structure = tree.flatten(like)
    kept = [
        old if isinstance(old, mx.array) and _is_absent(old) else new
        for old, new in zip(leaves, tree.leaves(values), strict=True)
    ]
    return tree.unflatten(structure, kept)


def whole_like(values: Any) -> Any:
    """A template with the names, shapes and dtypes of the whole state."""

    def fill(x: Array) -> Array:
        return mx.zeros(x.shape[1:], x.dtype) if _is_absent(x) else x

    for state in states.find(values, ZeroRedundancyState):
        values = states.replace(values, state, tree.map(fill, state.inner))
    return values
