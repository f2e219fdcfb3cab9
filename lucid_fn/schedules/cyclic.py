"""One-cycle and cyclical schedules."""

import math

import mlx.core as mx

from lucid_fn.checks import check_count, check_number
from lucid_fn.schedules.base import (
    LAST_STEP,
    Schedule,
    as_float,
    as_step,
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
    """The 1cycle policy: half a cosine up to `peak`, and half a cosine down to near 0.

    The rise starts at `peak / div_factor` and ends at step
    `pct_start * total_steps - 1`, which need not be an integer. The fall ends at step
    `total_steps - 1` at `peak / div_factor / final_div_factor`, and the value stays
    there. Use it with `one_cycle_momentum`.

    Args:
        peak: maximum value.
        total_steps: number of steps.
        pct_start: fraction of the steps in the rise, in (0, 1); more than one step.
        div_factor: `peak` divided by the initial value, positive.
        final_div_factor: initial value divided by the final one, positive.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if one is out of its range.

    Source: Smith & Topin, 2019, https://arxiv.org/abs/1708.07120;
    `torch.optim.lr_scheduler.OneCycleLR` with two phases.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.one_cycle(1.0, total_steps=100)
        >>> [round(rate(t).item(), 4) for t in (0, 29, 64, 99)]
        [0.04, 1.0, 0.5, 0.0]
    """
    peak = check_number("one_cycle", "peak", peak)
    div_factor = check_number("one_cycle", "div_factor", div_factor, above=0)
    final_div_factor = check_number(
        "one_cycle", "final_div_factor", final_div_factor, above=0
    )
    total_steps, pct_start = _check_rise("one_cycle", total_steps, pct_start)
    start = peak / div_factor
    return _rise_and_fall(start, peak, start / final_div_factor, total_steps, pct_start)


def one_cycle_momentum(
    peak: float = 0.95,
    *,
    total_steps: int,
    pct_start: float = 0.3,
    base: float = 0.85,
) -> Schedule:
    """The momentum of the 1cycle policy: low where the rate of `one_cycle` is high.

    Half a cosine from `peak` down to `base`, and half a cosine up again, at the same
    steps as `one_cycle`.

    Args:
        peak: initial and final value.
        total_steps: number of steps.
        pct_start: fraction of the steps in the fall, in (0, 1); more than one step.
        base: minimum value.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if one is out of its range.

    Source: that of `one_cycle`.

    Example:
        >>> from lucid_fn import schedules
        >>> momentum = schedules.one_cycle_momentum(total_steps=100)
        >>> [round(momentum(t).item(), 4) for t in (0, 29, 64, 99)]
        [0.95, 0.85, 0.9, 0.95]
    """
    peak = check_number("one_cycle_momentum", "peak", peak)
    base = check_number("one_cycle_momentum", "base", base)
    total_steps, pct_start = _check_rise("one_cycle_momentum", total_steps, pct_start)
    return _rise_and_fall(peak, base, peak, total_steps, pct_start)


def _check_rise(caller: str, total_steps: int, pct_start: float) -> tuple[int, float]:
    total_steps = check_count(caller, "total_steps", total_steps)
    pct_start = check_number(caller, "pct_start", pct_start)
    if not (0 < pct_start < 1 and pct_start * total_steps > 1):
        raise ValueError(
            f"{caller}: pct_start must be in (0, 1) and more than one of the "
            f"total_steps, got {pct_start} of {total_steps}"
        )
    return total_steps, pct_start


def _rise_and_fall(
    start: float, middle: float, end: float, total_steps: int, pct_start: float
) -> Schedule:
    turn, last = pct_start * total_steps - 1, total_steps - 1

    def schedule(step: Array) -> Array:
        step = as_step(step)
        to_turn = _distance(step, turn)
        return mx.where(
            step <= math.floor(turn),
            half_cosine(start, middle, as_float(step) / turn, to_turn / turn),
            half_cosine(
                middle,
                end,
                mx.minimum(-to_turn, last - turn) / (last - turn),
                fraction(mx.maximum(last - step, 0), last - turn),
            ),
        )

    return schedule


def _distance(step: Array, turn: float) -> Array:
    """`turn - step`, exact because the integer part is subtracted as integers."""
    whole = math.floor(turn)
    return as_float(whole - step) + (turn - whole)


def cyclic(
    low: float, high: float, *, up_steps: int, down_steps: int | None = None
) -> Schedule:
    """Triangular cycles: a line from `low` to `high` and back, repeatedly.

    Args:
        low: value at the start of each cycle.
        high: value at the top of each cycle.
        up_steps: steps from `low` to `high`.
        down_steps: steps from `high` to `low`; `None` for `up_steps`.

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
    """`cyclic`, with each cycle half as high as the previous one.

    `low + (high - low) * height / 2^cycle`.

    Args:
        low: value at the start of each cycle.
        high: value at the top of the first cycle.
        up_steps: steps from the start of a cycle to its top.
        down_steps: steps from the top to the end; `None` for `up_steps`.

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
    """`cyclic` with a height that decays exponentially with the step.

    `low + (high - low) * height * gamma^t`.

    Args:
        low: value at the start of each cycle.
        high: value at the top of each cycle, without the decay.
        up_steps: steps from the start of a cycle to its top.
        down_steps: steps from the top to the end; `None` for `up_steps`.
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
    gamma = check_number("cyclic_exponential", "gamma", gamma, above=0)
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
    low = check_number(caller, "low", low)
    high = check_number(caller, "high", high)
    up_steps = check_count(caller, "up_steps", up_steps)
    down_steps = up_steps if down_steps is None else down_steps
    down_steps = check_count(caller, "down_steps", down_steps)
    period = up_steps + down_steps

    def schedule(step: Array) -> Array:
        step = as_step(step)
        cycle, passed = mx.zeros_like(step), step
        if period <= LAST_STEP:
            cycle, passed = step // period, step % period
        up, beyond = passed < up_steps, passed - up_steps
        height = mx.where(
            up, fraction(passed, up_steps), fraction(down_steps - beyond, down_steps)
        )
        fall = powers(by_cycle, cycle) * powers(by_step, step)
        if low <= high:
            return low + (high - low) * (height * fall)
        # Computed from the other end, where 1 - height * fall is a sum without
        # cancellation.
        depth = mx.where(
            up,
            fraction(up_steps - passed, up_steps),
            fraction(beyond, down_steps),
        )
        # 1 - fall; one of its two factors is 1.
        lost = (
            1 - powers(by_cycle, cycle) - mx.expm1(math.log(by_step) * as_float(step))
        )
        return high + (low - high) * (depth + height * lost)

    return schedule
