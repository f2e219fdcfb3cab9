"""`reduce_on_plateau`: a value that decays when a metric stops improving."""

from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_bool, check_count, check_number, is_number
from lucid_fn.schedules.base import LAST_STEP
from lucid_fn.types import Array, Scalar


class PlateauState(NamedTuple):
    """The value, and the counters that determine when it decays."""

    value: Array  # float32, shape ()
    best: Array  # float32, shape (): the best metric so far
    bad_updates: Array  # int32, shape (): updates without improvement
    cooldown: Array  # int32, shape (): updates left that do not count as bad


class Plateau(NamedTuple):
    """`init() -> PlateauState` and `update(state, metric) -> PlateauState`."""

    init: Callable[[], PlateauState]
    update: Callable[[PlateauState, Scalar], PlateauState]


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
    """Multiplies a value by `factor` when a metric has stopped improving.

    A metric improves if it is below `best * (1 - threshold)`; with `maximize`, above
    `best * (1 + threshold)`. NaN is never an improvement. Both functions are pure and
    do not branch on values, so they can run inside a compiled step. Pass the new
    `value` to `optim.set_learning_rate`.

    Args:
        init_value: initial value.
        factor: factor of each decay, in (0, 1).
        patience: updates without improvement that are tolerated; the value decays at
            the next one.
        threshold: minimum relative improvement, at least 0.
        cooldown: updates after a decay that do not count as bad.
        min_value: lower bound of the value.
        eps: decays that are not larger than this are skipped.
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
    check_bool(caller, maximize=maximize)
    init_value = check_number(caller, "init_value", init_value)
    factor = check_number(caller, "factor", factor, above=0, below=1)
    threshold = check_number(caller, "threshold", threshold, at_least=0)
    min_value = check_number(caller, "min_value", min_value)
    eps = check_number(caller, "eps", eps)
    patience = check_count(caller, "patience", patience, at_least=0)
    cooldown = check_count(caller, "cooldown", cooldown, at_least=0)

    def init() -> PlateauState:
        worst = -mx.inf if maximize else mx.inf
        zero = mx.array(0, mx.int32)
        return PlateauState(
            mx.array(init_value, mx.float32), mx.array(worst), zero, zero
        )

    def update(state: PlateauState, metric: Scalar) -> PlateauState:
        current = _scalar(metric)
        if maximize:
            better = current > state.best * (1 + threshold)
        else:
            better = current < state.best * (1 - threshold)
        cooling = state.cooldown > 0
        previous = mx.minimum(state.bad_updates, LAST_STEP - 1)  # saturates
        # Not `|` and `&`, which are wrong under `vmap` if only one operand is mapped.
        bad = mx.where(mx.logical_or(better, cooling), 0, previous + 1)
        decay = bad > patience
        lower = mx.maximum(state.value * factor, min_value)
        applied = mx.logical_and(decay, state.value - lower > eps)
        return PlateauState(
            value=mx.where(applied, lower, state.value),
            best=mx.where(better, current, state.best),
            bad_updates=mx.where(decay, 0, bad),
            cooldown=mx.where(decay, cooldown, mx.maximum(state.cooldown - 1, 0)),
        )

    return Plateau(init, update)


def _scalar(metric: Scalar) -> Array:
    """The metric as float32; it may be infinite or NaN, as in a diverged run."""
    if isinstance(metric, mx.array):
        if metric.shape != ():
            raise ValueError(
                f"reduce_on_plateau: metric must have shape (), got {metric.shape}; "
                "take its mean"
            )
        return metric.astype(mx.float32)
    if not is_number(metric):
        raise TypeError(
            "reduce_on_plateau: metric must be a number or an array of shape (), got "
            f"{type(metric).__name__}"
        )
    return mx.array(float(metric), mx.float32)
