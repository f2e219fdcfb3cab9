"""LARS and LAMB: a learning rate for each array, by the norm of its params.

An array is a layer here, as in the papers. Biases and norm params are usually left out:
see `partition`.
"""

import mlx.core as mx

from lucid_fn.optim.adaptive import scale_by_adam
from lucid_fn.optim.base import GradientTransformation, chain, stateless
from lucid_fn.optim.checks import (
    Scalar,
    check_at_least_0,
    check_positive,
    is_zero,
    reports_as_itself,
)
from lucid_fn.optim.descent import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import once
from lucid_fn.optim.momentum import trace
from lucid_fn.optim.norms import norm
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array


def scale_by_trust_ratio() -> GradientTransformation:
    """Gives each update the norm of its array: `u * norm(p) / norm(u)`.

    Where one of the norms is 0 the update stays as it is.

    Source: You et al., 2020, https://arxiv.org/abs/1904.00962, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_trust_ratio()
        >>> opt.update({"w": mx.array([0.0, 4.0])}, (), {"w": mx.array([2.0, 0.0])})[0]
        {'w': array([0, 2], dtype=float32)}
    """

    def scale(u: Array, p: Array) -> Array:
        u_norm = norm(u)
        return (u * _ratio(norm(p), u_norm, u_norm)).astype(u.dtype)

    return stateless(scale, caller="scale_by_trust_ratio")


def scale_by_lars(
    trust_coefficient: Scalar = 1e-3, *, weight_decay: Scalar = 0.0, eps: Scalar = 1e-8
) -> GradientTransformation:
    """Gives each gradient a part of the norm of its array, weight decay included.

    `(g + weight_decay * p) * trust_coefficient * norm(p)` divided by
    `norm(g) + weight_decay * norm(p) + eps`. Where one of the norms is 0 the gradient
    is not scaled.

    Args:
        trust_coefficient: the part, positive.
        weight_decay: factor of the L2 penalty, at least 0.
        eps: added to the divisor; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: You et al., 2017, https://arxiv.org/abs/1708.03888, equation 6.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_lars(0.5)
        >>> opt.update({"w": mx.array([0.0, 4.0])}, (), {"w": mx.array([2.0, 0.0])})[0]
        {'w': array([0, 1], dtype=float32)}
    """
    caller = "scale_by_lars"
    trust_coefficient = check_positive(caller, "trust_coefficient", trust_coefficient)
    weight_decay = check_at_least_0(caller, "weight_decay", weight_decay)
    eps = check_positive(caller, "eps", eps)

    def scale(g: Array, p: Array) -> Array:
        p_norm, g_norm = norm(p), norm(g)
        divisor = g_norm + weight_decay * p_norm + eps
        ratio = _ratio(trust_coefficient * p_norm, g_norm, divisor)
        return ((g + weight_decay * p) * ratio).astype(g.dtype)

    return stateless(scale, caller=caller)


def _ratio(p_norm: Array, u_norm: Array, divisor: Array) -> Array:
    """`p_norm / divisor`, and 1 where a norm is 0."""
    known = (p_norm > 0) & (u_norm > 0)
    return once(mx.where(known, p_norm / mx.where(known, divisor, 1.0), 1.0))


@reports_as_itself
def lamb(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Adam whose update of each array has the norm of the array, for large batches.

    `u = m / (1 - b1**t) / (sqrt(v) / sqrt(1 - b2**t) + eps) + weight_decay * p`, then
    `p -= learning_rate * u * norm(p) / norm(u)`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root, outside it; positive.
        weight_decay: weight of the param in the update, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: You et al., 2020, https://arxiv.org/abs/1904.00962, algorithm 2, with
    `phi(z) = z`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.lamb(1e-3, weight_decay=0.01)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_adam(b1, b2, eps=eps),
        add_decayed_weights(weight_decay),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


@reports_as_itself
def lars(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: Scalar = 0.9,
    weight_decay: Scalar = 0.0,
    trust_coefficient: Scalar = 1e-3,
    eps: Scalar = 1e-8,
) -> GradientTransformation:
    """Momentum with steps in proportion to the norm of each array, for large batches.

    `b = momentum * b + learning_rate * r * (g + weight_decay * p)`, then `p -= b`,
    where `r` is the ratio of norms in `scale_by_lars`. The learning rate is inside the
    sum, so a change of it does not act on the momentum.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        momentum: weight of the running sum, at least 0.
        weight_decay: factor of the L2 penalty, at least 0.
        trust_coefficient: part of the norm of an array that a step is, positive.
        eps: added to the divisor of the ratio; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: You et al., 2017, https://arxiv.org/abs/1708.03888, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.lars(1.0, weight_decay=1e-4)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    summed = trace(momentum)
    return chain(
        scale_by_lars(trust_coefficient, weight_decay=weight_decay, eps=eps),
        scale_by_learning_rate(learning_rate),
        chain() if is_zero(momentum) else summed,
    )
