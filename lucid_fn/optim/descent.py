"""The last part of every optimizer: downhill, by the learning rate."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim import leaves, states
from lucid_fn.optim.base import GradientTransformation
from lucid_fn.optim.checks import Scalar, check_at_least_0, is_zero
from lucid_fn.optim.moments import once
from lucid_fn.types import Array, Params, Tree

ScalarOrSchedule: TypeAlias = float | Array | Callable[[Array], Array]
"""A learning rate: a number, an array of shape `()`, or a schedule of the step."""


class LearningRateState(NamedTuple):
    """A constant learning rate; `set_learning_rate` changes it."""

    learning_rate: Array  # float32, or float64 beside params of that; shape ()


class ScheduledLearningRateState(NamedTuple):
    """The learning rate of the latest update, which a schedule gave."""

    step: Array  # int32, shape (): updates made so far
    learning_rate: Array  # float32, shape ()


RateState: TypeAlias = LearningRateState | ScheduledLearningRateState


def scale_by_learning_rate(
    learning_rate: ScalarOrSchedule, *, weight_decay: Scalar = 0.0
) -> GradientTransformation:
    """Multiplies by minus the learning rate, so that updates point downhill.

    With `weight_decay` the parameter shrinks first, by `p *= 1 - learning_rate *
    weight_decay`: the decay is decoupled from whatever the gradients went through, and
    in units of the learning rate. The update is the difference to the new parameter.

    Args:
        learning_rate: at least 0; or a schedule, called with the 0-based step (int32,
            shape `()`).
        weight_decay: at least 0.

    Raises:
        ValueError: if a number is negative or not finite, or an array not of shape
            `()`.
        TypeError: if an argument is of another kind.

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
    weight_decay = check_at_least_0(
        "scale_by_learning_rate", "weight_decay", weight_decay
    )
    rate = rate_of("scale_by_learning_rate", learning_rate)

    def init(params: Params, /) -> RateState:
        return rate.init(params)

    def update(
        grads: Tree, opt_state: RateState, params: Params, /
    ) -> tuple[Tree, RateState]:
        value, opt_state = rate.next(opt_state)
        if is_zero(weight_decay):
            return leaves.map(lambda g: (-value * g).astype(g.dtype), grads), opt_state
        kept = once(1 - value * weight_decay)
        updates = leaves.map(
            lambda g, p: ((p * kept - value * g) - p).astype(g.dtype),
            grads,
            params,
            caller="scale_by_learning_rate (grads and params)",
        )
        return updates, opt_state

    return GradientTransformation(init, update)


class Rate(NamedTuple):
    """How a learning rate is kept in a state and read from it, constant or not."""

    init: Callable[[Params], RateState]
    next: Callable[[RateState], tuple[Array, RateState]]


def rate_of(caller: str, learning_rate: ScalarOrSchedule) -> Rate:
    """The learning rate of an optimizer; checks it."""
    if callable(learning_rate):
        return _scheduled(learning_rate)
    constant = _check_constant(caller, learning_rate)

    def init(params: Params) -> RateState:
        # In float32 a rate of 0.1 would cost float64 params half of their digits.
        doubles = any(p.dtype == mx.float64 for p in tree.leaves(params))
        dtype = mx.float64 if doubles else mx.float32
        return LearningRateState(mx.array(constant, dtype))

    def next(opt_state: RateState) -> tuple[Array, RateState]:
        return opt_state.learning_rate, opt_state

    return Rate(init, next)


def _scheduled(schedule: Callable[[Array], Array]) -> Rate:
    def init(params: Params) -> RateState:
        step = mx.array(0, mx.int32)
        return ScheduledLearningRateState(step, value_at(schedule, step))

    def next(opt_state: Any) -> tuple[Array, RateState]:
        value = value_at(schedule, opt_state.step)
        return value, ScheduledLearningRateState(opt_state.step + 1, value)

    return Rate(init, next)


def as_schedule(
    caller: str, learning_rate: ScalarOrSchedule
) -> Callable[[Array], Array]:
    """The learning rate as a schedule; checks it."""
    if callable(learning_rate):
        return learning_rate
    constant = _check_constant(caller, learning_rate)
    return lambda step: mx.array(constant, mx.float32)


def _check_constant(caller: str, learning_rate: Scalar) -> Scalar:
    kinds = "a number, an array of shape () or a schedule"
    return check_at_least_0(caller, "learning_rate", learning_rate, kinds=kinds)


def value_at(schedule: Callable[[Array], Array], step: Array) -> Array:
    """The value of a schedule, computed once: float32, shape `()`."""
    value = mx.array(schedule(step), mx.float32)
    if value.shape != ():
        raise ValueError(
            "update: a schedule must return a number or an array of shape (), got "
            f"shape {value.shape}"
        )
    return once(value)


def learning_rate(opt_state: Any) -> Array:
    """The learning rate of the latest update; of the first one, before any.

    Args:
        opt_state: the state of an optimizer.

    Returns:
        float32, shape `()`.

    Raises:
        ValueError: unless the state holds exactly one learning rate: that of
            `partition` holds one in each group, `opt_state.groups["..."]`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optim.learning_rate(optim.sgd(0.25).init({"w": mx.zeros(2)}))
        array(0.25, dtype=float32)
    """
    return _find(opt_state, "learning_rate").learning_rate


def set_learning_rate(opt_state: Any, value: Scalar) -> Any:
    """The state with another learning rate; a compiled step does not trace anew.

    Args:
        opt_state: the state of an optimizer.
        value: at least 0; an array of shape `()`, or of the shape of the learning
            rate, which is `(k,)` in the state of `k` optimizers under `vmap`.

    Raises:
        ValueError: unless the state holds exactly one learning rate; if a schedule
            gives it, which would give it again at the next update; or if `value` is
            negative or of another shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt_state = optim.sgd(0.25).init({"w": mx.zeros(2)})
        >>> optim.learning_rate(optim.set_learning_rate(opt_state, 0.125))
        array(0.125, dtype=float32)
    """
    old = _find(opt_state, "set_learning_rate")
    if isinstance(old, ScheduledLearningRateState):
        raise ValueError(
            "set_learning_rate: the learning rate comes from a schedule, which gives "
            "it again at the next update; make the optimizer with a number"
        )
    shape = old.learning_rate.shape
    if not (isinstance(value, mx.array) and value.shape == shape):
        value = check_at_least_0("set_learning_rate", "value", value)
    new = mx.broadcast_to(mx.array(value, old.learning_rate.dtype), shape)
    return states.replace(opt_state, old, LearningRateState(new))


def _find(opt_state: Any, caller: str) -> RateState:
    kinds = (LearningRateState, ScheduledLearningRateState)
    found: RateState = states.find_one(opt_state, kinds, caller)
    return found
