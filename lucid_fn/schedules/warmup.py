"""Schedules that start with a linear warm-up."""

import math

import mlx.core as mx

from lucid_fn.checks import check_count, check_number
from lucid_fn.schedules.base import (
    Schedule,
    as_argument,
    as_float,
    as_step,
    check_schedule,
    cosine,
    fraction,
    line,
)
from lucid_fn.types import Array


def warmup(schedule: Schedule, *, warmup_steps: int, start: float = 0.0) -> Schedule:
    """A linear warm-up to the initial value of a schedule, then the schedule.

    `s + (schedule(0) - s) * t / W` for `t < W`, then `schedule(t - W)`.

    Args:
        schedule: schedule after the warm-up.
        warmup_steps: length `W` of the warm-up, in steps, at least 1.
        start: value `s` at step 0.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `warmup_steps` is below 1.

    Source: Goyal et al., 2017, https://arxiv.org/abs/1706.02677, section 2.2.

    Example:
        >>> from lucid_fn import schedules
        >>> stairs = schedules.step_decay(1.0, step_size=30, gamma=0.5)
        >>> rate = schedules.warmup(stairs, warmup_steps=5)
        >>> [round(rate(t).item(), 4) for t in (0, 1, 5, 34, 35)]
        [0.0, 0.2, 1.0, 1.0, 0.5]
    """
    check_schedule("warmup", "schedule", schedule)
    warmup_steps = check_count("warmup", "warmup_steps", warmup_steps)
    start = check_number("warmup", "start", start)

    def warmed_up(step: Array) -> Array:
        step = as_step(step)
        peak = schedule(as_argument(mx.zeros_like(step)))
        later = schedule(as_argument(mx.maximum(step - warmup_steps, 0)))
        rise = line(start, peak, step, warmup_steps)
        return mx.where(step < warmup_steps, rise, later)

    return warmed_up


def warmup_cosine(
    peak: float, *, warmup_steps: int, total_steps: int, end: float = 0.0
) -> Schedule:
    """A linear warm-up from 0 to `peak`, then half a cosine to `end`.

    With `W` warm-up and `T` total steps, `peak * t / W` for `t < W`, then
    `end + (peak - end) * (1 + cos(pi * s)) / 2` with `s = (t - W) / (T - W)`, constant
    from step `T` on.

    Args:
        peak: maximum value, reached at step `warmup_steps`.
        warmup_steps: length of the warm-up, in steps; may be 0.
        total_steps: step at which `end` is reached, including the warm-up.
        end: final value.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: unless `0 <= warmup_steps < total_steps`.

    Source: Loshchilov & Hutter, 2017, https://arxiv.org/abs/1608.03983, eq. 5
    (no restarts); warm-up as in Goyal et al., 2017, https://arxiv.org/abs/1706.02677,
    section 2.2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import schedules
        >>> rate = schedules.warmup_cosine(1.0, warmup_steps=10, total_steps=110)
        >>> [round(rate(mx.array(t)).item(), 4) for t in (0, 5, 10, 60, 110)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    peak = check_number("warmup_cosine", "peak", peak)
    end = check_number("warmup_cosine", "end", end)
    warmup_steps, length = _lengths("warmup_cosine", warmup_steps, total_steps)

    def schedule(step: Array) -> Array:
        step = as_step(step)
        rise = peak * fraction(step, max(warmup_steps, 1))
        fall = cosine(peak, end, mx.clip(step - warmup_steps, 0, length), length)
        return mx.where(step < warmup_steps, rise, fall)

    return schedule


def warmup_linear(
    peak: float, *, warmup_steps: int, total_steps: int, end: float = 0.0
) -> Schedule:
    """A linear warm-up from 0 to `peak`, then a linear decay to `end`.

    With `W` warm-up and `T` total steps, `peak * t / W` for `t < W`, then
    `peak + (end - peak) * (t - W) / (T - W)`, constant from step `T` on.

    Args:
        peak: maximum value, reached at step `warmup_steps`.
        warmup_steps: length of the warm-up, in steps; may be 0.
        total_steps: step at which `end` is reached, including the warm-up.
        end: final value.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: unless `0 <= warmup_steps < total_steps`.

    Source: Devlin et al., 2019, https://arxiv.org/abs/1810.04805, appendix A.2.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.warmup_linear(1.0, warmup_steps=10, total_steps=110)
        >>> [round(rate(t).item(), 4) for t in (0, 5, 10, 60, 110)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    peak = check_number("warmup_linear", "peak", peak)
    end = check_number("warmup_linear", "end", end)
    warmup_steps, length = _lengths("warmup_linear", warmup_steps, total_steps)

    def schedule(step: Array) -> Array:
        step = as_step(step)
        rise = peak * fraction(step, max(warmup_steps, 1))
        fall = line(peak, end, mx.clip(step - warmup_steps, 0, length), length)
        return mx.where(step < warmup_steps, rise, fall)

    return schedule


def inverse_sqrt(peak: float, *, warmup_steps: int) -> Schedule:
    """A linear warm-up from 0 to `peak`, then a decay by the inverse square root.

    `peak * min(t / W, sqrt(W / t))`.

    Args:
        peak: maximum value, reached at step `warmup_steps`.
        warmup_steps: length `W` of the warm-up, in steps, at least 1.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `warmup_steps` is below 1.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 3,
    parametrized by the peak; see `noam` for the original parameters.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.inverse_sqrt(1.0, warmup_steps=4)
        >>> [rate(t).item() for t in (0, 2, 4, 16, 64)]
        [0.0, 0.5, 1.0, 0.5, 0.25]
    """
    peak = check_number("inverse_sqrt", "peak", peak)
    warmup_steps = check_count("inverse_sqrt", "warmup_steps", warmup_steps)

    def schedule(step: Array) -> Array:
        return peak * _up_and_down(fraction(as_step(step), warmup_steps))

    return schedule


def noam(model_size: int, *, warmup_steps: int, factor: float = 1.0) -> Schedule:
    """The schedule of the original Transformer: `inverse_sqrt`, scaled by the width.

    `factor * model_size^-0.5 * min(n^-0.5, n * W^-1.5)` with `n = t + 1`, since the
    paper counts steps from 1.

    Args:
        model_size: width of the model, which determines the peak.
        warmup_steps: length `W` of the warm-up, in steps, at least 1.
        factor: factor of all values.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `model_size` or `warmup_steps` is below 1.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 3. The name is
    Noam Shazeer's, from tensor2tensor.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.noam(512, warmup_steps=4000)
        >>> [round(rate(t).item(), 7) for t in (0, 3999, 15999)]
        [2e-07, 0.0006988, 0.0003494]
    """
    factor = check_number("noam", "factor", factor)
    model_size = check_count("noam", "model_size", model_size)
    warmup_steps = check_count("noam", "warmup_steps", warmup_steps)
    peak = factor / math.sqrt(model_size * warmup_steps)

    def schedule(step: Array) -> Array:
        return peak * _up_and_down((as_float(as_step(step)) + 1) / warmup_steps)

    return schedule


def _up_and_down(share: Array) -> Array:
    """`min(x, x^-0.5)` for `x` of at least 0."""
    return mx.minimum(share, mx.rsqrt(mx.maximum(share, 1.0)))


def _lengths(caller: str, warmup_steps: int, total_steps: int) -> tuple[int, int]:
    """Checks the arguments; returns the steps of the warm-up and those after it."""
    warmup_steps = check_count(caller, "warmup_steps", warmup_steps, at_least=0)
    total_steps = check_count(caller, "total_steps", total_steps)
    if not warmup_steps < total_steps:
        raise ValueError(
            f"{caller}: need 0 <= warmup_steps < total_steps, "
            f"got {warmup_steps} and {total_steps}"
        )
    return warmup_steps, total_steps - warmup_steps
