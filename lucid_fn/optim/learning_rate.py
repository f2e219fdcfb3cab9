"""The learning rate: the last transformation of most optimizers, and its state."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.checks import check_number, check_scalar
from lucid_fn.optim import leaves, states
from lucid_fn.optim.base import GradientTransformation, stateful
from lucid_fn.optim.errors import wrong_state
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import increment, is_zero, precision, zero_count
from lucid_fn.schedules.base import float_dtype
from lucid_fn.types import Array, Params, Scalar, Tree

ScalarOrSchedule: TypeAlias = float | Array | Callable[[Array], Array]
"""A learning rate: a number, an array of shape `()`, or a schedule of the step."""


class LearningRateState(NamedTuple):
    """A constant learning rate; `set_learning_rate` changes it."""

    learning_rate: Array  # float32, shape (); float64 for float64 params


class ScheduledLearningRateState(NamedTuple):
    """The learning rate of the latest update, computed by a schedule."""

    step: Array  # int32, shape (): updates made so far
    learning_rate: Array  # float32, shape (); float64 for float64 params


RateState: TypeAlias = LearningRateState | ScheduledLearningRateState


def scale_by_learning_rate(
    learning_rate: ScalarOrSchedule, *, weight_decay: Scalar = 0.0
) -> GradientTransformation:
    """Multiplies by minus the learning rate, so that updates point downhill.

    With `weight_decay` the params shrink first, by `p *= 1 - learning_rate *
    weight_decay`. This decay is decoupled from the transformations of the gradients,
    and proportional to the learning rate. The update includes it.

    Args:
        learning_rate: at least 0; or a schedule, called with the 0-based step (int32,
            shape `()`; for float64 params a whole number of float64).
        weight_decay: at least 0.

    Raises:
        ValueError: if a number is negative or not finite, or an array not of shape
            `()`.
        TypeError: if an argument is of the wrong type.

    Source: Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101; the order of
    operations is that of `torch.optim.AdamW`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_learning_rate(0.5)
        >>> params = {"w": mx.array(0.0)}
        >>> opt.update({"w": mx.array(3.0)}, opt.init(params), params)[0]
        {'w': array(-1.5, dtype=float32)}
    """
    caller = "scale_by_learning_rate"
    weight_decay = check_scalar(caller, "weight_decay", weight_decay, at_least=0)
    rate = rate_of(caller, learning_rate)

    def update(
        grads: Tree, opt_state: RateState, params: Params, /
    ) -> tuple[Tree, RateState]:
        value, opt_state = rate.next(opt_state)
        if is_zero(weight_decay):
            return leaves.map(lambda g: (-value * g).astype(g.dtype), grads), opt_state
        kept = end_kernel(1 - value * weight_decay)
        updates = leaves.map(
            lambda g, p: ((p * kept - value * g) - p).astype(g.dtype),
            grads,
            params,
            caller=f"{caller} (grads and params)",
        )
        return updates, opt_state

    return stateful(caller, rate.state, rate.init, update)


class Rate(NamedTuple):
    """A constant or scheduled learning rate: the type of its state, init and update."""

    state: type
    init: Callable[[Params], RateState]
    next: Callable[[Any], tuple[Array, RateState]]


def rate_of(caller: str, learning_rate: ScalarOrSchedule) -> Rate:
    """Checks a learning rate; returns the functions that keep it in a state."""
    if callable(learning_rate):
        return _scheduled(caller, learning_rate)
    constant = _check_constant(caller, learning_rate)

    def init(params: Params, /) -> LearningRateState:
        return LearningRateState(mx.array(constant, precision(params)))

    def next(opt_state: LearningRateState) -> tuple[Array, RateState]:
        _check_rate_state(caller, LearningRateState, opt_state)
        return opt_state.learning_rate, opt_state

    return Rate(LearningRateState, init, next)


def _scheduled(caller: str, schedule: Callable[[Array], Array]) -> Rate:
    def init(params: Params, /) -> ScheduledLearningRateState:
        step = zero_count()
        value = value_at(caller, schedule, step, precision(params))
        return ScheduledLearningRateState(step, value)

    def next(opt_state: ScheduledLearningRateState) -> tuple[Array, RateState]:
        _check_rate_state(caller, ScheduledLearningRateState, opt_state)
        step, latest = opt_state
        value = value_at(caller, schedule, step, latest.dtype)
        return value, ScheduledLearningRateState(increment(step), value)

    return Rate(ScheduledLearningRateState, init, next)


def _check_rate_state(caller: str, kind: type, rate_state: Any) -> None:
    """Checks the state of a learning rate that is a field of another state."""
    if not isinstance(rate_state, kind):
        raise wrong_state(caller, f"the {kind.__name__}", rate_state)


def as_schedule(
    caller: str, learning_rate: ScalarOrSchedule
) -> Callable[[Array], Array]:
    """Checks a learning rate; returns it as a schedule."""
    if callable(learning_rate):
        return learning_rate
    constant = _check_constant(caller, learning_rate)
    return lambda step: mx.array(constant, float_dtype(step))


def _check_constant(caller: str, learning_rate: Scalar) -> Scalar:
    kinds = "a number, an array of shape () or a schedule"
    return check_scalar(caller, "learning_rate", learning_rate, at_least=0, kinds=kinds)


def value_at(
    caller: str, schedule: Callable[[Array], Array], step: Array, dtype: mx.Dtype
) -> Array:
    """The value of a schedule as an array of a float dtype and shape `()`."""
    value: Any = schedule(step.astype(dtype) if dtype == mx.float64 else step)
    if not isinstance(value, mx.array):
        value = check_number(caller, "the value of a schedule", value)
    elif value.shape != ():
        raise ValueError(
            f"{caller}: a schedule must return a number or an array of shape (), got "
            f"shape {value.shape}"
        )
    return end_kernel(mx.array(value, dtype))


def learning_rate(opt_state: Any) -> Array:
    """The learning rate of the latest update.

    Before the first update, the one that it will use.

    Args:
        opt_state: the state of an optimizer.

    Returns:
        float32, or float64 for float64 params; shape `()`.

    Raises:
        ValueError: unless the state holds exactly one learning rate. That of
            `partition` holds one for each group: pass `opt_state.groups["..."]`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optim.learning_rate(optim.sgd(0.25).init({"w": mx.zeros(2)}))
        array(0.25, dtype=float32)
    """
    return _find_rate("learning_rate", opt_state).learning_rate


def set_learning_rate(opt_state: Any, value: Scalar) -> Any:
    """The state with a new learning rate; a compiled step is not traced again.

    Args:
        opt_state: the state of an optimizer.
        value: a number, at least 0, or an array of shape `()`; in a state of `k`
            optimizers under `vmap` also an array of shape `(k,)`.

    Raises:
        ValueError: unless the state holds exactly one learning rate; if it comes from a
            schedule, which would overwrite it at the next update; or if `value` is
            negative or has the wrong shape.
        TypeError: if `value` is of the wrong type.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt_state = optim.sgd(0.25).init({"w": mx.zeros(2)})
        >>> optim.learning_rate(optim.set_learning_rate(opt_state, 0.125))
        array(0.125, dtype=float32)
    """
    old = _find_rate("set_learning_rate", opt_state)
    if isinstance(old, ScheduledLearningRateState):
        raise ValueError(
            "set_learning_rate: the learning rate comes from a schedule, which would "
            "overwrite it at the next update; make the optimizer with a number"
        )
    shape = old.learning_rate.shape
    if not (isinstance(value, mx.array) and value.shape == shape):
        value = check_scalar("set_learning_rate", "value", value, at_least=0)
    new = mx.broadcast_to(mx.array(value, old.learning_rate.dtype), shape)
    return states.replace(opt_state, old, LearningRateState(new))


def _find_rate(caller: str, opt_state: Any) -> RateState:
    kinds = (LearningRateState, ScheduledLearningRateState)
    found: RateState = states.find_one(caller, opt_state, *kinds)
    return found
