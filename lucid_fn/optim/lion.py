"""Lion: the sign of an interpolated momentum."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import average, zeros
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByLionState(NamedTuple):
    """The running mean of the gradients, in the structure of the params."""

    mu: Tree  # float32 at least


def scale_by_lion(b1: Scalar = 0.9, b2: Scalar = 0.99) -> GradientTransformation:
    """Lion's direction: the sign of an interpolated momentum, -1, 0 or 1.

    The update is `sign(b1 * m + (1 - b1) * g)`; then `m = b2 * m + (1 - b2) * g`.

    Args:
        b1: weight of the mean in the update, in [0, 1).
        b2: decay of the mean, in [0, 1).

    Raises:
        ValueError: if a number is out of its range.

    Source: Chen et al., 2023, https://arxiv.org/abs/2302.06675, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_lion()
        >>> params, grads = {"w": mx.zeros(2)}, {"w": mx.array([0.001, -100.0])}
        >>> opt.update(grads, opt.init(params), params)[0]
        {'w': array([1, -1], dtype=float32)}
    """
    caller = "scale_by_lion"
    b1 = check_scalar(caller, "b1", b1, at_least=0, below=1)
    b2 = check_scalar(caller, "b2", b2, at_least=0, below=1)

    def init(params: Params, /) -> ScaleByLionState:
        return ScaleByLionState(zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByLionState, params: Params, /
    ) -> tuple[Tree, ScaleByLionState]:
        def sign(m: Array, g: Array) -> Array:
            return mx.sign(average(b1, m, g)).astype(g.dtype)

        updates = leaves.map(
            sign, opt_state.mu, grads, caller=f"{caller} (state and grads)"
        )
        mu = leaves.map(lambda m, g: average(b2, m, g), opt_state.mu, grads)
        return updates, ScaleByLionState(mu)

    return stateful(caller, ScaleByLionState, init, update)


@errors_named_after
def lion(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Lion: sign momentum, where every step has the size of the learning rate.

    `p -= learning_rate * (sign(b1 * m + (1 - b1) * g) + weight_decay * p)`. Choose a
    learning rate 3 to 10 times smaller than AdamW's, and a weight decay as many times
    larger.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: weight of the mean in the update, in [0, 1).
        b2: decay of the mean, in [0, 1).
        weight_decay: decoupled weight decay, multiplied by the learning rate; at
            least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Chen et al., 2023, https://arxiv.org/abs/2302.06675, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.lion(1e-4, weight_decay=0.1)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_lion(b1, b2),
        scale_by_learning_rate(learning_rate, weight_decay=weight_decay),
    )
