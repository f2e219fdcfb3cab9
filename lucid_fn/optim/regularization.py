"""Transformations that keep gradients or parameters small."""

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim.base import GradientTransformation, stateless
from lucid_fn.types import Params, Tree


def add_decayed_weights(weight_decay: float) -> GradientTransformation:
    """Adds `weight_decay * param` to each gradient.

    Before the scaling of an optimizer it is the gradient of an L2 penalty (coupled);
    after it, it is decoupled weight decay.

    Args:
        weight_decay: at least 0.

    Raises:
        ValueError: if `weight_decay` is negative.

    Source: Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101.

    Example:
        >>> import mlx.core as mx
        >>> opt = add_decayed_weights(0.5)
        >>> opt.update({"w": mx.array(1.0)}, (), {"w": mx.array(4.0)})[0]
        {'w': array(3, dtype=float32)}
    """
    if not weight_decay >= 0:
        raise ValueError(
            f"add_decayed_weights: weight_decay must be at least 0, got {weight_decay}"
        )
    return stateless(lambda g, p: g + (weight_decay * p).astype(g.dtype))


def clip_by_global_norm(max_norm: float) -> GradientTransformation:
    """Scales all gradients by `min(1, max_norm / (norm + 1e-6))`.

    `norm` is the Euclidean norm of all gradients taken as one vector.

    Args:
        max_norm: positive.

    Raises:
        ValueError: if `max_norm` is not positive.

    Source: Pascanu et al., 2013, https://arxiv.org/abs/1211.5063, algorithm 1; the
    1e-6 is that of `torch.nn.utils.clip_grad_norm_`.

    Example:
        >>> import mlx.core as mx
        >>> opt = clip_by_global_norm(1.0)
        >>> grads, _ = opt.update({"w": mx.array([30.0, 40.0])}, (), {"w": mx.zeros(2)})
        >>> [round(g, 4) for g in grads["w"].tolist()]
        [0.6, 0.8]
    """
    if not max_norm > 0:
        raise ValueError(f"clip_by_global_norm: max_norm must be > 0, got {max_norm}")

    def init(params: Params, /) -> tuple[()]:
        return ()

    def update(
        grads: Tree, opt_state: tuple[()], params: Params, /
    ) -> tuple[Tree, tuple[()]]:
        factor = mx.minimum(1.0, max_norm / (tree.global_norm(grads) + 1e-6))
        return tree.map(lambda g: (g * factor).astype(g.dtype), grads), ()

    return GradientTransformation(init, update)
