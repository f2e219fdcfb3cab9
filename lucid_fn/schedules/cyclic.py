"""Schedules that go up and down: once, or again and again."""

import mlx.core as mx

from lucid_fn.schedules.base import (
    Schedule,
    as_step,
    check_number,
    check_positive,
    check_steps,
    fraction,
    half_cosine,
    powers,
)
from lucid_fn.types import Array


def one_cycle(
    peak: float,
    *,
    total_steps: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Half a cosine from `peak / div_factor` up to `peak`, and one down to near 0.

    The rise ends at `pct_start * total_steps - 1`, which need not be a whole step. The
    fall ends at step `total_steps - 1` at `peak / div_factor / final_div_factor`, and
    the value stays there. `one_cycle_momentum` belongs to it.

    Args:
        peak: largest value.
        total_steps: number of steps.
        pct_start: share of the steps spent on the rise, in (0, 1), of more than one
            step.
        div_factor: peak divided by the first value, positive.
        final_div_factor: first value divided by the last, positive.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if one is out of its range.

    Source: Smith & Topin, 2019, https://arxiv.org/abs/1708.07120;
    `torch.optim.lr_scheduler.OneCycleLR`, of two phases.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.one_cycle(1.0, total_steps=100)
        >>> [round(rate(t).item(), 4) for t in (0, 29, 64, 99)]
        [0.04, 1.0, 0.5, 0.0]
    """
    check_number("one_cycle", peak=peak)
    check_positive(
        "one_cycle", div_factor=div_factor, final_div_factor=final_div_factor
    )
    _check_rise("one_cycle", total_steps, pct_start)
    start = peak / div_factor
    return _rise_and_fall(start, peak, start / final_div_factor, total_steps, pct_start)


def one_cycle_momentum(
    peak: float = 0.95,
    *,
    total_steps: int,
    pct_start: float = 0.3,
    base: float = 0.85,
) -> Schedule:
    """The momentum to go with `one_cycle`: low where the learning rate is high.

    Half a cosine from `peak` down to `base`, and one up again, at the same steps as
    those of `one_cycle`.

    Args:
        peak: first and last value.
        total_steps: number of steps.
        pct_start: share of the steps spent on the fall, in (0, 1), of more than one
            step.
        base: smallest value.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if one is out of its range.

    Source: as `one_cycle`.

    Example:
        >>> from lucid_fn import schedules
        >>> momentum = schedules.one_cycle_momentum(total_steps=100)
        >>> [round(momentum(t).item(), 4) for t in (0, 29, 64, 99)]
        [0.95, 0.85, 0.9, 0.95]
    """
    check_number("one_cycle_momentum", peak=peak, base=base)
    _check_rise("one_cycle_momentum", total_steps, pct_start)
    return _rise_and_fall(peak, base, peak, total_steps, pct_start)


def _check_rise(caller: str, total_steps: int, pct_start: float) -> None:
    check_steps(caller, total_steps=total_steps)
    check_number(caller, pct_start=pct_start)
    if not (0 < pct_start < 1 and pct_start * total_steps > 1):
        raise ValueError(
            f"{caller}: pct_start must be in (0, 1) and more than one of the "
            f"total_steps, got {pct_start} of {total_steps}"
        )


def _rise_and_fall(
    start: float, middle: float, end: float, total_steps: int, pct_start: float
) -> Schedule:
    turn, last = pct_start * total_steps - 1, total_steps - 1

    def schedule(step: Array) -> Array:
        step = as_step(step)
        to_turn = mx.clip(turn - step, 0, turn) / turn
        to_end = fraction(mx.maximum(last - step, 0), last - turn)
        return mx.where(
            step <= turn,
            half_cosine(start, middle, to_turn),
            half_cosine(middle, end, to_end),
        )

    return schedule


def cyclic(
    low: float, high: float, *, up_steps: int, down_steps: int | None = None
) -> Schedule:
    """A line from `low` up to `high`, one down again, and so on.

    Args:
        low: value at the start of each cycle.
        high: value at its top.
        up_steps: steps from `low` to `high`.
        down_steps: steps from `high` to `low`; as many as `up_steps` if `None`.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if a number of steps is not positive.

    Source: Smith, 2017, https://arxiv.org/abs/1506.01186, section 3.1;
    `torch.optim.lr_scheduler.CyclicLR`, mode "triangular".

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.cyclic(0.0, 1.0, up_steps=2, down_steps=4)
        >>> [rate(t).item() for t in range(7)]
        [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return _cyclic("cyclic", low, high, up_steps, down_steps)


def cyclic_halving(
    low: float, high: float, *, up_steps: int, down_steps: int | None = None
) -> Schedule:
    """`cyclic`, whose every cycle is half as high as the one before.

    `low + (high - low) * height / 2^cycle`.

    Args:
        low: value at the start of each cycle.
        high: value at the top of the first.
        up_steps: steps from the start of a cycle to its top.
        down_steps: steps from there to the end; as many as `up_steps` if `None`.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if a number of steps is not positive.

    Source: Smith, 2017, https://arxiv.org/abs/1506.01186, section 3.1;
    `torch.optim.lr_scheduler.CyclicLR`, mode "triangular2".

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.cyclic_halving(0.0, 1.0, up_steps=2)
        >>> [rate(t).item() for t in (0, 2, 4, 6, 8, 10)]
        [0.0, 1.0, 0.0, 0.5, 0.0, 0.25]
    """
    return _cyclic("cyclic_halving", low, high, up_steps, down_steps, by_cycle=0.5)


def cyclic_exponential(
    low: float,
    high: float,
    *,
    up_steps: int,
    down_steps: int | None = None,
    gamma: float,
) -> Schedule:
    """`cyclic`, whose height falls at every step.

    `low + (high - low) * height * gamma^t`.

    Args:
        low: value at the start of each cycle.
        high: value at the top, but for the fall.
        up_steps: steps from the start of a cycle to its top.
        down_steps: steps from there to the end; as many as `up_steps` if `None`.
        gamma: factor from one step to the next, positive.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if a number of steps or `gamma` is not positive.

    Source: Smith, 2017, https://arxiv.org/abs/1506.01186, section 3.1;
    `torch.optim.lr_scheduler.CyclicLR`, mode "exp_range".

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.cyclic_exponential(0.0, 1.0, up_steps=1, gamma=0.5)
        >>> [rate(t).item() for t in range(4)]
        [0.0, 0.5, 0.0, 0.125]
    """
    check_positive("cyclic_exponential", gamma=gamma)
    return _cyclic("cyclic_exponential", low, high, up_steps, down_steps, by_step=gamma)


def _cyclic(
    caller: str,
    low: float,
    high: float,
    up_steps: int,
    down_steps: int | None,
    *,
    by_cycle: float = 1.0,
    by_step: float = 1.0,
) -> Schedule:
    down_steps = up_steps if down_steps is None else down_steps
    check_number(caller, low=low, high=high)
    check_steps(caller, up_steps=up_steps, down_steps=down_steps)
    period = up_steps + down_steps
    check_steps(caller, period=period)

    def schedule(step: Array) -> Array:
        step = as_step(step)
        passed = step % period
        height = mx.minimum(
            fraction(passed, up_steps), fraction(period - passed, down_steps)
        )
        fall = powers(by_cycle, step // period) * powers(by_step, step)
        return low + (high - low) * height * fall

    return schedule
