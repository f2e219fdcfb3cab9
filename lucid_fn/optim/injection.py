"""Hyper-parameters that change while training: kept in the state, as arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.evaluation import started
from lucid_fn.optim import states
from lucid_fn.optim.base import GradientTransformation
from lucid_fn.optim.descent import value_at
from lucid_fn.types import Array, Params, Tree


class InjectState(NamedTuple):
    """The values of the latest update, and the state of the optimizer."""

    step: Array  # int32, shape (): updates made so far
    hyperparameters: dict[str, Array]  # float32, shape ()
    inner: Any


def inject(
    optimizer: Callable[..., GradientTransformation], /, *args: Any, **kwargs: Any
) -> GradientTransformation:
    """An optimizer whose float hyper-parameters are in its state.

    There they can be read with `hyperparameters` and set with `set_hyperparameters`,
    and be given by a schedule; a compiled step does not trace anew. The learning rate
    needs no injection: it is in the state of every optimizer.

    Args:
        optimizer: a constructor such as `optim.adamw`.
        args: positional arguments for it.
        kwargs: keyword arguments for it. A float or an array of shape `()` becomes a
            hyper-parameter of the state, and so does a schedule, called with the
            0-based step. `learning_rate`, bools, integers and the rest are passed on.

    Raises:
        TypeError: if `optimizer` is not a function, and as `optimizer` does.
        ValueError: as `optimizer` does.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> momentum = lambda step: 0.5 + 0.1 * step
        >>> optimizer = optim.inject(optim.sgd, 0.1, momentum=momentum)
        >>> params = {"w": mx.array(1.0)}
        >>> opt_state = optimizer.init(params)
        >>> optim.hyperparameters(opt_state)
        {'momentum': array(0.5, dtype=float32)}
    """
    if not callable(optimizer) or isinstance(optimizer, GradientTransformation):
        raise TypeError(
            "inject: optimizer must be a constructor such as optim.adamw, got "
            f"{type(optimizer).__name__}; give its arguments to inject"
        )
    constants, numbers, schedules = _sort(kwargs)
    # Checks the numbers once; in `update` they are arrays, which are not checked.
    optimizer(*args, **constants, **numbers, **dict.fromkeys(schedules, mx.array(0.5)))

    def build(values: dict[str, Array]) -> GradientTransformation:
        return optimizer(*args, **constants, **values)

    def values_at(step: Array, values: dict[str, Array]) -> dict[str, Array]:
        given = {name: value_at(fn, step) for name, fn in schedules.items()}
        return {**values, **given}

    def init(params: Params, /) -> InjectState:
        step = mx.array(0, mx.int32)
        fixed = {name: mx.array(x, mx.float32) for name, x in numbers.items()}
        values = values_at(step, fixed)
        return started(InjectState(step, values, build(values).init(params)))

    def update(
        grads: Tree, opt_state: InjectState, params: Params, /
    ) -> tuple[Tree, InjectState]:
        values = values_at(opt_state.step, opt_state.hyperparameters)
        updates, inner = build(values).update(grads, opt_state.inner, params)
        return updates, InjectState(opt_state.step + 1, values, inner)

    return GradientTransformation(init, update)


def _sort(
    kwargs: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Callable[[Array], Array]]]:
    """What is passed on, what is a number, and what a schedule gives."""
    chosen = {name: x for name, x in kwargs.items() if name != "learning_rate"}
    schedules = {name: x for name, x in chosen.items() if callable(x)}
    numbers = {
        n: x for n, x in chosen.items() if isinstance(x, float | np.floating | mx.array)
    }
    taken = numbers.keys() | schedules.keys()
    constants = {name: x for name, x in kwargs.items() if name not in taken}
    return constants, numbers, schedules


def hyperparameters(opt_state: Any) -> dict[str, Array]:
    """The injected hyper-parameters of the latest update, or of the first, by name.

    Args:
        opt_state: the state of an optimizer that `inject` made.

    Raises:
        ValueError: unless the state holds exactly one injected optimizer.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt_state = optim.inject(optim.adam, 1e-3, b1=0.75).init({"w": mx.zeros(2)})
        >>> optim.hyperparameters(opt_state)
        {'b1': array(0.75, dtype=float32)}
    """
    return dict(_find(opt_state, "hyperparameters").hyperparameters)


def set_hyperparameters(opt_state: Any, **values: float | Array) -> Any:
    """The state with other values of injected hyper-parameters.

    What a schedule gives is given again at the next update. Values are not checked
    against their ranges.

    Args:
        opt_state: the state of an optimizer that `inject` made.
        values: numbers or arrays of shape `()` by the name of the hyper-parameter.

    Raises:
        ValueError: unless the state holds exactly one injected optimizer, or if it has
            no hyper-parameter of a name.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt_state = optim.inject(optim.adam, 1e-3, b1=0.75).init({"w": mx.zeros(2)})
        >>> optim.hyperparameters(optim.set_hyperparameters(opt_state, b1=0.5))
        {'b1': array(0.5, dtype=float32)}
    """
    old = _find(opt_state, "set_hyperparameters")
    for name in values:
        if name not in old.hyperparameters:
            raise ValueError(
                f"set_hyperparameters: {name} must be one of "
                f"{', '.join(old.hyperparameters) or '(none)'}; only what was given "
                "to inject as a float or a schedule can be set"
            )
    new = {
        name: mx.broadcast_to(mx.array(values.get(name, x), mx.float32), x.shape)
        for name, x in old.hyperparameters.items()
    }
    return states.replace(opt_state, old, old._replace(hyperparameters=new))


def _find(opt_state: Any, caller: str) -> InjectState:
    found: InjectState = states.find_one(opt_state, (InjectState,), caller)
    return found
