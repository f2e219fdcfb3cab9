"""Constant, step, exponential, polynomial and linear schedules."""

from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.checks import check_count, check_number
from lucid_fn.numerics import reduced
from lucid_fn.schedules.base import (
    Schedule,
    as_step,
    float_dtype,
    fraction,
    line,
    powers,
)
from lucid_fn.types import Array


def constant(value: float) -> Schedule:
    """The same value at every step.

    Args:
        value: any finite number.

    Raises:
        TypeError: if `value` is not a number.
        ValueError: if it is not finite.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import schedules
        >>> schedules.constant(0.5)(mx.array(7))
        array(0.5, dtype=float32)
    """
    value = check_number("constant", "value", value)

    def schedule(step: Array) -> Array:
        step = as_step(step)
        return mx.full(step.shape, value, float_dtype(step))

    return schedule


def step_decay(init_value: float, *, step_size: int, gamma: float) -> Schedule:
    """Multiplied by `gamma` after every `step_size` steps: `v * gamma^(t // s)`.

    Args:
        init_value: value for the first `step_size` steps.
        step_size: number of steps between two decays.
        gamma: factor of each decay, positive.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `step_size` or `gamma` is not positive.

    Source: `torch.optim.lr_scheduler.StepLR`.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.step_decay(1.0, step_size=10, gamma=0.5)
        >>> [rate(t).item() for t in (0, 9, 10, 20)]
        [1.0, 1.0, 0.5, 0.25]
    """
    init_value = check_number("step_decay", "init_value", init_value)
    step_size = check_count("step_decay", "step_size", step_size)
    gamma = check_number("step_decay", "gamma", gamma, above=0)

    def schedule(step: Array) -> Array:
        return init_value * powers(gamma, as_step(step) // step_size)

    return schedule


def multi_step_decay(
    init_value: float, *, milestones: Sequence[int], gamma: float
) -> Schedule:
    """Multiplied by `gamma` at each milestone: `v * gamma^(#milestones <= t)`.

    Args:
        init_value: value before the first milestone.
        milestones: steps at which the value decays, in any order; repeated ones count
            repeatedly.
        gamma: factor of each decay, positive.

    Raises:
        TypeError: if an argument is not a number, or a milestone not an integer.
        ValueError: if a milestone is negative or `gamma` not positive.

    Source: `torch.optim.lr_scheduler.MultiStepLR`.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.multi_step_decay(1.0, milestones=(30, 80), gamma=0.5)
        >>> [rate(t).item() for t in (0, 30, 79, 80)]
        [1.0, 0.5, 0.5, 0.25]
    """
    init_value = check_number("multi_step_decay", "init_value", init_value)
    gamma = check_number("multi_step_decay", "gamma", gamma, above=0)
    steps = [
        check_count("multi_step_decay", f"milestones[{i}]", milestone, at_least=0)
        for i, milestone in enumerate(milestones)
    ]

    def schedule(step: Array) -> Array:
        step = as_step(step)
        passed = step[..., None] >= mx.array(steps, mx.int32)
        decays = reduced(mx.sum, passed, axis=-1, empty=0).astype(step.dtype)
        return init_value * powers(gamma, decays)

    return schedule


def exponential_decay(init_value: float, *, gamma: float) -> Schedule:
    """Multiplied by `gamma` at every step: `v * gamma^t`.

    The relative error grows with the number of octaves of decay: it is below
    `1e-7 * (2 + |log2(gamma^t)|)`, about 1e-6 after a decay to a thousandth.

    Args:
        init_value: value at step 0.
        gamma: factor from one step to the next, positive.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `gamma` is not positive.

    Source: `torch.optim.lr_scheduler.ExponentialLR`.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.exponential_decay(1.0, gamma=0.5)
        >>> [rate(t).item() for t in (0, 1, 3)]
        [1.0, 0.5, 0.125]
    """
    init_value = check_number("exponential_decay", "init_value", init_value)
    gamma = check_number("exponential_decay", "gamma", gamma, above=0)

    def schedule(step: Array) -> Array:
        return init_value * powers(gamma, as_step(step))

    return schedule


def polynomial_decay(
    init_value: float, *, decay_steps: int, power: float = 1.0, end: float = 0.0
) -> Schedule:
    """A power of the remaining fraction of steps, from `init_value` to `end`.

    `end + (v - end) * (1 - min(t, T) / T)^power`, constant from step `T` on. The
    relative error grows in proportion to `power`.

    Args:
        init_value: value at step 0.
        decay_steps: step `T` at which `end` is reached.
        power: exponent, positive; 1 is a line.
        end: final value.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `decay_steps` or `power` is not positive.

    Source: `torch.optim.lr_scheduler.PolynomialLR`, which has `end` 0.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.polynomial_decay(1.0, decay_steps=4, power=2)
        >>> [rate(t).item() for t in (0, 2, 4, 9)]
        [1.0, 0.25, 0.0, 0.0]
    """
    init_value = check_number("polynomial_decay", "init_value", init_value)
    end = check_number("polynomial_decay", "end", end)
    decay_steps = check_count("polynomial_decay", "decay_steps", decay_steps)
    power = check_number("polynomial_decay", "power", power, above=0)

    def schedule(step: Array) -> Array:
        passed = mx.minimum(as_step(step), decay_steps)
        weight = fraction(decay_steps - passed, decay_steps) ** power
        complement = fraction(passed, decay_steps)
        if power != 1:  # 1 - weight, without cancellation
            complement = -mx.expm1(power * mx.log1p(-complement))
        return init_value * weight + end * complement

    return schedule


def linear(
    init_value: float,
    *,
    start_factor: float = 1 / 3,
    end_factor: float = 1.0,
    total_steps: int = 5,
) -> Schedule:
    """A line from `init_value * start_factor` to `init_value * end_factor`.

    `v * (a + (b - a) * min(t, T) / T)`, constant from step `T` on.

    Args:
        init_value: value `v` that the factors multiply.
        start_factor: factor `a` at step 0.
        end_factor: factor `b` from step `T` on.
        total_steps: length `T` of the line, in steps.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if `total_steps` is not positive.

    Source: `torch.optim.lr_scheduler.LinearLR`, with its defaults.

    Example:
        >>> from lucid_fn import schedules
        >>> rate = schedules.linear(1.0, start_factor=0.5, total_steps=4)
        >>> [rate(t).item() for t in (0, 2, 4, 9)]
        [0.5, 0.75, 1.0, 1.0]
    """
    init_value = check_number("linear", "init_value", init_value)
    start_factor = check_number("linear", "start_factor", start_factor)
    end_factor = check_number("linear", "end_factor", end_factor)
    total_steps = check_count("linear", "total_steps", total_steps)
    start, end = init_value * start_factor, init_value * end_factor

    def schedule(step: Array) -> Array:
        return line(start, end, mx.minimum(as_step(step), total_steps), total_steps)

    return schedule
