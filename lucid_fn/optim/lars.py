"""LARS: momentum with layer-wise adaptive rate scaling."""

from lucid_fn.checks import check_scalar
from lucid_fn.optim.base import GradientTransformation, chain, stateless_with_tree_map
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import is_zero
from lucid_fn.optim.norms import norm, trust_ratio
from lucid_fn.optim.sgd import trace
from lucid_fn.types import Array, Scalar


def scale_by_lars(
    trust_coefficient: Scalar = 1e-3, *, weight_decay: Scalar = 0.0, eps: Scalar = 1e-8
) -> GradientTransformation:
    """LARS's scaling: makes each gradient proportional to the norm of its param.

    `(g + weight_decay * p) * trust_coefficient * norm(p)` divided by
    `norm(g) + weight_decay * norm(p) + eps`. Each array counts as a layer. Where one
    of the norms is 0 the gradient is not scaled.

    Args:
        trust_coefficient: norm of the result relative to that of the param, positive.
        weight_decay: factor of the L2 penalty, at least 0.
        eps: added to the denominator; positive.

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
    trust_coefficient = check_scalar(
        caller, "trust_coefficient", trust_coefficient, above=0
    )
    weight_decay = check_scalar(caller, "weight_decay", weight_decay, at_least=0)
    eps = check_scalar(caller, "eps", eps, above=0)

    def scale(g: Array, p: Array) -> Array:
        p_norm, g_norm = norm(p), norm(g)
        divisor = g_norm + weight_decay * p_norm + eps
        ratio = trust_ratio(trust_coefficient * p_norm, g_norm, divisor)
        return ((g + weight_decay * p) * ratio).astype(g.dtype)

    return stateless_with_tree_map(scale, caller=caller)


@errors_named_after
def lars(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: Scalar = 0.9,
    weight_decay: Scalar = 0.0,
    trust_coefficient: Scalar = 1e-3,
    eps: Scalar = 1e-8,
) -> GradientTransformation:
    """LARS: momentum with layer-wise adaptive rate scaling, for large batches.

    `b = momentum * b + learning_rate * r * (g + weight_decay * p)`, then `p -= b`,
    where `r` is the ratio of norms in `scale_by_lars`. The learning rate is inside the
    sum, so changing it does not rescale past gradients. Each array counts as a layer;
    biases and norms are usually exempt: see `partition`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        momentum: weight of the running sum, at least 0.
        weight_decay: factor of the L2 penalty, at least 0.
        trust_coefficient: norm of a step relative to that of the param, positive.
        eps: added to the denominator of the ratio; positive.

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
