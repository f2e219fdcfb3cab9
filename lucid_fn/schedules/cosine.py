"""Cosine schedules, with and without restarts."""

import mlx.core as mx

from lucid_fn.checks import check_count, check_number
from lucid_fn.schedules.base import (
    LAST_STEP,
    Schedule,
    as_float,
    as_step,
    cosine,
    float_dtype,
    half_cosine,
)
from lucid_fn.types import Array


def cosine_decay(init_value: float, *, decay_steps: int, end: float = 0.0) -> Schedule:
    """Half a cosine from `init_value` to `end`, constant from then on.

    `end + (v - end) * (1 + cos(pi * min(t, T) / T)) / 2`. PyTorch's scheduler, which
    rises again after step `T`, is `cosine_annealing`.

    Args:
        init_value: value at step 0.
        decay_steps: step `T` at which `end` is reached.
        end: last value.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `decay_steps` is not positive.

    Source: Loshchilov & Hutter, 2017, https://arxiv.org/abs/1608.03983, eq. 5, without
    restarts.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.cosine_decay(1.0, decay_steps=100)
        >>> [round(rate(t).item(), 4) for t in (0, 50, 100, 150)]
        [1.0, 0.5, 0.0, 0.0]
    """
    init_value = check_number("cosine_decay", "init_value", init_value)
    end = check_number("cosine_decay", "end", end)
    decay_steps = check_count("cosine_decay", "decay_steps", decay_steps)

    def schedule(step: Array) -> Array:
        passed = mx.minimum(as_step(step), decay_steps)
        return cosine(init_value, end, passed, decay_steps)

    return schedule


def cosine_annealing(
    init_value: float, *, decay_steps: int, end: float = 0.0
) -> Schedule:
    """A periodic cosine between `init_value` and `end`.

    `end + (v - end) * (1 + cos(pi * t / T)) / 2`. Up to step `T` it is `cosine_decay`.

    Args:
        init_value: value at steps 0, `2T`, `4T`, ...
        decay_steps: half the period, `T`.
        end: value at steps `T`, `3T`, ...

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `decay_steps` is not positive.

    Source: `torch.optim.lr_scheduler.CosineAnnealingLR`.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.cosine_annealing(1.0, decay_steps=100)
        >>> [round(rate(t).item(), 4) for t in (0, 50, 100, 150, 200)]
        [1.0, 0.5, 0.0, 0.5, 1.0]
    """
    init_value = check_number("cosine_annealing", "init_value", init_value)
    end = check_number("cosine_annealing", "end", end)
    decay_steps = check_count("cosine_annealing", "decay_steps", decay_steps)
    period = 2 * decay_steps

    def schedule(step: Array) -> Array:
        step = as_step(step)
        step = step if period > LAST_STEP else step % period
        passed = decay_steps - mx.abs(step - decay_steps)
        return cosine(init_value, end, passed, decay_steps)

    return schedule


def cosine_restarts(
    init_value: float, *, first_period: int, growth: int = 1, end: float = 0.0
) -> Schedule:
    """Cosine annealing with warm restarts (SGDR).

    At step `t` of a period of `T` steps the value is
    `end + (v - end) * (1 + cos(pi * t / T)) / 2`. Each period is `growth` times as long
    as the previous one.

    Args:
        init_value: value at the start of each period.
        first_period: length of the first period, in steps.
        growth: ratio of the lengths of successive periods, at least 1.
        end: value that each period approaches.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `first_period` or `growth` is below 1.

    Source: Loshchilov & Hutter, 2017, https://arxiv.org/abs/1608.03983, eq. 5 (`T_0`
    and `T_mult`); `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.cosine_restarts(1.0, first_period=10, growth=2)
        >>> [round(rate(t).item(), 4) for t in (0, 5, 10, 20, 30)]
        [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    init_value = check_number("cosine_restarts", "init_value", init_value)
    end = check_number("cosine_restarts", "end", end)
    first_period = check_count("cosine_restarts", "first_period", first_period)
    growth = check_count("cosine_restarts", "growth", growth)
    starts, periods = _periods(first_period, growth)

    def schedule(step: Array) -> Array:
        step = as_step(step)
        started = step[..., None] >= mx.array(starts, mx.int32)  # (..., periods)
        current = mx.sum(started, axis=-1) - 1
        period = mx.array(periods, mx.int64)[current]  # the last may end beyond int32
        passed = step - mx.array(starts, mx.int32)[current]
        passed = passed % first_period if growth == 1 else passed
        length = period.astype(float_dtype(step))
        return half_cosine(
            init_value,
            end,
            as_float(passed) / length,
            (period - passed).astype(length.dtype) / length,
        )

    return schedule


def _periods(first: int, growth: int) -> tuple[list[int], list[int]]:
    """Start and length of each period that starts within int32: at most 31."""
    starts, periods = [0], [first]
    while growth > 1 and starts[-1] + periods[-1] <= LAST_STEP:
        starts.append(starts[-1] + periods[-1])
        periods.append(periods[-1] * growth)
    return starts, periods
