"""AdaBelief and Yogi: Adam with a second moment of another kind."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain
from lucid_fn.optim.checks import (
    Scalar,
    check_at_least_0,
    check_decay,
    check_positive,
    reports_as_itself,
)
from lucid_fn.optim.descent import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import average, average_square, unbiased_ratio, zeros
from lucid_fn.types import Array, Params, Tree


class ScaleByBeliefState(NamedTuple):
    """The mean of the gradients, and that of the squares of their distances to it."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


class ScaleByYogiState(NamedTuple):
    """The mean of the gradients, and a second moment that changes slowly."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_belief(
    b1: Scalar = 0.9, b2: Scalar = 0.999, *, eps: Scalar = 1e-16
) -> GradientTransformation:
    """Adam that divides by how far gradients are from their mean.

    `m = b1 * m + (1 - b1) * g`, `s = b2 * s + (1 - b2) * (g - m)**2 + eps`; at step
    `t`, counted from 1, the update is
    `m / (1 - b1**t) / (sqrt(s) / sqrt(1 - b2**t) + eps)`.

    Args:
        b1: decay of the mean, in [0, 1).
        b2: decay of the squares of the distances, in [0, 1).
        eps: added to these squares at each step, and to the root; positive.

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
    b1, b2 = check_decay(caller, "b1", b1), check_decay(caller, "b2", b2)
    eps = check_positive(caller, "eps", eps)

    def init(params: Params, /) -> ScaleByBeliefState:
        return ScaleByBeliefState(mx.array(0, mx.int32), zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByBeliefState, params: Params, /
    ) -> tuple[Tree, ScaleByBeliefState]:
        step = opt_state.step + 1
        mu = leaves.map(
            lambda m, g: average(b1, m, g),
            opt_state.mu,
            grads,
            caller=f"{caller} (state and grads)",
        )
        nu = leaves.map(
            lambda s, m, g: average_square(b2, s, g.astype(m.dtype) - m) + eps,
            opt_state.nu,
            mu,
            grads,
        )
        updates = unbiased_ratio(b1, b2, eps, step, mu, nu, grads)
        return updates, ScaleByBeliefState(step, mu, nu)

    return GradientTransformation(init, update)


def scale_by_yogi(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    *,
    eps: Scalar = 1e-3,
    initial: Scalar = 1e-6,
) -> GradientTransformation:
    """Adam whose second moment changes by the square of the gradient at most.

    `m = b1 * m + (1 - b1) * g`, `v = v - (1 - b2) * sign(v - g**2) * g**2`; at step
    `t`, counted from 1, the update is
    `m / (1 - b1**t) / (sqrt(v) / sqrt(1 - b2**t) + eps)`.

    Args:
        b1: decay of the mean, in [0, 1).
        b2: how slowly the second moment changes, in [0, 1).
        eps: added to the root, outside it; positive.
        initial: the first `v`, at least 0.

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
    b1, b2 = check_decay(caller, "b1", b1), check_decay(caller, "b2", b2)
    eps = check_positive(caller, "eps", eps)
    initial = check_at_least_0(caller, "initial", initial)

    def init(params: Params, /) -> ScaleByYogiState:
        nu = leaves.map(lambda z: z + initial, zeros(params))
        return ScaleByYogiState(mx.array(0, mx.int32), zeros(params), nu)

    def update(
        grads: Tree, opt_state: ScaleByYogiState, params: Params, /
    ) -> tuple[Tree, ScaleByYogiState]:
        def follow(v: Array, g: Array) -> Array:
            square = mx.square(g.astype(v.dtype))
            return v - (1 - b2) * mx.sign(v - square) * square

        step = opt_state.step + 1
        mu = leaves.map(
            lambda m, g: average(b1, m, g),
            opt_state.mu,
            grads,
            caller=f"{caller} (state and grads)",
        )
        nu = leaves.map(follow, opt_state.nu, grads)
        updates = unbiased_ratio(b1, b2, eps, step, mu, nu, grads)
        return updates, ScaleByYogiState(step, mu, nu)

    return GradientTransformation(init, update)


@reports_as_itself
def adabelief(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Adam with long steps where gradients are as expected; decoupled weight decay.

    `p -= learning_rate / (1 - b1**t) * m / (sqrt(s) / sqrt(1 - b2**t) + eps)`, where
    `s` is the mean of `(g - m)**2`; see `scale_by_belief`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the mean, in [0, 1).
        b2: decay of the squares of the distances, in [0, 1).
        eps: added to these squares at each step, and to the root; positive.
        weight_decay: part of the parameter taken off in a step, in units of the
            learning rate; at least 0.

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


@reports_as_itself
def yogi(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-3,
    initial: Scalar = 1e-6,
) -> GradientTransformation:
    """Adam whose steps do not grow fast where gradients become small.

    `p -= learning_rate / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)`; see
    `scale_by_yogi` for `v`.

    Args:
        learning_rate: at least 0, or a schedule of the step; 0.01 in the paper.
        b1: decay of the mean, in [0, 1).
        b2: how slowly the second moment changes, in [0, 1).
        eps: added to the root, outside it; positive.
        initial: the first `v`, at least 0.

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
