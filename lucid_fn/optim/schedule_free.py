"""Schedule-free optimizers: averaging of the params instead of a decaying rate.

There are three sequences: `z` makes the steps, `x` is a weighted average of all `z`,
and gradients are taken at `y`, which lies between the two. The params of training are
`y`; those to evaluate are `x`, which `schedule_free_params` computes.
"""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves, states
from lucid_fn.optim.base import (
    GradientTransformation,
    chain,
    check_transformation,
    stateful,
)
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import RateState, ScalarOrSchedule, rate_of
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import copies, precision
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.optim.rmsprop import scale_by_rms
from lucid_fn.optim.zero_redundancy import check_whole
from lucid_fn.types import Array, Params, Scalar, Tree


class ScheduleFreeState(NamedTuple):
    """The sequence `z`, and the sums that determine the weights of the average."""

    rate: RateState
    largest_rate: Array  # float32 at least, shape (): so far
    weight_sum: Array  # float32 at least, shape (): in units of the latest weight
    extrapolation: Array  # float32 at least, shape (): (1 - b1) / b1
    z: Tree  # float32 at least
    inner: Any


def schedule_free(
    direction: GradientTransformation, learning_rate: ScalarOrSchedule, *, b1: Scalar
) -> GradientTransformation:
    """Schedule-free learning with any direction, such as `scale_by_rms`.

    `z -= learning_rate * d`, `x = (1 - c) * x + c * z`, `y = (1 - b1) * z + b1 * x`,
    where the weight `c` of a step is the square of the maximum learning rate so far,
    divided by the sum of these squares.

    Args:
        direction: maps the gradient at `y` to `d`.
        learning_rate: at least 0, or a schedule of the step, such as a warm-up.
        b1: weight of `x` in `y`, in (0, 1).

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if an argument is of the wrong type.

    Source: Defazio et al., 2024, https://arxiv.org/abs/2405.15682, algorithm 1; the
    weights are those of the authors' code.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.schedule_free(optim.scale_by_lion(), 1e-3, b1=0.9)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    caller = "schedule_free"
    check_transformation(caller, "direction", direction)
    rate = rate_of(caller, learning_rate)
    b1 = check_scalar(caller, "b1", b1, above=0, below=1)

    def init(params: Params, /) -> ScheduleFreeState:
        dtype = precision(params)
        return ScheduleFreeState(
            rate=rate.init(params),
            largest_rate=mx.zeros((), dtype),
            weight_sum=mx.zeros((), dtype),
            extrapolation=mx.array((1 - b1) / b1, dtype),
            z=copies(params),
            inner=direction.init(params),
        )

    def update(
        grads: Tree, opt_state: ScheduleFreeState, params: Params, /
    ) -> tuple[Tree, ScheduleFreeState]:
        directions, inner = direction.update(grads, opt_state.inner, params)
        value, rate_state = rate.next(opt_state.rate)
        largest = mx.maximum(value, opt_state.largest_rate)
        # In units of the latest weight, the sum counts steps exactly once the rate no
        # longer rises. All weights are 0 while a warm-up starts at 0.
        positive = largest > 0
        unit = mx.square(opt_state.largest_rate / mx.where(positive, largest, 1.0))
        weight_sum = opt_state.weight_sum * unit + positive
        c = end_kernel(mx.where(positive, 1 / mx.maximum(weight_sum, 1.0), 0.0))
        step_size = end_kernel(-value * ((1 - b1) + b1 * c))

        def move(d: Array, z: Array, y: Array) -> Array:
            return (c * (z - y) + step_size * d).astype(d.dtype)

        updates = leaves.map(
            move,
            directions,
            opt_state.z,
            params,
            caller=f"{caller} (grads, state and params)",
        )
        z = leaves.map(
            lambda z, d: (z - value * d).astype(z.dtype), opt_state.z, directions
        )
        return updates, ScheduleFreeState(
            rate_state, largest, weight_sum, opt_state.extrapolation, z, inner
        )

    return stateful(caller, ScheduleFreeState, init, update)


def schedule_free_params(opt_state: Any, params: Params) -> Params:
    """The params to evaluate and to keep: the average `x`, computed from `y` and `z`.

    Args:
        opt_state: the state of a schedule-free optimizer.
        params: those of training, `y`, at the same step as the state.

    Returns:
        A tree like the params.

    Raises:
        ValueError: unless the state holds exactly one schedule-free optimizer, and is
            not sharded by `zero_redundancy`; or if the structures differ.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.schedule_free_sgd(0.5)
        >>> params = {"w": mx.array(1.0)}
        >>> opt_state = optimizer.init(params)
        >>> updates, opt_state = optimizer.update(params, opt_state, params)
        >>> params = optim.apply_updates(params, updates)
        >>> optim.schedule_free_params(opt_state, params)
        {'w': array(0.5, dtype=float32)}
    """
    caller = "schedule_free_params"
    check_whole(caller, opt_state)
    found: ScheduleFreeState = states.find_one(caller, opt_state, ScheduleFreeState)
    averaged: Params = leaves.map(
        lambda y, z: (y + found.extrapolation * (y - z)).astype(y.dtype),
        params,
        found.z,
        caller=f"{caller} (params and state)",
    )
    return averaged


@errors_named_after
def schedule_free_sgd(
    learning_rate: ScalarOrSchedule, *, b1: Scalar = 0.9, weight_decay: Scalar = 0.0
) -> GradientTransformation:
    """Schedule-free SGD: averaging replaces both momentum and schedule.

    Evaluate at `schedule_free_params(opt_state, params)`, for which the running
    statistics of batch norms must be estimated again.

    Args:
        learning_rate: at least 0, or a warm-up; larger than with a schedule.
        b1: weight of the average in the params of training, in (0, 1).
        weight_decay: factor of the L2 penalty at the params of training, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Defazio et al., 2024, https://arxiv.org/abs/2405.15682, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.schedule_free_sgd(1.0)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return schedule_free(add_decayed_weights(weight_decay), learning_rate, b1=b1)


@errors_named_after
def schedule_free_adamw(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Schedule-free AdamW: averaging replaces both momentum and schedule.

    Evaluate at `schedule_free_params(opt_state, params)`, for which the running
    statistics of batch norms must be estimated again.

    Args:
        learning_rate: at least 0, or a warm-up; larger than with a schedule.
        b1: weight of the average in the params of training, in (0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added outside the square root; positive.
        weight_decay: decoupled weight decay at the params of training, multiplied by
            the learning rate; at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Defazio et al., 2024, https://arxiv.org/abs/2405.15682, algorithm 1 with
    the authors' code.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.schedule_free_adamw(2.5e-3)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    # Checked here, because `scale_by_rms` calls it decay.
    b2 = check_scalar("schedule_free_adamw", "b2", b2, at_least=0, below=1)
    direction = chain(
        scale_by_rms(b2, eps=eps, unbiased=True), add_decayed_weights(weight_decay)
    )
    return schedule_free(direction, learning_rate, b1=b1)
