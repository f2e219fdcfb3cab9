"""The optimizer contract: a pair of pure functions, and chains of them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.evaluation import started
from lucid_fn.optim import leaves
from lucid_fn.types import Array, Params, Tree


class InitFn(Protocol):
    """`init(params) -> opt_state`."""

    def __call__(self, params: Params, /) -> Any: ...


class UpdateFn(Protocol):
    """`update(grads, opt_state, params) -> (updates, opt_state)`."""

    def __call__(
        self, grads: Tree, opt_state: Any, params: Params, /
    ) -> tuple[Tree, Any]: ...


class GradientTransformation(NamedTuple):
    """`init(params) -> opt_state` and `update(grads, opt_state, params)`.

    `update` returns the updates, which have the structure, shapes and dtypes of the
    gradients, and the next state. An optimizer is such a pair, whose updates are what
    `apply_updates` adds to the params; so is each part that it is chained of.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.sgd(0.5)
        >>> params = {"w": mx.array([1.0, 2.0])}
        >>> opt_state = optimizer.init(params)
        >>> grads = {"w": mx.array([1.0, 0.0])}
        >>> updates, opt_state = optimizer.update(grads, opt_state, params)
        >>> optim.apply_updates(params, updates)
        {'w': array([0.5, 2], dtype=float32)}
    """

    init: InitFn
    update: UpdateFn


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """The transformations one after another; the state is the tuple of their states.

    `chain()` leaves the gradients as they are.

    Args:
        transformations: in the order in which they change the gradients; each gets the
            updates of the one before.

    Raises:
        TypeError: if an argument is not a transformation; on update, if the state is
            not one of this chain.

    Example:
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1))
    """
    for i, part in enumerate(transformations):
        check_transformation("chain", f"argument {i}", part)

    def init(params: Params, /) -> tuple[Any, ...]:
        return started(tuple(part.init(params) for part in transformations))

    def update(
        grads: Tree, opt_state: tuple[Any, ...], params: Params, /
    ) -> tuple[Tree, tuple[Any, ...]]:
        if not isinstance(opt_state, tuple) or len(opt_state) != len(transformations):
            got = type(opt_state).__name__
            if isinstance(opt_state, tuple):
                got = f"a {got} of {len(opt_state)}"
            raise TypeError(
                f"chain: opt_state must be the tuple of {len(transformations)} states "
                f"that init returned, got {got}"
            )
        states = []
        for part, state in zip(transformations, opt_state, strict=True):
            grads, state = part.update(grads, state, params)
            states.append(state)
        return grads, tuple(states)

    return GradientTransformation(init, update)


def check_transformation(caller: str, name: str, value: Any) -> None:
    if not isinstance(value, GradientTransformation):
        raise TypeError(
            f"{caller}: {name} must be a GradientTransformation, got "
            f"{type(value).__name__}; call the constructor with its arguments"
        )


def stateless(
    fn: Callable[[Array, Array], Array], *, caller: str = "stateless"
) -> GradientTransformation:
    """The transformation that maps `fn(grad, param)` over the leaves.

    Args:
        fn: returns the update of one leaf, in the shape and dtype of `grad`.
        caller: the name that errors begin with.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> halve = optim.stateless(lambda grad, param: grad / 2)
        >>> halve.update({"w": mx.array(3.0)}, (), {"w": mx.array(0.0)})
        ({'w': array(1.5, dtype=float32)}, ())
    """

    def init(params: Params, /) -> tuple[()]:
        return ()

    def update(
        grads: Tree, opt_state: tuple[()], params: Params, /
    ) -> tuple[Tree, tuple[()]]:
        return leaves.map(fn, grads, params, caller=f"{caller} (grads and params)"), ()

    return GradientTransformation(init, update)


def apply_updates(params: Params, updates: Tree) -> Params:
    """`params + updates`, in the dtypes of the params.

    Args:
        params: a tree of float arrays.
        updates: what an optimizer returned: a tree of the same structure and shapes.

    Raises:
        ValueError: if the structures differ, or a shape does.
        TypeError: if a param or an update is not of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optim.apply_updates({"w": mx.array(1.0)}, {"w": mx.array(-0.25)})
        {'w': array(0.75, dtype=float32)}
    """

    def check(path: str, p: Array, u: Array) -> None:
        if p.shape != u.shape:
            raise ValueError(
                f"apply_updates: the update of {path} must have the shape of the "
                f"parameter {p.shape}, got {u.shape}"
            )
        for x in (p, u):
            if not mx.issubdtype(x.dtype, mx.floating):
                raise TypeError(
                    f"apply_updates: {path} and its update must be float arrays, got "
                    f"{p.dtype} and {u.dtype}"
                )

    def add(p: Array, u: Array) -> Array:
        return (p + u).astype(p.dtype)

    tree.map_with_path(check, params, updates, caller="apply_updates")
    new: Params = leaves.map(add, params, updates, caller="apply_updates")
    return new
