"""Adamax: Adam scaled by the infinity norm."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    bias_correction,
    check_moments,
    first_moment,
    increment,
    precision,
    zero_count,
    zeros,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByAdamaxState(NamedTuple):
    """Running mean and exponentially weighted infinity norm of the gradients."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_adamax(
    b1: Scalar = 0.9, b2: Scalar = 0.999, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """Adamax's direction: the first moment divided by a decaying maximum.

    `m = b1 * m + (1 - b1) * g`, `u = max(b2 * u, |g| + eps)`; at step `t`, counted
    from 1, the update is `m / (1 - b1**t) / u`.

    Args:
        b1: decay of the first moment, in [0, 1).
        b2: decay of the maximum, in [0, 1).
        eps: added to the absolute value; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Kingma & Ba, 2015, https://arxiv.org/abs/1412.6980, algorithm 2; `eps` is
    PyTorch's.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_adamax()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_adamax"
    b1, b2, eps = check_moments(caller, b1, b2, eps)

    def init(params: Params, /) -> ScaleByAdamaxState:
        return ScaleByAdamaxState(zero_count(), zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByAdamaxState, params: Params, /
    ) -> tuple[Tree, ScaleByAdamaxState]:
        step = increment(opt_state.step)
        mu = first_moment(caller, b1, opt_state.mu, grads)

        def decaying_maximum(u: Array, g: Array) -> Array:
            return mx.maximum(b2 * u, mx.abs(g.astype(u.dtype)) + eps).astype(u.dtype)

        nu = leaves.map(decaying_maximum, opt_state.nu, grads)
        scale = end_kernel(1 / bias_correction(b1, step, precision(mu)))
        updates = leaves.map(
            lambda m, u, g: (scale * m / u).astype(g.dtype), mu, nu, grads
        )
        return updates, ScaleByAdamaxState(step, mu, nu)

    return stateful(caller, ScaleByAdamaxState, init, update)


@errors_named_after
def adamax(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Adamax: Adam with the infinity norm in place of the root mean square.

    `p -= learning_rate / (1 - b1**t) * m / u`, as `torch.optim.Adamax`; see
    `scale_by_adamax`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the maximum, in [0, 1).
        eps: added to the absolute value; positive.
        weight_decay: factor of the L2 penalty, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Kingma & Ba, 2015, https://arxiv.org/abs/1412.6980, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adamax(2e-3)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        add_decayed_weights(weight_decay),
        scale_by_adamax(b1, b2, eps=eps),
        scale_by_learning_rate(learning_rate),
    )
