"""NAdam: Adam with Nesterov momentum."""

import math
from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_bool, check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    bias_correction,
    check_moments,
    exp,
    increment,
    precision,
    update_moments,
    zero_count,
    zeros,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByNadamState(NamedTuple):
    """First and second moment of the gradients, and the product of all momenta."""

    step: Array  # int32, shape (): updates made so far
    log_product: Array  # float32 at least, shape (): its logarithm
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_nadam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    *,
    eps: Scalar = 1e-8,
    momentum_decay: Scalar = 4e-3,
) -> GradientTransformation:
    """NAdam's direction: Adam's with Nesterov momentum, which warms up to `b1`.

    With `b(t) = b1 * (1 - 0.96**(t * momentum_decay) / 2)`, and `B(t)` the product of
    `b(1)` to `b(t)`, the first moment in Adam's update is replaced by
    `g * (1 - b(t)) / (1 - B(t)) + m * b(t + 1) / (1 - B(t + 1))`.

    Args:
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added outside the square root; positive.
        momentum_decay: speed of the momentum's warm-up, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Dozat, 2016, "Incorporating Nesterov momentum into Adam", algorithm 2; the
    warm-up is PyTorch's.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_nadam()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_nadam"
    b1, b2, eps = check_moments(caller, b1, b2, eps)
    momentum_decay = check_scalar(caller, "momentum_decay", momentum_decay, at_least=0)

    def momentum(step: Array) -> tuple[Array, Array]:
        """`b(t)` and `1 - b(t)`, the latter as a sum of positive numbers."""
        half = 0.5 * exp(step * (momentum_decay * math.log(0.96)))
        return b1 * (1 - half), (1 - b1) + b1 * half

    def init(params: Params, /) -> ScaleByNadamState:
        log_product = mx.zeros((), precision(params))
        return ScaleByNadamState(
            zero_count(), log_product, zeros(params), zeros(params)
        )

    def update(
        grads: Tree, opt_state: ScaleByNadamState, params: Params, /
    ) -> tuple[Tree, ScaleByNadamState]:
        step = increment(opt_state.step)
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, grads)
        dtype = opt_state.log_product.dtype
        t = step.astype(dtype)
        (_, weight), (next_b, next_weight) = momentum(t), momentum(t + 1)
        log_product = opt_state.log_product + mx.log1p(-weight)
        next_log_product = log_product + mx.log1p(-next_weight)
        grad_scale = end_kernel(weight / -mx.expm1(log_product))
        mean_scale = end_kernel(next_b / -mx.expm1(next_log_product))
        root_scale = end_kernel(mx.rsqrt(bias_correction(b2, step, dtype)))

        def ratio(m: Array, v: Array, g: Array) -> Array:
            numerator = grad_scale * g.astype(m.dtype) + mean_scale * m
            return (numerator / (mx.sqrt(v) * root_scale + eps)).astype(g.dtype)

        updates = leaves.map(ratio, mu, nu, grads)
        return updates, ScaleByNadamState(step, log_product, mu, nu)

    return stateful(caller, ScaleByNadamState, init, update)


@errors_named_after
def nadam(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    momentum_decay: Scalar = 4e-3,
    decoupled_weight_decay: bool = False,
) -> GradientTransformation:
    """NAdam: Adam with Nesterov momentum, as `torch.optim.NAdam`.

    `p -= learning_rate * u` with the update `u` of `scale_by_nadam`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added outside the square root; positive.
        weight_decay: factor of the L2 penalty, at least 0.
        momentum_decay: speed of the momentum's warm-up, at least 0.
        decoupled_weight_decay: whether to decay by `p *= 1 - learning_rate *
            weight_decay` instead of the penalty, as in `adamw`.

    Raises:
        ValueError: if a number is out of its range.

    Source: Dozat, 2016, "Incorporating Nesterov momentum into Adam", algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.nadam(2e-3)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    check_bool("nadam", decoupled_weight_decay=decoupled_weight_decay)
    coupled = 0.0 if decoupled_weight_decay else weight_decay
    decoupled = weight_decay if decoupled_weight_decay else 0.0
    return chain(
        add_decayed_weights(coupled),
        scale_by_nadam(b1, b2, eps=eps, momentum_decay=momentum_decay),
        scale_by_learning_rate(learning_rate, weight_decay=decoupled),
    )
