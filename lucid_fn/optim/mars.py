"""MARS: Adam on variance-reduced gradients."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    check_moments,
    increment,
    precision,
    unbiased_ratio,
    update_moments,
    zero_count,
    zeros,
)
from lucid_fn.optim.norms import norm
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByMarsState(NamedTuple):
    """Adam's moments of the corrected gradients, and the previous gradients."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least
    grads: Tree  # float32 at least: of the previous step


def scale_by_mars(
    b1: Scalar = 0.95,
    b2: Scalar = 0.99,
    *,
    eps: Scalar = 1e-8,
    gamma: Scalar = 0.025,
) -> GradientTransformation:
    """MARS's direction: Adam's, on gradients corrected by their latest change.

    `c = g + gamma * b1 / (1 - b1) * (g - g_last)`, divided by `max(1, norm(c))` for
    each array, replaces the gradient in `scale_by_adam`. At the first step `c = g`.

    Args:
        b1: decay of the mean, in [0, 1).
        b2: decay of the mean square, in [0, 1).
        eps: added outside the square root; positive.
        gamma: strength of the correction, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Yuan et al., 2024, https://arxiv.org/abs/2411.10438, algorithm 2 with the
    gradient of the previous step instead of one at the previous params (MARS-approx).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_mars()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_mars"
    b1, b2, eps = check_moments(caller, b1, b2, eps)
    gamma = check_scalar(caller, "gamma", gamma, at_least=0)
    strength = gamma * b1 / (1 - b1)

    def init(params: Params, /) -> ScaleByMarsState:
        return ScaleByMarsState(
            zero_count(), zeros(params), zeros(params), zeros(params)
        )

    def update(
        grads: Tree, opt_state: ScaleByMarsState, params: Params, /
    ) -> tuple[Tree, ScaleByMarsState]:
        step = increment(opt_state.step)
        later = mx.array(strength, precision(grads))
        weight = end_kernel(mx.where(opt_state.step == 0, 0.0, later))

        def corrected(old: Array, g: Array) -> Array:
            g = g.astype(old.dtype)
            c = g + weight.astype(old.dtype) * (g - old)
            return c / mx.maximum(norm(c), 1.0)

        names = f"{caller} (state and grads)"
        c = leaves.map(corrected, opt_state.grads, grads, caller=names)
        latest = leaves.map(lambda old, g: g.astype(old.dtype), opt_state.grads, grads)
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, c)
        updates = unbiased_ratio(b1, b2, eps, step, mu, nu, grads)
        return updates, ScaleByMarsState(step, mu, nu, latest)

    return stateful(caller, ScaleByMarsState, init, update)


@errors_named_after
def mars(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.95,
    b2: Scalar = 0.99,
    eps: Scalar = 1e-8,
    gamma: Scalar = 0.025,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """MARS: AdamW on variance-reduced gradients.

    `p *= 1 - learning_rate * weight_decay`, then `p -= learning_rate * u` with the
    update `u` of `scale_by_mars`.

    Args:
        learning_rate: at least 0, or a schedule of the step; the paper's is 3e-3.
        b1: decay of the mean, in [0, 1).
        b2: decay of the mean square, in [0, 1).
        eps: added outside the square root; positive.
        gamma: strength of the correction, at least 0; 0 gives AdamW on clipped
            gradients.
        weight_decay: decoupled weight decay, multiplied by the learning rate; at
            least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Yuan et al., 2024, https://arxiv.org/abs/2411.10438, algorithm 2
    (MARS-AdamW, MARS-approx).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.mars(3e-3, weight_decay=0.01)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_mars(b1, b2, eps=eps, gamma=gamma),
        scale_by_learning_rate(learning_rate, weight_decay=weight_decay),
    )
