"""The last part of every optimizer: downhill, by the learning rate."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim.base import GradientTransformation
from lucid_fn.types import Array, Params, Tree

ScalarOrSchedule: TypeAlias = float | Array | Callable[[Array], Array]
"""A learning rate: a number, an array of shape `()`, or a schedule of the step."""


class LearningRateState(NamedTuple):
    """A constant learning rate; `set_learning_rate` changes it."""

    learning_rate: Array  # float32, shape ()


class ScheduledLearningRateState(NamedTuple):
    """The learning rate of the latest update, which a schedule gave."""

    step: Array  # int32, shape (): updates made so far
    learning_rate: Array  # float32, shape ()


def scale_by_learning_rate(learning_rate: ScalarOrSchedule) -> GradientTransformation:
    """Multiplies by minus the learning rate, so that updates point downhill.

    Args:
        learning_rate: at least 0; or a schedule, called with the 0-based step.

    Raises:
        ValueError: if a number is negative or not finite.
        TypeError: if it is neither a number, an array of shape `()` nor a function.

    Example:
        >>> import mlx.core as mx
        >>> opt = scale_by_learning_rate(0.5)
        >>> params = {"w": mx.array(0.0)}
        >>> opt.update({"w": mx.array(3.0)}, opt.init(params), params)[0]
        {'w': array(-1.5, dtype=float32)}
    """
    if callable(learning_rate):
        return _scheduled(learning_rate)
    if isinstance(learning_rate, bool) or not isinstance(
        learning_rate, int | float | mx.array
    ):
        raise TypeError(
            "scale_by_learning_rate: learning_rate must be a number, an array of shape "
            f"() or a schedule, got {type(learning_rate).__name__} {learning_rate!r}"
        )
    if isinstance(learning_rate, mx.array):
        if learning_rate.shape != ():
            raise TypeError(
                "scale_by_learning_rate: learning_rate must have shape (), got "
                f"{learning_rate.shape}"
            )
    elif not 0 <= learning_rate < float("inf"):
        raise ValueError(
            "scale_by_learning_rate: learning_rate must be at least 0 and finite, "
            f"got {learning_rate}"
        )
    constant: float | Array = learning_rate

    def init(params: Params, /) -> LearningRateState:
        return LearningRateState(mx.array(constant, mx.float32))

    def update(
        grads: Tree, opt_state: LearningRateState, params: Params, /
    ) -> tuple[Tree, LearningRateState]:
        return _downhill(grads, opt_state.learning_rate), opt_state

    return GradientTransformation(init, update)


def _scheduled(schedule: Callable[[Array], Array]) -> GradientTransformation:
    def init(params: Params, /) -> ScheduledLearningRateState:
        step = mx.array(0, mx.int32)
        return ScheduledLearningRateState(step, _float32(schedule(step)))

    def update(
        grads: Tree, opt_state: ScheduledLearningRateState, params: Params, /
    ) -> tuple[Tree, ScheduledLearningRateState]:
        rate = _float32(schedule(opt_state.step))
        return _downhill(grads, rate), ScheduledLearningRateState(
            opt_state.step + 1, rate
        )

    return GradientTransformation(init, update)


def _float32(rate: Any) -> Array:
    return mx.array(rate, mx.float32)


def _downhill(grads: Tree, rate: Array) -> Tree:
    return tree.map(lambda g: (-rate * g).astype(g.dtype), grads)


def _find(opt_state: Any, caller: str) -> Any:
    """The one learning-rate state in the state of an optimizer."""
    kinds = (LearningRateState, ScheduledLearningRateState)
    found: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, kinds):
            found.append(node)
        elif isinstance(node, tuple | list):
            for child in node:
                visit(child)
        elif isinstance(node, dict):
            for child in node.values():
                visit(child)

    visit(opt_state)
    if len(found) != 1:
        raise ValueError(
            f"{caller}: opt_state must hold one learning rate, got {len(found)}"
            + ("; read or set them in their groups" if found else "")
        )
    return found[0]


def learning_rate(opt_state: Any) -> Array:
    """The learning rate of the latest update; of the first one, before any.

    Returns:
        float32, shape `()`.

    Raises:
        ValueError: unless the state holds exactly one learning rate.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optim.learning_rate(optim.sgd(0.25).init({"w": mx.zeros(2)}))
        array(0.25, dtype=float32)
    """
    rate: Array = _find(opt_state, "learning_rate").learning_rate
    return rate


def set_learning_rate(opt_state: Any, value: float | Array) -> Any:
    """The state with another learning rate; a compiled step does not trace anew.

    Raises:
        ValueError: unless the state holds exactly one learning rate, or if a schedule
            gives it: the schedule would give it again at the next update.

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
    new = LearningRateState(mx.array(value, mx.float32))

    def visit(node: Any) -> Any:
        if node is old:
            return new
        if isinstance(node, tuple) and hasattr(node, "_fields"):
            return type(node)(*[visit(child) for child in node])
        if isinstance(node, tuple | list):
            return type(node)(visit(child) for child in node)
        if isinstance(node, dict):
            return {key: visit(child) for key, child in node.items()}
        return node

    return visit(opt_state)
