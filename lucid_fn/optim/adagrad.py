"""Adagrad: gradients divided by the root of the sum of their squares."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import (
    ScalarOrSchedule,
    as_schedule,
    scale_by_learning_rate,
)
from lucid_fn.optim.moments import is_zero, zeros
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.schedules.base import as_float
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByAdagradState(NamedTuple):
    """The sum of the squares of all gradients."""

    nu: Tree  # float32 at least


def scale_by_adagrad(
    initial: Scalar = 0.0, *, eps: Scalar = 1e-10
) -> GradientTransformation:
    """Adagrad's direction: `g / (sqrt(v) + eps)` with `v = v + g**2`.

    Args:
        initial: initial value of `v`, at least 0.
        eps: added outside the square root; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Duchi et al., 2011, https://jmlr.org/papers/v12/duchi11a.html, figure 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_adagrad()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_adagrad"
    initial = check_scalar(caller, "initial", initial, at_least=0)
    eps = check_scalar(caller, "eps", eps, above=0)

    def init(params: Params, /) -> ScaleByAdagradState:
        return ScaleByAdagradState(zeros(params, initial))

    def update(
        grads: Tree, opt_state: ScaleByAdagradState, params: Params, /
    ) -> tuple[Tree, ScaleByAdagradState]:
        nu = leaves.map(
            lambda v, g: v + mx.square(g.astype(v.dtype)),
            opt_state.nu,
            grads,
            caller=f"{caller} (state and grads)",
        )
        updates = leaves.map(
            lambda v, g: (g / (mx.sqrt(v) + eps)).astype(g.dtype), nu, grads
        )
        return updates, ScaleByAdagradState(nu)

    return stateful(caller, ScaleByAdagradState, init, update)


@errors_named_after
def adagrad(
    learning_rate: ScalarOrSchedule,
    *,
    lr_decay: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
    initial: Scalar = 0.0,
    eps: Scalar = 1e-10,
) -> GradientTransformation:
    """Adagrad: gradients divided by the root of the sum of their squares so far.

    `p -= learning_rate / (1 + t * lr_decay) * g / (sqrt(v) + eps)`, `t` from 0, as
    `torch.optim.Adagrad`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        lr_decay: decay of the learning rate, at least 0. If positive, the learning rate
            is a schedule and cannot be set.
        weight_decay: factor of the L2 penalty, at least 0.
        initial: initial value of `v`, at least 0; PyTorch's
            `initial_accumulator_value`.
        eps: added outside the square root; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Duchi et al., 2011, https://jmlr.org/papers/v12/duchi11a.html, figure 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adagrad(1e-2)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    lr_decay = check_scalar("adagrad", "lr_decay", lr_decay, at_least=0)
    rate = as_schedule("adagrad", learning_rate)

    def decayed(step: Array) -> Array:
        return rate(step) / (1 + as_float(step) * lr_decay)

    return chain(
        add_decayed_weights(weight_decay),
        scale_by_adagrad(initial, eps=eps),
        scale_by_learning_rate(learning_rate if is_zero(lr_decay) else decayed),
    )
