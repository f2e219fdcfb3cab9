"""Adam's relatives: Adamax and NAdam."""

import math
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
from lucid_fn.optim.moments import (
    average,
    bias_correction,
    once,
    update_moments,
    zeros,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Tree


class ScaleByAdamaxState(NamedTuple):
    """The mean of the gradients and a decaying largest absolute value."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


class ScaleByNadamState(NamedTuple):
    """Moments of the gradient, and the product of the momenta so far."""

    step: Array  # int32, shape (): updates made so far
    momentum_product: Array  # float32, shape ()
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_adamax(
    b1: Scalar = 0.9, b2: Scalar = 0.999, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """Divides the mean of the gradients by a decaying largest absolute value.

    `m = b1 * m + (1 - b1) * g`, `u = max(b2 * u, |g| + eps)`; at step `t`, counted
    from 1, the update is `m / (1 - b1**t) / u`.

    Args:
        b1: decay of the mean, in [0, 1).
        b2: decay of the largest value, in [0, 1).
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
    b1, b2 = check_decay(caller, "b1", b1), check_decay(caller, "b2", b2)
    eps = check_positive(caller, "eps", eps)

    def init(params: Params, /) -> ScaleByAdamaxState:
        return ScaleByAdamaxState(mx.array(0, mx.int32), zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByAdamaxState, params: Params, /
    ) -> tuple[Tree, ScaleByAdamaxState]:
        step = opt_state.step + 1
        mu = leaves.map(
            lambda m, g: average(b1, m, g),
            opt_state.mu,
            grads,
            caller="scale_by_adamax (state and grads)",
        )
        nu = leaves.map(
            lambda u, g: mx.maximum(b2 * u, mx.abs(g.astype(u.dtype)) + eps),
            opt_state.nu,
            grads,
        )
        scale = once(1 / bias_correction(b1, step))
        updates = leaves.map(
            lambda m, u, g: (scale * m / u).astype(g.dtype), mu, nu, grads
        )
        return updates, ScaleByAdamaxState(step, mu, nu)

    return GradientTransformation(init, update)


def scale_by_nadam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    *,
    eps: Scalar = 1e-8,
    momentum_decay: Scalar = 4e-3,
) -> GradientTransformation:
    """Adam with Nesterov's momentum, which warms up to `b1`.

    With `b(t) = b1 * (1 - 0.96**(t * momentum_decay) / 2)`, and `B(t)` the product of
    `b(1)` to `b(t)`, the mean in Adam's update is replaced by
    `g * (1 - b(t)) / (1 - B(t)) + m * b(t + 1) / (1 - B(t + 1))`.

    Args:
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root, outside it; positive.
        momentum_decay: how fast the momentum warms up, at least 0.

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
    b1, b2 = check_decay(caller, "b1", b1), check_decay(caller, "b2", b2)
    eps = check_positive(caller, "eps", eps)
    momentum_decay = check_at_least_0(caller, "momentum_decay", momentum_decay)

    def momentum(step: Array) -> Array:
        return b1 * (1 - 0.5 * mx.exp(step * (momentum_decay * math.log(0.96))))

    def init(params: Params, /) -> ScaleByNadamState:
        return ScaleByNadamState(
            mx.array(0, mx.int32), mx.array(1.0), zeros(params), zeros(params)
        )

    def update(
        grads: Tree, opt_state: ScaleByNadamState, params: Params, /
    ) -> tuple[Tree, ScaleByNadamState]:
        step = opt_state.step + 1
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, grads)
        now, following = momentum(step), momentum(step + 1)
        product = opt_state.momentum_product * now
        of_grad = once((1 - now) / (1 - product))
        of_mean = once(following / (1 - product * following))
        root_scale = once(mx.rsqrt(bias_correction(b2, step)))

        def ratio(m: Array, v: Array, g: Array) -> Array:
            ahead = of_grad * g.astype(m.dtype) + of_mean * m
            return (ahead / (mx.sqrt(v) * root_scale + eps)).astype(g.dtype)

        updates = leaves.map(ratio, mu, nu, grads)
        return updates, ScaleByNadamState(step, product, mu, nu)

    return GradientTransformation(init, update)


@reports_as_itself
def adamax(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Adam with the largest absolute gradient in place of the root mean square.

    `p -= learning_rate / (1 - b1**t) * m / u`, as in `torch.optim.Adamax`; see
    `scale_by_adamax`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the mean, in [0, 1).
        b2: decay of the largest value, in [0, 1).
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


@reports_as_itself
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
    """Adam with Nesterov's momentum, as `torch.optim.NAdam`; see `scale_by_nadam`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root, outside it; positive.
        weight_decay: factor of the L2 penalty, at least 0.
        momentum_decay: how fast the momentum warms up, at least 0.
        decoupled_weight_decay: whether `p *= 1 - learning_rate * weight_decay` takes
            the place of the penalty, as in `adamw`.

    Raises:
        ValueError: if a number is out of its range.

    Source: Dozat, 2016, "Incorporating Nesterov momentum into Adam", algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.nadam(2e-3)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        add_decayed_weights(0.0 if decoupled_weight_decay else weight_decay),
        scale_by_nadam(b1, b2, eps=eps, momentum_decay=momentum_decay),
        scale_by_learning_rate(
            learning_rate, weight_decay=weight_decay if decoupled_weight_decay else 0.0
        ),
    )
