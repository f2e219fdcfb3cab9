"""`join`, `per_epoch` and `scale`: schedules built from other schedules."""

import itertools
from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.checks import check_count, check_number
from lucid_fn.schedules.base import Schedule, as_argument, as_step, check_schedule
from lucid_fn.types import Array


def join(schedules: Sequence[Schedule], *, boundaries: Sequence[int]) -> Schedule:
    """Runs schedules one after another, each from its own step 0.

    Args:
        schedules: the parts, one more than `boundaries`.
        boundaries: the first steps of the second and later parts; increasing and above
            0.

    Raises:
        TypeError: if a part is not a function or a boundary not an integer.
        ValueError: if the boundaries do not increase, or their number does not fit.

    Source: `torch.optim.lr_scheduler.SequentialLR`.

    Example:
        >>> from lucid_fn import schedules
        >>> cosine = schedules.cosine_decay(0.5, decay_steps=10)
        >>> rate = schedules.join([schedules.constant(1.0), cosine], boundaries=[100])
        >>> [round(rate(t).item(), 4) for t in (0, 99, 100, 105, 110)]
        [1.0, 1.0, 0.5, 0.25, 0.0]
    """
    parts = list(schedules)
    for i, part in enumerate(parts):
        check_schedule("join", f"schedules[{i}]", part)
    starts = [
        check_count("join", f"boundaries[{i}]", start)
        for i, start in enumerate(boundaries)
    ]
    if not parts or len(starts) != len(parts) - 1:
        raise ValueError(
            f"join: boundaries must be one fewer than schedules, got {len(starts)} for "
            f"{len(parts)}"
        )
    if any(a >= b for a, b in itertools.pairwise(starts)):
        raise ValueError(f"join: boundaries must increase, got {starts}")

    def schedule(step: Array) -> Array:
        step = as_step(step)
        value = parts[0](as_argument(step))
        for part, start in zip(parts[1:], starts, strict=True):
            later = part(as_argument(mx.maximum(step - start, 0)))
            value = mx.where(step >= start, later, value)
        return value

    return schedule


def per_epoch(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    """Turns a schedule of epochs into one of steps: `schedule(t // steps_per_epoch)`.

    Args:
        schedule: function of the 0-based epoch.
        steps_per_epoch: steps in an epoch, including a last partial batch.

    Raises:
        TypeError: if `schedule` is not a function or `steps_per_epoch` not an integer.
        ValueError: if `steps_per_epoch` is not positive.

    Example:
        >>> from lucid_fn import schedules
        >>> by_epoch = schedules.step_decay(1.0, step_size=1, gamma=0.5)
        >>> rate = schedules.per_epoch(by_epoch, 391)
        >>> [rate(t).item() for t in (0, 390, 391)]
        [1.0, 1.0, 0.5]
    """
    check_schedule("per_epoch", "schedule", schedule)
    steps_per_epoch = check_count("per_epoch", "steps_per_epoch", steps_per_epoch)

    def by_step(step: Array) -> Array:
        return schedule(as_argument(as_step(step) // steps_per_epoch))

    return by_step


def scale(schedule: Schedule, factor: float) -> Schedule:
    """A schedule times a number, such as for another group of params.

    Args:
        schedule: function of the step.
        factor: any finite number.

    Raises:
        TypeError: if `schedule` is not a function or `factor` not a number.
        ValueError: if `factor` is not finite.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.scale(schedules.polynomial_decay(1.0, decay_steps=10), 0.5)
        >>> [rate(t).item() for t in (0, 5, 10)]
        [0.5, 0.25, 0.0]
    """
    check_schedule("scale", "schedule", schedule)
    factor = check_number("scale", "factor", factor)

    def scaled(step: Array) -> Array:
        return factor * schedule(as_argument(as_step(step)))

    return scaled
