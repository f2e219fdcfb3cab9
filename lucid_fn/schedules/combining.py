"""Schedules made of schedules."""

from lucid_fn.schedules.base import Schedule, as_step, check_function, check_steps
from lucid_fn.types import Array


def per_epoch(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    """A schedule of epochs as one of steps: `schedule(t // steps_per_epoch)`.

    Args:
        schedule: function of the 0-based epoch.
        steps_per_epoch: steps in an epoch, the last partial batch included.

    Raises:
        TypeError: if `schedule` is not a function or `steps_per_epoch` not an integer.
        ValueError: if `steps_per_epoch` is not positive.

    Example:
        >>> from lucid_fn import schedules
        >>> by_epoch = schedules.step_decay(1.0, step_size=1, gamma=0.5)
        >>> rate = per_epoch(by_epoch, 391)
        >>> [rate(t).item() for t in (0, 390, 391)]
        [1.0, 1.0, 0.5]
    """
    check_function("per_epoch", schedule=schedule)
    check_steps("per_epoch", steps_per_epoch=steps_per_epoch)

    def of_step(step: Array) -> Array:
        return schedule(as_step(step) // steps_per_epoch)

    return of_step
