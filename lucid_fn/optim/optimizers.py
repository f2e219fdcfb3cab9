"""Optimizers: chains of the transformations beside this file."""

from lucid_fn.optim.base import GradientTransformation, chain
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.momentum import trace
from lucid_fn.optim.regularization import add_decayed_weights


def sgd(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> GradientTransformation:
    """Stochastic gradient descent: `p -= lr * b`, PyTorch's order of operations.

    `g = g + weight_decay * p`, then `b = momentum * b + (1 - dampening) * g`, whose
    first value is `g`; with `nesterov`, `g + momentum * b` takes the place of `b`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        momentum: weight of the running sum, at least 0.
        dampening: part of each later gradient left out, in [0, 1].
        weight_decay: factor of the L2 penalty, at least 0.
        nesterov: whether to look one step ahead.

    Raises:
        ValueError: if an argument is out of its range: see `trace`.

    Source: Robbins & Monro, 1951; momentum as in Sutskever et al., 2013, "On the
    importance of initialization and momentum in deep learning".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.sgd(0.1, momentum=0.9)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    parts = []
    if weight_decay:
        parts.append(add_decayed_weights(weight_decay))
    if momentum or dampening or nesterov:
        parts.append(trace(momentum, dampening=dampening, nesterov=nesterov))
    return chain(*parts, scale_by_learning_rate(learning_rate))
