"""A value that falls when a metric no longer improves: state, not a schedule."""

from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx

from lucid_fn.schedules.base import check_number, check_steps
from lucid_fn.types import Array


class PlateauState(NamedTuple):
    """The value, and what decides when it falls."""

    value: Array  # float32, shape ()
    best: Array  # float32, shape (): the best metric so far
    bad_updates: Array  # int32, shape (): updates without improvement
    cooldown: Array  # int32, shape (): updates left in which none counts as bad


class Plateau(NamedTuple):
    """`init() -> PlateauState` and `update(state, metric) -> PlateauState`."""

    init: Callable[[], PlateauState]
    update: Callable[[PlateauState, Array | float], PlateauState]


def reduce_on_plateau(
    init_value: float,
    *,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    cooldown: int = 0,
    min_value: float = 0.0,
    eps: float = 1e-8,
    maximize: bool = False,
) -> Plateau:
    """Multiplies a value by `factor` after `patience` updates without improvement.

    A metric improves if it is below `best * (1 - threshold)`; with `maximize`, above
    `best * (1 + threshold)`. NaN never improves. Both functions are pure, without a
    branch on a value, so that they run inside a compiled step; give the new `value` to
    `optim.set_learning_rate`.

    Args:
        init_value: first value.
        factor: by which the value falls, in (0, 1).
        patience: updates without improvement that are borne; the next one counts.
        threshold: relative improvement that counts, at least 0.
        cooldown: updates after a fall in which none counts as bad.
        min_value: the value never falls below it.
        eps: smaller falls are left out.
        maximize: whether larger metrics are better, such as accuracies.

    Returns:
        The pair of functions.

    Raises:
        TypeError: if an argument is not a number; on update, if the metric is not one.
        ValueError: if an argument is out of its range; on update, if the metric is not
            of shape `()`.

    Source: `torch.optim.lr_scheduler.ReduceLROnPlateau`, relative threshold.

    Example:
        >>> from lucid_fn import schedules
        >>> plateau = schedules.reduce_on_plateau(1.0, factor=0.5, patience=1)
        >>> state = plateau.init()
        >>> for loss in (3.0, 2.0, 2.0, 2.0):
        ...     state = plateau.update(state, loss)
        >>> state.value
        array(0.5, dtype=float32)
    """
    caller = "reduce_on_plateau"
    check_number(
        caller,
        init_value=init_value,
        factor=factor,
        threshold=threshold,
        min_value=min_value,
        eps=eps,
    )
    check_steps(caller, at_least=0, patience=patience, cooldown=cooldown)
    if not 0 < factor < 1:
        raise ValueError(f"{caller}: factor must be in (0, 1), got {factor}")
    if threshold < 0:
        raise ValueError(f"{caller}: threshold must be at least 0, got {threshold}")

    def init() -> PlateauState:
        worst = -mx.inf if maximize else mx.inf
        zero = mx.array(0, mx.int32)
        return PlateauState(
            mx.array(init_value, mx.float32), mx.array(worst), zero, zero
        )

    def update(state: PlateauState, metric: Array | float) -> PlateauState:
        current = _scalar(metric)
        if maximize:
            better = current > state.best * (1 + threshold)
        else:
            better = current < state.best * (1 - threshold)
        cooling = state.cooldown > 0
        bad = mx.where(better | cooling, 0, state.bad_updates + 1)
        fall = bad > patience
        lower = mx.maximum(state.value * factor, min_value)
        enough = fall & (state.value - lower > eps)
        return PlateauState(
            value=mx.where(enough, lower, state.value),
            best=mx.where(better, current, state.best),
            bad_updates=mx.where(fall, 0, bad),
            cooldown=mx.where(fall, cooldown, mx.maximum(state.cooldown - 1, 0)),
        )

    return Plateau(init, update)


def _scalar(metric: Array | float) -> Array:
    if isinstance(metric, mx.array):
        if metric.shape != ():
            raise ValueError(
                f"reduce_on_plateau: metric must have shape (), got {metric.shape}; "
                "take its mean"
            )
        return metric.astype(mx.float32)
    if isinstance(metric, bool) or not isinstance(metric, int | float):
        raise TypeError(
            f"reduce_on_plateau: metric must be a number, got {type(metric).__name__}"
        )
    return mx.array(metric, mx.float32)
