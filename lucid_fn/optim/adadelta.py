"""Adadelta: Adagrad without a learning rate to tune."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import average_square, second_moment, zeros
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Params, Scalar, Tree


class ScaleByAdadeltaState(NamedTuple):
    """Running mean squares of the gradients and of the updates."""

    nu: Tree  # float32 at least
    delta: Tree  # float32 at least


def scale_by_adadelta(
    decay: Scalar = 0.9, *, eps: Scalar = 1e-6
) -> GradientTransformation:
    """Adadelta's direction: `g * sqrt(d + eps) / sqrt(v + eps)`.

    `v` and `d` are the running means of the squared gradients and of the squared
    previous updates. The direction has the units of the params.

    Args:
        decay: decay of both means, in [0, 1).
        eps: added inside the square roots; positive. It sets the size of the first
            updates.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zeiler, 2012, https://arxiv.org/abs/1212.5701, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_adadelta()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_adadelta"
    decay = check_scalar(caller, "decay", decay, at_least=0, below=1)
    eps = check_scalar(caller, "eps", eps, above=0)

    def init(params: Params, /) -> ScaleByAdadeltaState:
        return ScaleByAdadeltaState(zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByAdadeltaState, params: Params, /
    ) -> tuple[Tree, ScaleByAdadeltaState]:
        nu = second_moment(caller, decay, opt_state.nu, grads)
        deltas = leaves.map(
            lambda v, d, g: mx.sqrt(d + eps) / mx.sqrt(v + eps) * g.astype(v.dtype),
            nu,
            opt_state.delta,
            grads,
        )
        squares = leaves.map(
            lambda d, x: average_square(decay, d, x), opt_state.delta, deltas
        )
        updates = leaves.map(lambda x, g: x.astype(g.dtype), deltas, grads)
        return updates, ScaleByAdadeltaState(nu, squares)

    return stateful(caller, ScaleByAdadeltaState, init, update)


@errors_named_after
def adadelta(
    learning_rate: ScalarOrSchedule = 1.0,
    *,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-6,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Adadelta: step sizes adapted to past updates, as `torch.optim.Adadelta`.

    `p -= learning_rate * g * sqrt(d + eps) / sqrt(v + eps)`; see `scale_by_adadelta`.

    Args:
        learning_rate: at least 0, or a schedule of the step; 1 in the paper.
        decay: decay of both mean squares, in [0, 1); PyTorch's `rho`.
        eps: added inside the square roots; positive.
        weight_decay: factor of the L2 penalty, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zeiler, 2012, https://arxiv.org/abs/1212.5701, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adadelta()
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        add_decayed_weights(weight_decay),
        scale_by_adadelta(decay, eps=eps),
        scale_by_learning_rate(learning_rate),
    )
