"""Schedule-free optimizers: an average of the params in place of a falling rate.

Three sequences: `z` makes the steps, `x` is the average of all `z`, and `y`, between
them, is where gradients are taken. The params of training are `y`; what to evaluate is
`x`, which `schedule_free_params` computes.
"""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.optim import leaves, states
from lucid_fn.optim.base import GradientTransformation, chain, check_transformation
from lucid_fn.optim.checks import (
    Scalar,
    check_decay,
    reports_as_itself,
)
from lucid_fn.optim.descent import RateState, ScalarOrSchedule, rate_of
from lucid_fn.optim.mean_squares import scale_by_rms
from lucid_fn.optim.moments import copies, once
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Tree


class ScheduleFreeState(NamedTuple):
    """The sequence `z`, and what the weights of the average need."""

    rate: RateState
    largest_rate: Array  # float32, shape (): so far
    weight_sum: Array  # float32, shape ()
    b1: Array  # float32, shape (): how near y is to x
    z: Tree  # float32 at least
    inner: Any


def schedule_free(
    direction: GradientTransformation, learning_rate: ScalarOrSchedule, *, b1: Scalar
) -> GradientTransformation:
    """Steps of `z` along a direction, averaged.

    `z -= learning_rate * d`, `x = (1 - c) * x + c * z`, `y = (1 - b1) * z + b1 * x`,
    where the weight `c` of a step is its part in the sum of the squares of the largest
    learning rates so far.

    Args:
        direction: makes `d` of the gradient at `y`.
        learning_rate: at least 0, or a schedule of the step: a warm-up, if any.
        b1: how near `y` is to `x`, in (0, 1).

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if an argument is of another kind.

    Source: Defazio et al., 2024, https://arxiv.org/abs/2405.15682, algorithm 1; the
    weights are those of the authors' code.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.schedule_free(optim.scale_by_lion(), 1e-3, b1=0.9)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    check_transformation("schedule_free", "direction", direction)
    rate = rate_of("schedule_free", learning_rate)
    b1 = check_decay("schedule_free", "b1", b1)
    if not isinstance(b1, mx.array) and b1 == 0:
        raise ValueError(
            "schedule_free: b1 must be in (0, 1), got 0; without the average in it, y "
            "does not tell x"
        )

    def init(params: Params, /) -> ScheduleFreeState:
        return ScheduleFreeState(
            rate=rate.init(params),
            largest_rate=mx.array(0.0),
            weight_sum=mx.array(0.0),
            b1=mx.array(b1, mx.float32),
            z=copies(params),
            inner=direction.init(params),
        )

    def update(
        grads: Tree, opt_state: ScheduleFreeState, params: Params, /
    ) -> tuple[Tree, ScheduleFreeState]:
        directions, inner = direction.update(grads, opt_state.inner, params)
        value, rate_state = rate.next(opt_state.rate)
        largest = mx.maximum(value, opt_state.largest_rate)
        weight = mx.square(largest)
        weight_sum = opt_state.weight_sum + weight
        # A warm-up may begin at 0, and then there is nothing to weigh yet.
        c = once(mx.where(weight_sum > 0, weight / mx.maximum(weight_sum, 1e-38), 0.0))
        along = once(value * (b1 * (1 - c) - 1))

        def move(d: Array, z: Array, y: Array) -> Array:
            return (c * (z - y) + along * d).astype(d.dtype)

        caller = "schedule_free (grads, state and params)"
        updates = leaves.map(move, directions, opt_state.z, params, caller=caller)
        z = leaves.map(lambda z, d: z - value * d, opt_state.z, directions)
        return updates, ScheduleFreeState(
            rate_state, largest, weight_sum, opt_state.b1, z, inner
        )

    return GradientTransformation(init, update)


def schedule_free_params(opt_state: Any, params: Params) -> Params:
    """The params to evaluate and to keep: the average `x`, from `y` and `z`.

    Args:
        opt_state: the state of a schedule-free optimizer.
        params: those of training, `y`, as they are with this state.

    Returns:
        A tree like the params.

    Raises:
        ValueError: unless the state holds exactly one schedule-free optimizer, or if
            the structures differ.

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
    found: ScheduleFreeState = states.find_one(
        opt_state, (ScheduleFreeState,), "schedule_free_params"
    )
    weight = once(1 - 1 / found.b1)
    averaged: Params = leaves.map(
        lambda y, z: (y + weight * (z - y)).astype(y.dtype),
        params,
        found.z,
        caller="schedule_free_params (params and state)",
    )
    return averaged


@reports_as_itself
def schedule_free_sgd(
    learning_rate: ScalarOrSchedule, *, b1: Scalar = 0.9, weight_decay: Scalar = 0.0
) -> GradientTransformation:
    """Gradient descent with averaging in place of momentum and of a schedule.

    Evaluate at `schedule_free_params(opt_state, params)`; batch norms need their
    running statistics estimated again there.

    Args:
        learning_rate: at least 0, or a warm-up; best larger than with a schedule.
        b1: how near to the average gradients are taken, in (0, 1).
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


@reports_as_itself
def schedule_free_adamw(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """AdamW with averaging in place of momentum and of a schedule.

    Evaluate at `schedule_free_params(opt_state, params)`; batch norms need their
    running statistics estimated again there.

    Args:
        learning_rate: at least 0, or a warm-up; best larger than with a schedule.
        b1: how near to the average gradients are taken, in (0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root, outside it; positive.
        weight_decay: weight of the params of training in a step, at least 0.

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
    b2 = check_decay("schedule_free_adamw", "b2", b2)  # the part calls it decay
    direction = chain(
        scale_by_rms(b2, eps=eps, unbiased=True), add_decayed_weights(weight_decay)
    )
    return schedule_free(direction, learning_rate, b1=b1)
