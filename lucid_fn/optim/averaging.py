"""Running averages of the params: often better than the last of them."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.optim import leaves, states
from lucid_fn.optim.base import GradientTransformation, chain
from lucid_fn.optim.checks import (
    Scalar,
    check_at_least_0,
    check_count,
    check_decay,
    is_zero,
    reports_as_itself,
)
from lucid_fn.optim.descent import (
    ScalarOrSchedule,
    as_schedule,
    scale_by_learning_rate,
)
from lucid_fn.optim.moments import average, copies, once
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Tree


class EmaState(NamedTuple):
    """The exponential average of the params."""

    step: Array  # int32, shape (): updates made so far
    average: Tree  # float32 at least


class SwaState(NamedTuple):
    """The mean of the params at chosen steps."""

    step: Array  # int32, shape (): updates made so far
    averaged: Array  # int32, shape (): how many params are in the mean
    average: Tree  # float32 at least


def ema(decay: Scalar) -> GradientTransformation:
    """Keeps an exponential average of the params; the updates pass through.

    `average = decay * average + (1 - decay) * params`, begun with the params after the
    first update. Put it last in a chain, where the updates are final. What to evaluate
    is `averaged_params(opt_state)`.

    Args:
        decay: weight of the average so far, in [0, 1).

    Raises:
        ValueError: if `decay` is out of its range.

    Source: Polyak & Juditsky, 1992; the start is that of
    `torch.optim.swa_utils.AveragedModel`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.sgd(1.0), optim.ema(0.5))
        >>> params = {"w": mx.array(0.0)}
        >>> opt_state = optimizer.init(params)
        >>> for _ in range(2):
        ...     grads = {"w": mx.array(1.0)}
        ...     updates, opt_state = optimizer.update(grads, opt_state, params)
        ...     params = optim.apply_updates(params, updates)
        >>> optim.averaged_params(opt_state)
        {'w': array(-1.5, dtype=float32)}
    """
    decay = check_decay("ema", "decay", decay)

    def init(params: Params, /) -> EmaState:
        return EmaState(mx.array(0, mx.int32), copies(params))

    def update(
        grads: Tree, opt_state: EmaState, params: Params, /
    ) -> tuple[Tree, EmaState]:
        kept = once(mx.where(opt_state.step == 0, 0.0, decay))
        new = leaves.map(
            lambda a, p, u: average(kept, a, (p + u).astype(p.dtype)),
            opt_state.average,
            params,
            grads,
            caller="ema (state, params and updates)",
        )
        return grads, EmaState(opt_state.step + 1, new)

    return GradientTransformation(init, update)


def swa(*, start: int = 0, period: int = 1) -> GradientTransformation:
    """Stochastic weight averaging: the mean of the params; the updates pass through.

    The mean is over the params after update `start`, counted from 0, and each
    `period`-th one later; before, it is the params themselves. Put it last in a chain,
    where the updates are final. What to evaluate is `averaged_params(opt_state)`,
    once the running statistics of batch norms were estimated again for it.

    Args:
        start: the first update in the mean, at least 0.
        period: updates from one that is in the mean to the next, at least 1; often
            those of an epoch.

    Raises:
        ValueError: if `start` or `period` is out of its range.
        TypeError: if one is no integer.

    Source: Izmailov et al., 2018, https://arxiv.org/abs/1803.05407, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.sgd(0.1), optim.swa(start=1000, period=100))
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    start = check_count("swa", "start", start, least=0)
    period = check_count("swa", "period", period)

    def init(params: Params, /) -> SwaState:
        return SwaState(mx.array(0, mx.int32), mx.array(0, mx.int32), copies(params))

    def update(
        grads: Tree, opt_state: SwaState, params: Params, /
    ) -> tuple[Tree, SwaState]:
        since = opt_state.step - start
        chosen = (since >= 0) & (since % period == 0)
        averaged = opt_state.averaged + chosen.astype(mx.int32)
        weight = mx.where(chosen | (averaged == 0), 1 / mx.maximum(averaged, 1), 0.0)
        weight, kept = once(weight), once(1 - weight)
        new = leaves.map(
            lambda a, p, u: kept * a + weight * (p + u).astype(a.dtype),
            opt_state.average,
            params,
            grads,
            caller="swa (state, params and updates)",
        )
        return grads, SwaState(opt_state.step + 1, averaged, new)

    return GradientTransformation(init, update)


def averaged_params(opt_state: Any) -> Params:
    """The params that `ema` or `swa` averaged; those at the start, before any update.

    Args:
        opt_state: the state of an optimizer with `ema` or `swa` in it.

    Returns:
        A tree like the params, in float32 at least.

    Raises:
        ValueError: unless the state holds exactly one average.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.adam(1e-3), optim.ema(0.999))
        >>> optim.averaged_params(optimizer.init({"w": mx.array(2.0)}))
        {'w': array(2, dtype=float32)}
    """
    found: Params = states.find_one(
        opt_state, (EmaState, SwaState), "averaged_params"
    ).average
    return found


@reports_as_itself
def asgd(
    learning_rate: ScalarOrSchedule,
    *,
    lambd: Scalar = 1e-4,
    alpha: Scalar = 0.75,
    t0: int = 1_000_000,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Averaged stochastic gradient descent, as `torch.optim.ASGD`.

    `p = p * (1 - lambd * eta) - eta * g` with
    `eta = learning_rate / (1 + lambd * learning_rate * t)**alpha`, `t` from 0. What to
    evaluate is `averaged_params(opt_state)`, PyTorch's `ax`: the mean of the params
    after step `t0 + 1` and all later ones; before, the params themselves.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        lambd: part of the parameter taken off in a step, in units of `eta`, and how
            fast that falls; at least 0. Above 0 it makes a schedule, so that the
            learning rate cannot be set.
        alpha: power of the fall, at least 0.
        t0: the steps before those in the mean, at least 0.
        weight_decay: factor of the L2 penalty, at least 0.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if `t0` is no integer.

    Source: Polyak & Juditsky, 1992, "Acceleration of stochastic approximation by
    averaging"; the schedule is that of Bottou, 2010, "Large-scale machine learning
    with stochastic gradient descent", section 5.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.asgd(1e-2, t0=0)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    lambd = check_at_least_0("asgd", "lambd", lambd)
    alpha = check_at_least_0("asgd", "alpha", alpha)
    t0 = check_count("asgd", "t0", t0, least=0)
    rate = as_schedule("asgd", learning_rate)

    def falling(step: Array) -> Array:
        value = rate(step)
        return value / mx.power(1 + lambd * value * step, alpha)

    return chain(
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(
            learning_rate if is_zero(lambd) else falling, weight_decay=lambd
        ),
        swa(start=t0 + 1),
    )
