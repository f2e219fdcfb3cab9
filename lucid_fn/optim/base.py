"""The optimizer contract: a pair of pure functions, and chains of such pairs."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, Protocol

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_function
from lucid_fn.optim import leaves
from lucid_fn.optim.errors import is_plain_tuple, no_params, wrong_state
from lucid_fn.tracing import started
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
    """A pair of pure functions, `init` and `update`: an optimizer or a part of one.

    `init(params)` returns the initial state. `update(grads, opt_state, params)` returns
    the updates, which have the structure, shapes and dtypes of the gradients, and the
    next state. `apply_updates` adds the updates of an optimizer to the params.

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

    def __getattr__(self, name: str) -> NoReturn:
        """Always raises: explains what to write instead of `optimizer.step()`."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"an optimizer is a pair of functions and has no {name!r}; write "
            "updates, opt_state = optimizer.update(grads, opt_state, params), then "
            "params = optim.apply_updates(params, updates)",
        )


def stateful(
    caller: str, state: type, init: InitFn, update: UpdateFn
) -> GradientTransformation:
    """A transformation whose update checks its arguments: a state of type `state`."""

    def checked(
        grads: Tree, opt_state: Any, params: Params | None = None, /
    ) -> tuple[Tree, Any]:
        if params is None:
            raise no_params(caller)
        if not isinstance(opt_state, state):
            raise wrong_state(caller, f"the {state.__name__}", opt_state)
        return update(grads, opt_state, params)

    return GradientTransformation(lambda params, /: started(init(params)), checked)


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """Applies transformations one after another.

    Each transforms the updates of the previous one. The state is the tuple of their
    states. `chain()` returns the gradients unchanged.

    Args:
        transformations: in the order in which they are applied.

    Raises:
        TypeError: if an argument is not a transformation; on update, if the state
            belongs to another optimizer.
        ValueError: on init, if an average of the params, such as `param_ema`, comes
            before a transformation that may change the updates.

    Example:
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1))
    """
    for i, part in enumerate(transformations):
        check_transformation("chain", f"argument {i}", part)

    def init(params: Params, /) -> tuple[Any, ...]:
        states = tuple(part.init(params) for part in transformations)
        _check_final(states)
        return started(states)

    def update(
        grads: Tree, opt_state: tuple[Any, ...], params: Params | None = None, /
    ) -> tuple[Tree, tuple[Any, ...]]:
        if params is None:
            raise no_params("chain")
        if not is_plain_tuple(opt_state) or len(opt_state) != len(transformations):
            count = len(transformations)
            raise wrong_state("chain", f"the tuple of {count} states", opt_state)
        states = []
        for part, state in zip(transformations, opt_state, strict=True):
            grads, state = part.update(grads, state, params)
            states.append(state)
        return grads, tuple(states)

    return GradientTransformation(init, update)


def _check_final(states: tuple[Any, ...]) -> None:
    """Raises if averages of the params come before another transformation."""
    for state, following in itertools.pairwise(states):
        if _needs_final_updates(state) and not _needs_final_updates(following):
            raise ValueError(
                "chain: averages of the params, param_ema and swa, must come last, "
                "where the updates are final, got one before another transformation; "
                "write chain(optimizer, param_ema(decay))"
            )


def _needs_final_updates(state: Any) -> bool:
    if is_plain_tuple(state) and state:
        return _needs_final_updates(state[-1])
    return bool(getattr(state, "needs_final_updates", False))


def check_transformation(caller: str, name: str, value: Any) -> None:
    """Raises unless `value` is a transformation of this library."""
    if isinstance(value, GradientTransformation):
        return
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    got, fix = kind.__name__, "make one with a function of lucid_fn.optim"
    if hasattr(value, "init") and hasattr(value, "update"):
        got = f"the {got} of {library}"
        fix = "use its counterpart in lucid_fn.optim, which lucid_fn/names.md lists"
    elif callable(value):
        fix = "call the constructor with its arguments"
    elif isinstance(value, list | tuple):
        fix = f"unpack it: {caller}(*transformations)"
    raise TypeError(
        f"{caller}: {name} must be a GradientTransformation of lucid_fn.optim, got "
        f"{got}; {fix}"
    )


def stateless(
    fn: Callable[[Tree, Params], Tree], *, caller: str = "stateless"
) -> GradientTransformation:
    """A transformation without state: `updates = fn(grads, params)`.

    Args:
        fn: maps trees to a tree with the structure, shapes and dtypes of `grads`. For
            a function of single leaves, see `stateless_with_tree_map`.
        caller: the name that errors begin with.

    Raises:
        TypeError: if `fn` is not a function; on update, if the state is not `()`.

    Source: `optax.stateless`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim, tree
        >>> unit = optim.stateless(
        ...     lambda grads, params: tree.map(
        ...         lambda g: g / tree.global_norm(grads), grads
        ...     )
        ... )
        >>> unit.update({"w": mx.array([3.0, 4.0])}, (), {"w": mx.zeros(2)})[0]
        {'w': array([0.6, 0.8], dtype=float32)}
    """
    check_function(caller, "fn", fn)

    def init(params: Params, /) -> tuple[()]:
        return ()

    def update(
        grads: Tree, opt_state: tuple[()], params: Params | None = None, /
    ) -> tuple[Tree, tuple[()]]:
        if params is None:
            raise no_params(caller)
        if not (is_plain_tuple(opt_state) and not opt_state):
            raise wrong_state(caller, "the ()", opt_state)
        return fn(grads, params), ()

    return GradientTransformation(init, update)


def stateless_with_tree_map(
    fn: Callable[[Array, Array], Array], *, caller: str = "stateless_with_tree_map"
) -> GradientTransformation:
    """A transformation without state: `fn(grad, param)` for each leaf.

    Args:
        fn: returns the update of one leaf, in the shape and dtype of `grad`.
        caller: the name that errors begin with.

    Raises:
        TypeError: if `fn` is not a function; on update, if the state is not `()`.

    Source: `optax.stateless_with_tree_map`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> halve = optim.stateless_with_tree_map(lambda grad, param: grad / 2)
        >>> halve.update({"w": mx.array(3.0)}, (), {"w": mx.array(0.0)})
        ({'w': array(1.5, dtype=float32)}, ())
    """
    check_function(caller, "fn", fn)

    def map_leaves(grads: Tree, params: Params) -> Tree:
        return leaves.map(fn, grads, params, caller=f"{caller} (grads and params)")

    return stateless(map_leaves, caller=caller)


def apply_updates(params: Params, updates: Tree) -> Params:
    """`params + updates`, in the dtypes of the params.

    Args:
        params: a tree of float arrays.
        updates: what an optimizer returned: a tree of the same structure and shapes.

    Raises:
        ValueError: if the structures or shapes differ.
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
