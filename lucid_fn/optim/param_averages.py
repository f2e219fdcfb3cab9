"""Averages of the params over training, which often generalize better."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_count, check_scalar
from lucid_fn.optim import leaves, states
from lucid_fn.optim.base import GradientTransformation, stateful
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    average,
    copies,
    decay_from_second,
    increment,
    precision,
    zero_count,
)
from lucid_fn.optim.zero_redundancy import check_whole
from lucid_fn.types import Array, Params, Scalar, Tree


class ParamEmaState(NamedTuple):
    """The exponential moving average of the params."""

    step: Array  # int32, shape (): updates made so far
    average: Tree  # float32 at least

    @property
    def needs_final_updates(self) -> bool:
        """Whether the transformation must come last in a `chain`."""
        return True


class SwaState(NamedTuple):
    """The mean of the params at chosen steps."""

    wait: Array  # int32, shape (): updates before the next one that is averaged
    averaged: Array  # int32, shape (): updates averaged so far
    average: Tree  # float32 at least

    @property
    def needs_final_updates(self) -> bool:
        """Whether the transformation must come last in a `chain`."""
        return True


def param_ema(decay: Scalar) -> GradientTransformation:
    """Keeps an exponential moving average (EMA) of the params; updates are unchanged.

    `average = decay * average + (1 - decay) * params`, starting from the params after
    the first update. Put it last in a chain, where the updates are final, and evaluate
    at `averaged_params(opt_state)`.

    Args:
        decay: weight of the previous average, in [0, 1).

    Raises:
        ValueError: if `decay` is out of its range.

    Source: Polyak & Juditsky, 1992; the start is that of
    `torch.optim.swa_utils.AveragedModel`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.sgd(1.0), optim.param_ema(0.5))
        >>> params = {"w": mx.array(0.0)}
        >>> opt_state = optimizer.init(params)
        >>> for _ in range(2):
        ...     grads = {"w": mx.array(1.0)}
        ...     updates, opt_state = optimizer.update(grads, opt_state, params)
        ...     params = optim.apply_updates(params, updates)
        >>> optim.averaged_params(opt_state)
        {'w': array(-1.5, dtype=float32)}
    """
    caller = "param_ema"
    decay = check_scalar(caller, "decay", decay, at_least=0, below=1)

    def init(params: Params, /) -> ParamEmaState:
        return ParamEmaState(zero_count(), copies(params))

    def update(
        grads: Tree, opt_state: ParamEmaState, params: Params, /
    ) -> tuple[Tree, ParamEmaState]:
        decay_t, weight = decay_from_second(opt_state.step, decay, precision(params))
        averages = leaves.map(
            lambda a, p, u: average(decay_t, a, (p + u).astype(p.dtype), weight=weight),
            opt_state.average,
            params,
            grads,
            caller=f"{caller} (state, params and updates)",
        )
        return grads, ParamEmaState(increment(opt_state.step), averages)

    return stateful(caller, ParamEmaState, init, update)


def swa(*, start: int = 0, period: int = 1) -> GradientTransformation:
    """Stochastic weight averaging (SWA): the mean of the params; updates are unchanged.

    The mean is over the params after update `start`, counted from 0, and after every
    `period`-th update from there on. Before that it equals the params. Put it last in a
    chain, where the updates are final, and evaluate at `averaged_params(opt_state)`,
    for which the running statistics of batch norms must be estimated again.

    Args:
        start: the first update that is averaged, at least 0.
        period: updates from one that is averaged to the next, at least 1; often the
            steps of an epoch.

    Raises:
        ValueError: if `start` or `period` is out of its range.
        TypeError: if one is not an integer.

    Source: Izmailov et al., 2018, https://arxiv.org/abs/1803.05407, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.sgd(0.1), optim.swa(start=1000, period=100))
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    start = check_count("swa", "start", start, at_least=0)
    period = check_count("swa", "period", period)

    def init(params: Params, /) -> SwaState:
        return SwaState(mx.array(start, mx.int32), zero_count(), copies(params))

    def update(
        grads: Tree, opt_state: SwaState, params: Params, /
    ) -> tuple[Tree, SwaState]:
        wait, averaged, _ = opt_state
        chosen = wait == 0
        averaged = mx.where(chosen, increment(averaged), averaged)
        count = mx.maximum(averaged, 1).astype(precision(params))
        weight = mx.where(mx.logical_or(chosen, averaged == 0), 1 / count, 0.0)
        weight, decay = end_kernel(weight), end_kernel(1 - weight)
        averages = leaves.map(
            lambda a, p, u: average(decay, a, p + u, weight=weight),
            opt_state.average,
            params,
            grads,
            caller="swa (state, params and updates)",
        )
        wait = mx.where(chosen, period, wait) - 1
        return grads, SwaState(wait, averaged, averages)

    return stateful("swa", SwaState, init, update)


def averaged_params(opt_state: Any) -> Params:
    """The average of the params that `param_ema` or `swa` keeps.

    Before the first update, the initial params.

    Args:
        opt_state: the state of an optimizer with `param_ema` or `swa` in it.

    Returns:
        A tree like the params, in float32 at least.

    Raises:
        ValueError: unless the state holds exactly one average, and is not sharded by
            `zero_redundancy`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.adam(1e-3), optim.param_ema(0.999))
        >>> optim.averaged_params(optimizer.init({"w": mx.array(2.0)}))
        {'w': array(2, dtype=float32)}
    """
    caller = "averaged_params"
    check_whole(caller, opt_state)
    averaged: Params = states.find_one(
        caller, opt_state, ParamEmaState, SwaState
    ).average
    return averaged
