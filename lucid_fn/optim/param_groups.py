"""Different transformations for different params, chosen by their paths."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_function, check_type
from lucid_fn.optim.base import (
    GradientTransformation,
    check_transformation,
    stateful,
    stateless_with_tree_map,
)
from lucid_fn.optim.errors import wrong_state
from lucid_fn.types import Array, Params, Tree

_PATH_FUNCTION = "a function of the dotted path"


class MaskedState(NamedTuple):
    """The state of the transformation, for the chosen params only."""

    inner: Any


class PartitionState(NamedTuple):
    """The states by the name of the group; each has its own learning rate."""

    groups: dict[str, Any]


def masked(
    transformation: GradientTransformation, predicate: Callable[[str], bool]
) -> GradientTransformation:
    """Applies a transformation to some of the leaves, and leaves the others unchanged.

    Args:
        transformation: receives only the chosen gradients and params, and keeps no
            state for the others.
        predicate: function of the dotted path of a param, such as
            `"layer1.0.conv1.weight"`, that returns whether it is chosen.

    Raises:
        TypeError: if an argument is of the wrong type; on init, if the params hold
            lists or tuples.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> decay = optim.add_decayed_weights(0.5)
        >>> opt = optim.masked(decay, lambda path: path.endswith("weight"))
        >>> params = {"weight": mx.array(2.0), "bias": mx.array(2.0)}
        >>> grads = {"weight": mx.array(0.0), "bias": mx.array(0.0)}
        >>> opt.update(grads, opt.init(params), params)[0]
        {'weight': array(1, dtype=float32), 'bias': array(0, dtype=float32)}
    """
    check_transformation("masked", "transformation", transformation)
    check_function("masked", "predicate", predicate, kinds=_PATH_FUNCTION)

    def init(params: Params, /) -> MaskedState:
        return MaskedState(transformation.init(_chosen(predicate, params)))

    def update(
        grads: Tree, opt_state: MaskedState, params: Params, /
    ) -> tuple[Tree, MaskedState]:
        updates, inner = transformation.update(
            _chosen(predicate, grads), opt_state.inner, _chosen(predicate, params)
        )
        return _overlay(updates, grads), MaskedState(inner)

    return stateful("masked", MaskedState, init, update)


def partition(
    transformations: Mapping[str, GradientTransformation], label: Callable[[str], str]
) -> GradientTransformation:
    """A transformation for each group of params.

    Args:
        transformations: by the name of the group. Read and set learning rates in the
            state of a group: `learning_rate(opt_state.groups["head"])`.
        label: function of the dotted path of a param that returns the name of its
            group.

    Raises:
        TypeError: if an argument is of the wrong type; on init, if the params hold
            lists or tuples.
        ValueError: on init, if `label` returns an unknown name.

    Source: `optax.partition`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.partition(
        ...     {"head": optim.sgd(0.5), "body": optim.freeze()},
        ...     lambda path: "head" if path.startswith("fc") else "body",
        ... )
        >>> params = {"conv": {"weight": mx.array(1.0)}, "fc": {"bias": mx.array(1.0)}}
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> updates["fc"], updates["conv"]
        ({'bias': array(-0.5, dtype=float32)}, {'weight': array(0, dtype=float32)})
    """
    words = "a dict of transformations by the name of the group"
    fix = "the order is partition(transformations, label)"
    check_type("partition", "transformations", transformations, Mapping, words, fix=fix)
    for name, part in transformations.items():
        check_transformation("partition", f"transformations[{name!r}]", part)
    check_function("partition", "label", label, kinds=_PATH_FUNCTION)
    parts = dict(transformations)  # later changes of the caller's dict have no effect

    def in_group(name: str) -> Callable[[str], bool]:
        return lambda path: label(path) == name

    def init(params: Params, /) -> PartitionState:
        for path in tree.paths(params):
            if label(path) not in parts:
                raise ValueError(
                    f"partition: label({path!r}) must be one of {', '.join(parts)}, "
                    f"got {label(path)!r}"
                )
        return PartitionState(
            {
                name: part.init(_chosen(in_group(name), params))
                for name, part in parts.items()
            }
        )

    def update(
        grads: Tree, opt_state: PartitionState, params: Params, /
    ) -> tuple[Tree, PartitionState]:
        updates, groups = grads, {}
        if opt_state.groups.keys() != parts.keys():
            expected = f"the state of the groups {', '.join(parts)}"
            raise wrong_state("partition", expected, opt_state)
        for name, part in parts.items():
            chosen, groups[name] = part.update(
                _chosen(in_group(name), grads),
                opt_state.groups[name],
                _chosen(in_group(name), params),
            )
            updates = _overlay(chosen, updates)
        return updates, PartitionState(groups)

    return stateful("partition", PartitionState, init, update)


def freeze() -> GradientTransformation:
    """Sets updates to 0, so that params do not change; `optax.set_to_zero`.

    Use it for a group of `partition`, or last in a chain under `masked`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optim.freeze().update({"w": mx.array(3.0)}, (), {"w": mx.array(1.0)})
        ({'w': array(0, dtype=float32)}, ())
    """
    return stateless_with_tree_map(lambda g, _: mx.zeros_like(g), caller="freeze")


def _chosen(predicate: Callable[[str], bool], values: dict[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = tree.partition(predicate, values)[0]
    return chosen


def _overlay(chosen: dict[str, Any], values: Tree) -> Tree:
    """`values` with the leaves of `chosen` at their paths."""
    flat: dict[str, Array] = tree.named_leaves(chosen)
    return tree.map_with_path(lambda path, x: flat.get(path, x), values)
