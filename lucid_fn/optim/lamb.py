"""LAMB: Adam with layer-wise trust ratios."""

from lucid_fn.optim.adam import scale_by_adam
from lucid_fn.optim.base import GradientTransformation, chain, stateless_with_tree_map
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.norms import norm, trust_ratio
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Scalar


def scale_by_trust_ratio() -> GradientTransformation:
    """Scales each update to the norm of its param: `u * norm(p) / norm(u)`.

    Each array counts as a layer. Where one of the norms is 0 the update is unchanged.

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
        return (u * trust_ratio(norm(p), u_norm, u_norm)).astype(u.dtype)

    return stateless_with_tree_map(scale, caller="scale_by_trust_ratio")


@errors_named_after
def lamb(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """LAMB: Adam with layer-wise trust ratios, for large batches.

    `u = m / (1 - b1**t) / (sqrt(v) / sqrt(1 - b2**t) + eps) + weight_decay * p`, then
    `p -= learning_rate * u * norm(p) / norm(u)`. Each array counts as a layer; biases
    and norms are usually exempt: see `partition`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added outside the square root; positive.
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
