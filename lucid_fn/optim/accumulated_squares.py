"""Adagrad and Adadelta: scaled by all squares, or by those of the updates."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain
from lucid_fn.optim.checks import (
    Scalar,
    check_at_least_0,
    check_decay,
    check_positive,
    is_zero,
    reports_as_itself,
)
from lucid_fn.optim.descent import (
    ScalarOrSchedule,
    as_schedule,
    scale_by_learning_rate,
)
from lucid_fn.optim.moments import (
    average_square,
    zeros,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Tree


class ScaleByAdagradState(NamedTuple):
    """The sum of the squares of all gradients."""

    nu: Tree  # float32 at least


class ScaleByAdadeltaState(NamedTuple):
    """Mean squares of the gradients and of the updates."""

    nu: Tree  # float32 at least
    delta: Tree  # float32 at least


def scale_by_adagrad(
    initial: Scalar = 0.0, *, eps: Scalar = 1e-10
) -> GradientTransformation:
    """Divides by the root of the sum of all squares: `g / (sqrt(v) + eps)`.

    `v = v + g**2`.

    Args:
        initial: the first `v`, at least 0.
        eps: added to the root, outside it; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Duchi et al., 2011, https://jmlr.org/papers/v12/duchi11a.html, figure 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_adagrad()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    initial = check_at_least_0("scale_by_adagrad", "initial", initial)
    eps = check_positive("scale_by_adagrad", "eps", eps)

    def init(params: Params, /) -> ScaleByAdagradState:
        return ScaleByAdagradState(leaves.map(lambda z: z + initial, zeros(params)))

    def update(
        grads: Tree, opt_state: ScaleByAdagradState, params: Params, /
    ) -> tuple[Tree, ScaleByAdagradState]:
        nu = leaves.map(
            lambda v, g: v + mx.square(g.astype(v.dtype)),
            opt_state.nu,
            grads,
            caller="scale_by_adagrad (state and grads)",
        )
        updates = leaves.map(
            lambda v, g: (g / (mx.sqrt(v) + eps)).astype(g.dtype), nu, grads
        )
        return updates, ScaleByAdagradState(nu)

    return GradientTransformation(init, update)


def scale_by_adadelta(
    decay: Scalar = 0.9, *, eps: Scalar = 1e-6
) -> GradientTransformation:
    """Gives gradients the unit of the params: `g * sqrt(d + eps) / sqrt(v + eps)`.

    `v` is the running mean of the squares of the gradients, and `d` that of the
    squares of the updates before this one.

    Args:
        decay: of both means, in [0, 1).
        eps: added inside the roots; positive. It makes the first updates.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zeiler, 2012, https://arxiv.org/abs/1212.5701, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_adadelta()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    decay = check_decay("scale_by_adadelta", "decay", decay)
    eps = check_positive("scale_by_adadelta", "eps", eps)

    def init(params: Params, /) -> ScaleByAdadeltaState:
        return ScaleByAdadeltaState(zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByAdadeltaState, params: Params, /
    ) -> tuple[Tree, ScaleByAdadeltaState]:
        nu = leaves.map(
            lambda v, g: average_square(decay, v, g),
            opt_state.nu,
            grads,
            caller="scale_by_adadelta (state and grads)",
        )
        deltas = leaves.map(
            lambda v, d, g: mx.sqrt(d + eps) / mx.sqrt(v + eps) * g.astype(v.dtype),
            nu,
            opt_state.delta,
            grads,
        )
        squares = leaves.map(
            lambda d, x: average_square(decay, d, x), opt_state.delta, deltas
        )
        updates = leaves.map(lambda x, g: x.astype(g.dtype), deltas, grads)
        return updates, ScaleByAdadeltaState(nu, squares)

    return GradientTransformation(init, update)


@reports_as_itself
def adagrad(
    learning_rate: ScalarOrSchedule,
    *,
    lr_decay: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
    initial: Scalar = 0.0,
    eps: Scalar = 1e-10,
) -> GradientTransformation:
    """Gradients divided by the root of the sum of all squares so far.

    `p -= learning_rate / (1 + t * lr_decay) * g / (sqrt(v) + eps)`, `t` from 0, as
    in `torch.optim.Adagrad`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        lr_decay: how fast the learning rate falls, at least 0. Above 0 it makes a
            schedule, so that the learning rate cannot be set.
        weight_decay: factor of the L2 penalty, at least 0.
        initial: the first sum, at least 0; PyTorch's `initial_accumulator_value`.
        eps: added to the root, outside it; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Duchi et al., 2011, https://jmlr.org/papers/v12/duchi11a.html, figure 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adagrad(1e-2)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    lr_decay = check_at_least_0("adagrad", "lr_decay", lr_decay)
    rate = as_schedule("adagrad", learning_rate)

    def falling(step: Array) -> Array:
        return rate(step) / (1 + step * lr_decay)

    return chain(
        add_decayed_weights(weight_decay),
        scale_by_adagrad(initial, eps=eps),
        scale_by_learning_rate(learning_rate if is_zero(lr_decay) else falling),
    )


@reports_as_itself
def adadelta(
    learning_rate: ScalarOrSchedule = 1.0,
    *,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-6,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Updates whose size follows that of the latest ones, as `torch.optim.Adadelta`.

    `p -= learning_rate * g * sqrt(d + eps) / sqrt(v + eps)`; see `scale_by_adadelta`.

    Args:
        learning_rate: at least 0, or a schedule of the step; 1 in the paper.
        decay: of both mean squares, in [0, 1); PyTorch's `rho`.
        eps: added inside the roots; positive.
        weight_decay: factor of the L2 penalty, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zeiler, 2012, https://arxiv.org/abs/1212.5701, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adadelta()
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        add_decayed_weights(weight_decay),
        scale_by_adadelta(decay, eps=eps),
        scale_by_learning_rate(learning_rate),
    )
