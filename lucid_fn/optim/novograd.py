"""NovoGrad: momentum with layer-wise second moments."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    accumulator_dtype,
    average_square,
    decay_from_second,
    increment,
    precision,
    zero_count,
)
from lucid_fn.optim.norms import norm
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.optim.sgd import trace
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByNovogradState(NamedTuple):
    """The running mean square of the norm of each array's gradient."""

    step: Array  # int32, shape (): updates made so far
    nu: Tree  # float32 at least; each leaf of shape ()


def scale_by_novograd(
    b2: Scalar = 0.98, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """Divides each gradient by a running root mean square of its norm.

    `v = b2 * v + (1 - b2) * norm(g)**2`, starting at `norm(g)**2`; the update is
    `g / (sqrt(v) + eps)`.

    Args:
        b2: decay of the mean square, in [0, 1).
        eps: added outside the square root; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Ginsburg et al., 2019, https://arxiv.org/abs/1905.11286, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_novograd()
        >>> params, grads = {"w": mx.zeros(2)}, {"w": mx.array([30.0, 40.0])}
        >>> updates, opt_state = opt.update(grads, opt.init(params), params)
        >>> [round(u, 4) for u in updates["w"].tolist()]
        [0.6, 0.8]
    """
    caller = "scale_by_novograd"
    b2 = check_scalar(caller, "b2", b2, at_least=0, below=1)
    eps = check_scalar(caller, "eps", eps, above=0)

    def init(params: Params, /) -> ScaleByNovogradState:
        nu = leaves.map(lambda p: mx.zeros((), accumulator_dtype(p)), params)
        return ScaleByNovogradState(zero_count(), nu)

    def update(
        grads: Tree, opt_state: ScaleByNovogradState, params: Params, /
    ) -> tuple[Tree, ScaleByNovogradState]:
        decay, weight = decay_from_second(opt_state.step, b2, precision(opt_state.nu))
        nu = leaves.map(
            lambda v, g: average_square(decay, v, norm(g), weight=weight),
            opt_state.nu,
            grads,
            caller=f"{caller} (state and grads)",
        )
        updates = leaves.map(
            lambda v, g: (g / end_kernel(mx.sqrt(v) + eps)).astype(g.dtype), nu, grads
        )
        return updates, ScaleByNovogradState(increment(opt_state.step), nu)

    return stateful(caller, ScaleByNovogradState, init, update)


@errors_named_after
def novograd(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.95,
    b2: Scalar = 0.98,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """NovoGrad: momentum with layer-wise second moments, with half of Adam's memory.

    `m = b1 * m + g / (sqrt(v) + eps) + weight_decay * p`, then
    `p -= learning_rate * m`, where `v` is the running mean square of the gradient's
    norm.

    Args:
        learning_rate: at least 0, or a schedule of the step. The norm of a step is
            about `learning_rate / (1 - b1)` for each array.
        b1: weight of the running sum, in [0, 1).
        b2: decay of the mean square, in [0, 1).
        eps: added outside the square root; positive.
        weight_decay: weight of the param in the sum, at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Ginsburg et al., 2019, https://arxiv.org/abs/1905.11286, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.novograd(1e-2, weight_decay=1e-3)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    # Checked here, because `trace` calls it momentum.
    b1 = check_scalar("novograd", "b1", b1, at_least=0, below=1)
    return chain(
        scale_by_novograd(b2, eps=eps),
        add_decayed_weights(weight_decay),
        trace(b1),
        scale_by_learning_rate(learning_rate),
    )
