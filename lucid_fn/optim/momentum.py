"""Running sums of gradients."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim.base import GradientTransformation
from lucid_fn.types import Array, Params, Tree


class TraceState(NamedTuple):
    """The running sum of gradients; it has the structure of the params."""

    step: Array  # int32, shape (): updates made so far
    trace: Tree


def trace(
    momentum: float, *, dampening: float = 0.0, nesterov: bool = False
) -> GradientTransformation:
    """Replaces the gradient by `b = momentum * b + (1 - dampening) * g`.

    The first sum is `g` itself, without dampening, as in PyTorch. With `nesterov` the
    update is `g + momentum * b`.

    Args:
        momentum: weight of the sum so far, at least 0.
        dampening: part of each later gradient left out, in [0, 1].
        nesterov: whether to look one step ahead.

    Raises:
        ValueError: if `momentum` or `dampening` is out of its range, or if `nesterov`
            is asked for without momentum or with dampening.

    Source: Sutskever et al., 2013, "On the importance of initialization and momentum
    in deep learning"; the order of operations is that of `torch.optim.SGD`.

    Example:
        >>> import mlx.core as mx
        >>> opt = trace(0.5)
        >>> params, grads = {"w": mx.array(0.0)}, {"w": mx.array(1.0)}
        >>> _, opt_state = opt.update(grads, opt.init(params), params)
        >>> opt.update(grads, opt_state, params)[0]
        {'w': array(1.5, dtype=float32)}
    """
    if momentum < 0:
        raise ValueError(f"trace: momentum must be at least 0, got {momentum}")
    if not 0 <= dampening <= 1:
        raise ValueError(f"trace: dampening must be in [0, 1], got {dampening}")
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(
            "trace: nesterov needs momentum above 0 and dampening 0, got "
            f"{momentum} and {dampening}"
        )

    def init(params: Params, /) -> TraceState:
        return TraceState(mx.array(0, mx.int32), tree.zeros_like(params))

    def update(
        grads: Tree, opt_state: TraceState, params: Params, /
    ) -> tuple[Tree, TraceState]:
        def add(b: Array, g: Array) -> Array:
            if dampening == 0:
                return momentum * b + g
            later = momentum * b + (1 - dampening) * g
            return mx.where(opt_state.step == 0, g, later)

        summed = tree.map(add, opt_state.trace, grads, caller="trace (state and grads)")
        updates = (
            tree.map(lambda g, b: g + momentum * b, grads, summed)
            if nesterov
            else summed
        )
        return updates, TraceState(opt_state.step + 1, summed)

    return GradientTransformation(init, update)
