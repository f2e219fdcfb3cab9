"""Adam and AdamW, with AMSGrad."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_bool
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import (
    check_moments,
    increment,
    unbiased_ratio,
    update_moments,
    zero_count,
    zeros,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByAdamState(NamedTuple):
    """First and second moment of the gradients, in the structure of the params."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


class ScaleByAmsgradState(NamedTuple):
    """First, second and maximum second moment of the gradients."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least
    nu_max: Tree  # float32 at least


def scale_by_adam(
    b1: Scalar = 0.9, b2: Scalar = 0.999, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """Adam's direction: the first moment divided by the root of the second.

    `m = b1 * m + (1 - b1) * g`, `v = b2 * v + (1 - b2) * g**2`; at step `t`, counted
    from 1, the update is `m / (1 - b1**t) / (sqrt(v) / sqrt(1 - b2**t) + eps)`.

    Args:
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added outside the square root; positive.

    Returns:
        A transformation whose updates have the shapes and dtypes of the gradients.
        They point uphill: `scale_by_learning_rate` flips the sign.

    Raises:
        ValueError: if a number is out of its range.

    Source: Kingma & Ba, 2015, https://arxiv.org/abs/1412.6980, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_adam()
        >>> params, grads = {"w": mx.zeros(2)}, {"w": mx.array([0.001, -100.0])}
        >>> updates, _ = opt.update(grads, opt.init(params), params)
        >>> [round(u, 4) for u in updates["w"].tolist()]
        [1.0, -1.0]
    """
    caller = "scale_by_adam"
    b1, b2, eps = check_moments(caller, b1, b2, eps)

    def init(params: Params, /) -> ScaleByAdamState:
        return ScaleByAdamState(zero_count(), zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByAdamState, params: Params, /
    ) -> tuple[Tree, ScaleByAdamState]:
        step = increment(opt_state.step)
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, grads)
        updates = unbiased_ratio(b1, b2, eps, step, mu, nu, grads)
        return updates, ScaleByAdamState(step, mu, nu)

    return stateful(caller, ScaleByAdamState, init, update)


def scale_by_amsgrad(
    b1: Scalar = 0.9, b2: Scalar = 0.999, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """AMSGrad's direction: `scale_by_adam` with the maximum of all second moments.

    The maximum is taken before the bias correction, as in PyTorch.

    Args:
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added outside the square root; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Reddi et al., 2018, https://arxiv.org/abs/1904.09237, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_amsgrad()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_amsgrad"
    b1, b2, eps = check_moments(caller, b1, b2, eps)

    def init(params: Params, /) -> ScaleByAmsgradState:
        return ScaleByAmsgradState(
            zero_count(), zeros(params), zeros(params), zeros(params)
        )

    def update(
        grads: Tree, opt_state: ScaleByAmsgradState, params: Params, /
    ) -> tuple[Tree, ScaleByAmsgradState]:
        step = increment(opt_state.step)
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, grads)
        nu_max = leaves.map(mx.maximum, opt_state.nu_max, nu)
        updates = unbiased_ratio(b1, b2, eps, step, mu, nu_max, grads)
        return updates, ScaleByAmsgradState(step, mu, nu, nu_max)

    return stateful(caller, ScaleByAmsgradState, init, update)


@errors_named_after
def adam(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    amsgrad: bool = False,
) -> GradientTransformation:
    """Adam, with weight decay as an L2 penalty: `g = g + weight_decay * p` first.

    `p -= learning_rate / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)`, as
    `torch.optim.Adam`. The moments of 16-bit params are float32.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added outside the square root; positive.
        weight_decay: factor of the L2 penalty, at least 0; for decoupled decay see
            `adamw`.
        amsgrad: whether to divide by the maximum of all second moments, as AMSGrad.

    Raises:
        ValueError: if a number is out of its range.

    Source: Kingma & Ba, 2015, https://arxiv.org/abs/1412.6980, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adam(1e-3, weight_decay=5e-4)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    check_bool("adam", amsgrad=amsgrad)
    scale_by = scale_by_amsgrad if amsgrad else scale_by_adam
    return chain(
        add_decayed_weights(weight_decay),
        scale_by(b1, b2, eps=eps),
        scale_by_learning_rate(learning_rate),
    )


@errors_named_after
def adamw(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 1e-2,
    amsgrad: bool = False,
) -> GradientTransformation:
    """AdamW: Adam with decoupled weight decay, as `torch.optim.AdamW`.

    `p *= 1 - learning_rate * weight_decay`, then Adam's step. The decay does not enter
    the moments. To exempt biases and norms from it, see `partition`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added outside the square root; positive.
        weight_decay: decoupled weight decay, multiplied by the learning rate; at
            least 0.
        amsgrad: whether to divide by the maximum of all second moments, as AMSGrad.

    Raises:
        ValueError: if a number is out of its range.

    Source: Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adamw(1e-3, weight_decay=0.1)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    check_bool("adamw", amsgrad=amsgrad)
    scale_by = scale_by_amsgrad if amsgrad else scale_by_adam
    return chain(
        scale_by(b1, b2, eps=eps),
        scale_by_learning_rate(learning_rate, weight_decay=weight_decay),
    )
