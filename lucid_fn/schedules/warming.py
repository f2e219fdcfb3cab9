"""Schedules that begin with a line up."""

import math

import mlx.core as mx

from lucid_fn.schedules.base import (
    Schedule,
    as_step,
    check_number,
    check_steps,
    fraction,
    half_cosine,
)
from lucid_fn.types import Array


def warmup_cosine(
    peak: float, *, warmup_steps: int, total_steps: int, end: float = 0.0
) -> Schedule:
    """A line from 0 up to `peak`, then half a cosine down to `end`.

    Step `t` of `W` warm-up and `T` total steps has the value `peak * t / W` for
    `t < W`, then `end + (peak - end) * (1 + cos(pi * s)) / 2`, where
    `s = (t - W) / (T - W)`; it stays at `end` from step `T` on.

    Args:
        peak: largest value, reached at step `warmup_steps`.
        warmup_steps: length of the warm-up, in steps; may be 0.
        total_steps: step at which `end` is reached, the warm-up included.
        end: last value.

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
    check_number("warmup_cosine", peak=peak, end=end)
    _check_warmup("warmup_cosine", warmup_steps, total_steps)

    def schedule(step: Array) -> Array:
        step = as_step(step)
        warmup = peak * fraction(step, max(warmup_steps, 1))
        remaining = fraction(
            mx.clip(total_steps - step, 0, total_steps - warmup_steps),
            total_steps - warmup_steps,
        )
        cosine = half_cosine(peak, end, remaining)
        return mx.where(step < warmup_steps, warmup, cosine)

    return schedule


def warmup_linear(
    peak: float, *, warmup_steps: int, total_steps: int, end: float = 0.0
) -> Schedule:
    """A line from 0 up to `peak`, then a line down to `end`.

    Step `t` of `W` warm-up and `T` total steps has the value `peak * t / W` for
    `t < W`, then `peak + (end - peak) * (t - W) / (T - W)`; it stays at `end` from step
    `T` on.

    Args:
        peak: largest value, reached at step `warmup_steps`.
        warmup_steps: length of the warm-up, in steps; may be 0.
        total_steps: step at which `end` is reached, the warm-up included.
        end: last value.

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
    check_number("warmup_linear", peak=peak, end=end)
    _check_warmup("warmup_linear", warmup_steps, total_steps)
    length = total_steps - warmup_steps

    def schedule(step: Array) -> Array:
        step = as_step(step)
        warmup = peak * fraction(step, max(warmup_steps, 1))
        remaining = mx.clip(total_steps - step, 0, length)
        line = peak * fraction(remaining, length) + end * fraction(
            length - remaining, length
        )
        return mx.where(step < warmup_steps, warmup, line)

    return schedule


def inverse_sqrt(peak: float, *, warmup_steps: int) -> Schedule:
    """A line from 0 up to `peak`, then down with the square root of the step.

    `peak * min(t / W, sqrt(W / t))`.

    Args:
        peak: largest value, reached at step `warmup_steps`.
        warmup_steps: length `W` of the warm-up, in steps, at least 1.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `warmup_steps` is below 1.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, eq. 3, in terms of
    the peak; see `noam` for its own terms.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.inverse_sqrt(1.0, warmup_steps=4)
        >>> [rate(t).item() for t in (0, 2, 4, 16, 64)]
        [0.0, 0.5, 1.0, 0.5, 0.25]
    """
    check_number("inverse_sqrt", peak=peak)
    check_steps("inverse_sqrt", warmup_steps=warmup_steps)

    def schedule(step: Array) -> Array:
        share = fraction(as_step(step), warmup_steps)
        return peak * mx.minimum(share, mx.rsqrt(mx.maximum(share, 1.0)))

    return schedule


def noam(model_size: int, *, warmup_steps: int, factor: float = 1.0) -> Schedule:
    """The schedule of the first transformer.

    `factor * model_size^-0.5 * min(n^-0.5, n * W^-1.5)` at its step `n = t + 1`, for
    steps count from 1 there.

    Args:
        model_size: width of the model, which sets the height.
        warmup_steps: length `W` of the warm-up, in steps, at least 1.
        factor: multiplies the whole.

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
    check_number("noam", factor=factor)
    check_steps("noam", model_size=model_size, warmup_steps=warmup_steps)
    peak = factor / math.sqrt(model_size * warmup_steps)
    shape = inverse_sqrt(peak, warmup_steps=warmup_steps)

    def schedule(step: Array) -> Array:
        return shape(as_step(step) + 1)

    return schedule


def _check_warmup(caller: str, warmup_steps: int, total_steps: int) -> None:
    """Raises unless a warm-up ends before the whole does."""
    check_steps(caller, at_least=0, warmup_steps=warmup_steps)
    check_steps(caller, total_steps=total_steps)
    if not warmup_steps < total_steps:
        raise ValueError(
            f"{caller}: need 0 <= warmup_steps < total_steps, "
            f"got {warmup_steps} and {total_steps}"
        )
