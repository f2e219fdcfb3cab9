"""SGD: stochastic gradient descent, with momentum."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_bool, check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import increment, is_zero, precision, zero_count, zeros
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Scalar, Tree


class TraceState(NamedTuple):
    """The running sum of the gradients, in the structure of the params."""

    step: Array  # int32, shape (): updates made so far
    trace: Tree  # float32 at least


def trace(
    momentum: Scalar, *, dampening: Scalar = 0.0, nesterov: bool = False
) -> GradientTransformation:
    """Momentum: replaces the gradient by `b = momentum * b + (1 - dampening) * g`.

    The first `b` is `g`, without dampening, as in PyTorch. With `nesterov` the update
    is `g + momentum * b`.

    Args:
        momentum: weight of the previous sum, at least 0.
        dampening: fraction of each gradient after the first to leave out, in [0, 1].
        nesterov: whether to use Nesterov momentum.

    Raises:
        ValueError: if `momentum` or `dampening` is out of its range, or if `nesterov`
            is set without momentum or with dampening.

    Source: Sutskever et al., 2013, "On the importance of initialization and momentum
    in deep learning"; the order of operations is that of `torch.optim.SGD`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.trace(0.5)
        >>> params, grads = {"w": mx.array(0.0)}, {"w": mx.array(1.0)}
        >>> _, opt_state = opt.update(grads, opt.init(params), params)
        >>> opt.update(grads, opt_state, params)[0]
        {'w': array(1.5, dtype=float32)}
    """
    check_bool("trace", nesterov=nesterov)
    momentum = check_scalar("trace", "momentum", momentum, at_least=0)
    dampening = check_scalar("trace", "dampening", dampening, at_least=0, at_most=1)
    if nesterov and (is_zero(momentum) or not is_zero(dampening)):
        raise ValueError(
            "trace: nesterov needs momentum above 0 and dampening 0, got "
            f"{momentum} and {dampening}"
        )

    def init(params: Params, /) -> TraceState:
        return TraceState(zero_count(), zeros(params))

    def update(
        grads: Tree, opt_state: TraceState, params: Params, /
    ) -> tuple[Tree, TraceState]:
        # The first gradient is not dampened.
        later = mx.array(1 - dampening, precision(grads))
        weight = end_kernel(mx.where(opt_state.step == 0, 1.0, later))

        def add(b: Array, g: Array) -> Array:
            g = g.astype(b.dtype)
            new = g if is_zero(dampening) else weight * g
            return (momentum * b + new).astype(b.dtype)

        def ahead(b: Array, g: Array) -> Array:
            return ((g + momentum * b) if nesterov else b).astype(g.dtype)

        summed = leaves.map(
            add, opt_state.trace, grads, caller="trace (state and grads)"
        )
        updates = leaves.map(ahead, summed, grads)
        return updates, TraceState(increment(opt_state.step), summed)

    return stateful("trace", TraceState, init, update)


@errors_named_after
def sgd(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: Scalar = 0.0,
    dampening: Scalar = 0.0,
    weight_decay: Scalar = 0.0,
    nesterov: bool = False,
) -> GradientTransformation:
    """SGD: stochastic gradient descent, `p -= learning_rate * b`, as `torch.optim.SGD`.

    `g = g + weight_decay * p`, then `b = momentum * b + (1 - dampening) * g`, starting
    at `g`. With `nesterov`, `b` is replaced by `g + momentum * b` in the step. Without
    momentum `b` is `g`, and `dampening` has no effect.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        momentum: weight of the running sum, at least 0.
        dampening: fraction of each gradient after the first to leave out, in [0, 1].
        weight_decay: factor of the L2 penalty, at least 0.
        nesterov: whether to use Nesterov momentum.

    Raises:
        ValueError: if a number is out of its range, or if `nesterov` is set without
            momentum or with dampening.

    Source: Robbins & Monro, 1951; momentum as in Sutskever et al., 2013, "On the
    importance of initialization and momentum in deep learning".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.sgd(0.1, momentum=0.9)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    summed = trace(momentum, dampening=dampening, nesterov=nesterov)
    return chain(
        add_decayed_weights(weight_decay),
        chain() if is_zero(momentum) else summed,
        scale_by_learning_rate(learning_rate),
    )
