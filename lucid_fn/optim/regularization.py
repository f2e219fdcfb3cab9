"""Transformations that keep parameters small or smooth the way to a minimum."""

from lucid_fn.optim.base import GradientTransformation, stateless
from lucid_fn.optim.hyperparameters import Scalar, at_least_0
from lucid_fn.types import Array


def add_decayed_weights(weight_decay: Scalar) -> GradientTransformation:
    """Adds `weight_decay * param` to each gradient.

    Before the scaling of an optimizer it is the gradient of an L2 penalty (coupled);
    after it, it is decoupled weight decay.

    Args:
        weight_decay: at least 0.

    Raises:
        ValueError: if `weight_decay` is negative or not finite.

    Source: Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101.

    Example:
        >>> import mlx.core as mx
        >>> opt = add_decayed_weights(0.5)
        >>> opt.update({"w": mx.array(1.0)}, (), {"w": mx.array(4.0)})[0]
        {'w': array(3, dtype=float32)}
    """
    weight_decay = at_least_0("add_decayed_weights", "weight_decay", weight_decay)

    def add(g: Array, p: Array) -> Array:
        return (g + weight_decay * p).astype(g.dtype)

    return stateless(add, caller="add_decayed_weights")
