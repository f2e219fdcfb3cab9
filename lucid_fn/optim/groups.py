"""Different treatment for different parameters, told apart by their paths."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim.base import (
    GradientTransformation,
    check_transformation,
    stateless,
)
from lucid_fn.types import Array, Params, Tree


class MaskedState(NamedTuple):
    """The state of the transformation, made for the chosen params alone."""

    inner: Any


class PartitionState(NamedTuple):
    """The state of each group by its label; one has no learning rate of another's."""

    groups: dict[str, Any]


def masked(
    transformation: GradientTransformation, predicate: Callable[[str], bool]
) -> GradientTransformation:
    """The transformation on some of the leaves; the others pass through unchanged.

    Args:
        transformation: sees the chosen gradients and params only, and has state for
            no others.
        predicate: takes the dotted path of a parameter, such as
            `"layer1.0.conv1.weight"`.

    Raises:
        TypeError: if `transformation` or `predicate` is of another kind; on init, if
            the params hold lists or tuples.

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
    _check_function("masked", "predicate", predicate)

    def init(params: Params, /) -> MaskedState:
        return MaskedState(transformation.init(_chosen(predicate, params)))

    def update(
        grads: Tree, opt_state: MaskedState, params: Params, /
    ) -> tuple[Tree, MaskedState]:
        updates, inner = transformation.update(
            _chosen(predicate, grads), opt_state.inner, _chosen(predicate, params)
        )
        return _put(updates, grads), MaskedState(inner)

    return GradientTransformation(init, update)


def partition(
    label: Callable[[str], str], transformations: Mapping[str, GradientTransformation]
) -> GradientTransformation:
    """A transformation of its own for each group of params.

    Args:
        label: takes the dotted path of a parameter and returns the name of its group.
        transformations: by name of the group. Learning rates are read and set in the
            groups: `learning_rate(opt_state.groups["head"])`.

    Raises:
        TypeError: if `label` or a transformation is of another kind; on init, if the
            params hold lists or tuples.
        ValueError: on init, if `label` returns a name that is not among them.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.partition(
        ...     lambda path: "head" if path.startswith("fc") else "body",
        ...     {"head": optim.sgd(0.5), "body": optim.freeze()},
        ... )
        >>> params = {"conv": {"weight": mx.array(1.0)}, "fc": {"bias": mx.array(1.0)}}
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> updates["fc"], updates["conv"]
        ({'bias': array(-0.5, dtype=float32)}, {'weight': array(0, dtype=float32)})
    """
    _check_function("partition", "label", label)
    for name, transformation in transformations.items():
        check_transformation("partition", f"transformations[{name!r}]", transformation)
    parts = dict(transformations)  # a change of the caller's must not reach here

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
        for name, part in parts.items():
            chosen, groups[name] = part.update(
                _chosen(in_group(name), grads),
                opt_state.groups[name],
                _chosen(in_group(name), params),
            )
            updates = _put(chosen, updates)
        return updates, PartitionState(groups)

    return GradientTransformation(init, update)


def freeze() -> GradientTransformation:
    """Updates that are 0: params under it stay as they are.

    It has no state. Use it for a group of `partition`, or last in a chain under
    `masked`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optim.freeze().update({"w": mx.array(3.0)}, (), {"w": mx.array(1.0)})
        ({'w': array(0, dtype=float32)}, ())
    """
    return stateless(lambda g, _: mx.zeros_like(g), caller="freeze")


def _chosen(predicate: Callable[[str], bool], values: dict[str, Any]) -> dict[str, Any]:
    return tree.partition(predicate, values)[0]


def _put(chosen: dict[str, Any], values: Tree) -> Tree:
    """`values` with the leaves that `chosen` holds in their places."""
    flat: dict[str, Array] = tree.named_leaves(chosen)
    return tree.map_with_path(lambda path, x: flat.get(path, x), values)


def _check_function(caller: str, name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(
            f"{caller}: {name} must be a function of the dotted path, got {value!r}"
        )
