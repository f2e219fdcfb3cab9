"""Yogi: Adam with additive control of the second moment."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import (
    check_moments,
    first_moment,
    increment,
    unbiased_ratio,
    zero_count,
    zeros,
)
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByYogiState(NamedTuple):
    """The running mean of the gradients, and an additive second moment."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_yogi(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    *,
    eps: Scalar = 1e-3,
    initial: Scalar = 1e-6,
) -> GradientTransformation:
    """Yogi's direction: Adam's, with a second moment that changes by `g**2` at most.

    `m = b1 * m + (1 - b1) * g`, `v = v - (1 - b2) * sign(v - g**2) * g**2`; at step
    `t`, counted from 1, the update is
    `m / (1 - b1**t) / (sqrt(v) / sqrt(1 - b2**t) + eps)`.

    Args:
        b1: decay of the mean, in [0, 1).
        b2: 1 minus the rate at which the second moment changes, in [0, 1).
        eps: added outside the square root; positive.
        initial: initial value of `v`, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zaheer et al., 2018, "Adaptive methods for nonconvex optimization",
    algorithm 2, with the bias corrections of Adam.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_yogi()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_yogi"
    b1, b2, eps = check_moments(caller, b1, b2, eps)
    initial = check_scalar(caller, "initial", initial, at_least=0)

    def init(params: Params, /) -> ScaleByYogiState:
        return ScaleByYogiState(zero_count(), zeros(params), zeros(params, initial))

    def update(
        grads: Tree, opt_state: ScaleByYogiState, params: Params, /
    ) -> tuple[Tree, ScaleByYogiState]:
        def second_moment(v: Array, g: Array) -> Array:
            square = mx.square(g.astype(v.dtype))
            return (v - (1 - b2) * mx.sign(v - square) * square).astype(v.dtype)

        step = increment(opt_state.step)
        mu = first_moment(caller, b1, opt_state.mu, grads)
        nu = leaves.map(second_moment, opt_state.nu, grads)
        updates = unbiased_ratio(b1, b2, eps, step, mu, nu, grads)
        return updates, ScaleByYogiState(step, mu, nu)

    return stateful(caller, ScaleByYogiState, init, update)


@errors_named_after
def yogi(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-3,
    initial: Scalar = 1e-6,
) -> GradientTransformation:
    """Yogi: Adam whose steps do not grow abruptly where gradients become small.

    `p -= learning_rate / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)`; see
    `scale_by_yogi` for `v`.

    Args:
        learning_rate: at least 0, or a schedule of the step; 0.01 in the paper.
        b1: decay of the mean, in [0, 1).
        b2: 1 minus the rate at which the second moment changes, in [0, 1).
        eps: added outside the square root; positive.
        initial: initial value of `v`, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zaheer et al., 2018, "Adaptive methods for nonconvex optimization",
    algorithm 2, with the bias corrections of Adam.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.yogi(1e-2)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_yogi(b1, b2, eps=eps, initial=initial),
        scale_by_learning_rate(learning_rate),
    )
