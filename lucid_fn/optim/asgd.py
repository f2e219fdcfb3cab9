"""ASGD: averaged stochastic gradient descent."""

import mlx.core as mx

from lucid_fn.checks import check_count, check_scalar
from lucid_fn.optim.base import GradientTransformation, chain
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import (
    ScalarOrSchedule,
    as_schedule,
    scale_by_learning_rate,
)
from lucid_fn.optim.moments import is_zero
from lucid_fn.optim.param_averages import swa
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.schedules.base import as_float
from lucid_fn.types import Array, Scalar


@errors_named_after
def asgd(
    learning_rate: ScalarOrSchedule,
    *,
    lambd: Scalar = 1e-4,
    alpha: Scalar = 0.75,
    t0: int = 1_000_000,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """ASGD: averaged stochastic gradient descent, as `torch.optim.ASGD`.

    `p = p * (1 - lambd * eta) - eta * g` with
    `eta = learning_rate / (1 + lambd * learning_rate * t)**alpha`, `t` from 0. Evaluate
    at `averaged_params(opt_state)`, PyTorch's `ax`: the mean of the params after each
    step from `t0 + 1` on, and before that the params themselves.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        lambd: decoupled weight decay, multiplied by `eta`, and speed of the decay of
            `eta`; at least 0. If positive, the learning rate is a schedule and cannot
            be set.
        alpha: exponent of the decay of `eta`, at least 0.
        t0: step after which averaging starts, at least 0.
        weight_decay: factor of the L2 penalty, at least 0.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if `t0` is not an integer.

    Source: Polyak & Juditsky, 1992, "Acceleration of stochastic approximation by
    averaging"; the schedule is that of Bottou, 2010, "Large-scale machine learning
    with stochastic gradient descent", section 5.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.asgd(1e-2, t0=0)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    lambd = check_scalar("asgd", "lambd", lambd, at_least=0)
    alpha = check_scalar("asgd", "alpha", alpha, at_least=0)
    t0 = check_count("asgd", "t0", t0, at_least=0)
    rate = as_schedule("asgd", learning_rate)

    def decayed(step: Array) -> Array:
        value = rate(step)
        return value / mx.power(1 + lambd * value * as_float(step), alpha)

    return chain(
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(
            learning_rate if is_zero(lambd) else decayed, weight_decay=lambd
        ),
        swa(start=min(t0 + 1, 2**31 - 1)),
    )
