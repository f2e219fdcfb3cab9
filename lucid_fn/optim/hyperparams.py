"""Hyperparameters in the optimizer's state, where they can change during training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.checks import check_scalar
from lucid_fn.optim import states
from lucid_fn.optim.base import GradientTransformation, stateful
from lucid_fn.optim.learning_rate import value_at
from lucid_fn.optim.moments import increment, precision, zero_count
from lucid_fn.types import Array, Params, Scalar, Tree


class InjectState(NamedTuple):
    """The hyperparameters of the latest update, and the state of the optimizer."""

    step: Array  # int32, shape (): updates made so far
    hyperparameters: dict[str, Array]  # float32, shape (); float64 for float64 params
    inner: Any


def inject(
    optimizer: Callable[..., GradientTransformation], /, *args: Any, **kwargs: Any
) -> GradientTransformation:
    """An optimizer that keeps its float hyperparameters in its state.

    `hyperparameters` reads them, `set_hyperparameters` changes them without another
    trace of a compiled step, and each may be a schedule. The learning rate needs no
    injection: every optimizer keeps it in its state.

    The state rounds numbers to float32 (float64 for float64 params): a decay of
    0.999999 becomes 0.99999899, and `1 - decay` is off by 1 %.

    Args:
        optimizer: a constructor such as `optim.adamw`.
        args: positional arguments for it.
        kwargs: keyword arguments for it. A float or an array of shape `()` becomes a
            hyperparameter in the state, and so does a schedule, which is called with
            the 0-based step. `learning_rate`, bools, integers and everything else are
            passed on.

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
    constants, numbers, schedules = _split_kwargs(kwargs)
    # Checks the numbers once: in `update` they are arrays, which are not checked.
    optimizer(*args, **constants, **numbers, **dict.fromkeys(schedules, mx.array(0.5)))

    def build(values: dict[str, Array]) -> GradientTransformation:
        return optimizer(*args, **constants, **values)

    def values_at(
        step: Array, values: dict[str, Array], dtype: mx.Dtype
    ) -> dict[str, Array]:
        scheduled = {
            name: value_at("inject", fn, step, dtype) for name, fn in schedules.items()
        }
        return values | scheduled

    def init(params: Params, /) -> InjectState:
        step, dtype = zero_count(), precision(params)
        fixed = {name: mx.array(x, dtype) for name, x in numbers.items()}
        values = values_at(step, fixed, dtype)
        return InjectState(step, values, build(values).init(params))

    def update(
        grads: Tree, opt_state: InjectState, params: Params, /
    ) -> tuple[Tree, InjectState]:
        step, values, inner = opt_state
        values = values_at(step, values, precision(values))
        updates, inner = build(values).update(grads, inner, params)
        return updates, InjectState(increment(step), values, inner)

    return stateful("inject", InjectState, init, update)


def _split_kwargs(
    kwargs: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Callable[[Array], Array]]]:
    """The constants to pass on, and the numbers and schedules to keep in the state."""
    constants, numbers, schedules = {}, {}, {}
    for name, x in kwargs.items():
        if name != "learning_rate" and callable(x):
            schedules[name] = x
        elif name != "learning_rate" and isinstance(x, float | np.floating | mx.array):
            numbers[name] = x
        else:
            constants[name] = x
    return constants, numbers, schedules


def hyperparameters(opt_state: Any) -> dict[str, Array]:
    """The injected hyperparameters of the latest update, by name.

    Before the first update, those that it will use.

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
    found: InjectState = states.find_one("hyperparameters", opt_state, InjectState)
    return dict(found.hyperparameters)


def set_hyperparameters(opt_state: Any, **values: Scalar) -> Any:
    """The state with new values of injected hyperparameters.

    A scheduled hyperparameter is overwritten at the next update. Values are not checked
    against their ranges.

    Args:
        opt_state: the state of an optimizer that `inject` made.
        values: numbers or arrays of shape `()`, by the name of the hyperparameter.

    Raises:
        ValueError: unless the state holds exactly one injected optimizer; if it has no
            hyperparameter of that name; or if a value is not finite or not of shape
            `()`.
        TypeError: if a value is of the wrong type.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt_state = optim.inject(optim.adam, 1e-3, b1=0.75).init({"w": mx.zeros(2)})
        >>> optim.hyperparameters(optim.set_hyperparameters(opt_state, b1=0.5))
        {'b1': array(0.5, dtype=float32)}
    """
    old: InjectState = states.find_one("set_hyperparameters", opt_state, InjectState)
    for name, value in values.items():
        if name not in old.hyperparameters:
            raise ValueError(
                f"set_hyperparameters: {name} must be one of "
                f"{', '.join(old.hyperparameters) or '(none)'}; only what was given "
                "to inject as a float or a schedule can be set"
            )
        shape = old.hyperparameters[name].shape
        if not (isinstance(value, mx.array) and value.shape == shape):
            check_scalar("set_hyperparameters", name, value)
    new = {
        name: mx.broadcast_to(mx.array(values.get(name, x), x.dtype), x.shape)
        for name, x in old.hyperparameters.items()
    }
    return states.replace(opt_state, old, old._replace(hyperparameters=new))
