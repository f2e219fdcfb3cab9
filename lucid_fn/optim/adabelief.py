"""AdaBelief: Adam scaled by the belief in the gradient."""

from typing import NamedTuple

from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import (
    average_square,
    check_moments,
    first_moment,
    increment,
    unbiased_ratio,
    zero_count,
    zeros,
)
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByBeliefState(NamedTuple):
    """Running mean and variance of the gradients."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_belief(
    b1: Scalar = 0.9, b2: Scalar = 0.999, *, eps: Scalar = 1e-16
) -> GradientTransformation:
    """AdaBelief's direction: Adam's, with a running variance as second moment.

    `m = b1 * m + (1 - b1) * g`, `s = b2 * s + (1 - b2) * (g - m)**2 + eps`; at step
    `t`, counted from 1, the update is
    `m / (1 - b1**t) / (sqrt(s) / sqrt(1 - b2**t) + eps)`.

    Args:
        b1: decay of the mean, in [0, 1).
        b2: decay of the variance, in [0, 1).
        eps: added to the variance at each step, and to its root; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zhuang et al., 2020, https://arxiv.org/abs/2010.07468, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_belief()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_belief"
    b1, b2, eps = check_moments(caller, b1, b2, eps)

    def init(params: Params, /) -> ScaleByBeliefState:
        return ScaleByBeliefState(zero_count(), zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByBeliefState, params: Params, /
    ) -> tuple[Tree, ScaleByBeliefState]:
        step = increment(opt_state.step)
        mu = first_moment(caller, b1, opt_state.mu, grads)

        def variance(s: Array, m: Array, g: Array) -> Array:
            square = average_square(b2, s, g.astype(m.dtype) - m)
            return (square + eps).astype(s.dtype)

        nu = leaves.map(variance, opt_state.nu, mu, grads)
        updates = unbiased_ratio(b1, b2, eps, step, mu, nu, grads)
        return updates, ScaleByBeliefState(step, mu, nu)

    return stateful(caller, ScaleByBeliefState, init, update)


@errors_named_after
def adabelief(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """AdaBelief: Adam with larger steps where gradients are close to their mean.

    `p *= 1 - learning_rate * weight_decay`, then
    `p -= learning_rate / (1 - b1**t) * m / (sqrt(s) / sqrt(1 - b2**t) + eps)`, where
    `s` is the running mean of `(g - m)**2`; see `scale_by_belief`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the mean, in [0, 1).
        b2: decay of the variance, in [0, 1).
        eps: added to the variance at each step, and to its root; positive.
        weight_decay: decoupled weight decay, multiplied by the learning rate; at
            least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zhuang et al., 2020, https://arxiv.org/abs/2010.07468, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adabelief(1e-3)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_belief(b1, b2, eps=eps),
        scale_by_learning_rate(learning_rate, weight_decay=weight_decay),
    )
