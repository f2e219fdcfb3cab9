"""RAdam: rectified Adam."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_bool
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    bias_correction,
    check_moments,
    increment,
    log_decay,
    precision,
    update_moments,
    zero_count,
    zeros,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByRadamState(NamedTuple):
    """First and second moment of the gradients, in the structure of the params."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_radam(
    b1: Scalar = 0.9, b2: Scalar = 0.999, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """RAdam's direction: Adam's, once the variance of the second moment is tractable.

    The length of the average is `r = R - 2 * t * b2**t / (1 - b2**t)`, with the limit
    `R = 2 / (1 - b2) - 1`. Once `r > 5`, Adam's update is multiplied by the root of
    `(r - 4) * (r - 2) * R / ((R - 4) * (R - 2) * r)`. Before that the update is the
    mean of the gradients, `m / (1 - b1**t)`.

    Args:
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root of the raw second moment, as in PyTorch; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Liu et al., 2020, https://arxiv.org/abs/1908.03265, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_radam()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_radam"
    b1, b2, eps = check_moments(caller, b1, b2, eps)

    def init(params: Params, /) -> ScaleByRadamState:
        return ScaleByRadamState(zero_count(), zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByRadamState, params: Params, /
    ) -> tuple[Tree, ScaleByRadamState]:
        step = increment(opt_state.step)
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, grads)
        dtype = precision(mu)
        length, limit = _lengths(b2, step, dtype)
        rectification = mx.sqrt(
            (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
        )
        tractable = end_kernel(length > 5)
        scale = end_kernel(1 / bias_correction(b1, step, dtype))
        root_scale = end_kernel(
            rectification * mx.sqrt(bias_correction(b2, step, dtype))
        )

        def rectified(m: Array, v: Array, g: Array) -> Array:
            factor = mx.where(tractable, root_scale / (mx.sqrt(v) + eps), 1.0)
            return (scale * m * factor).astype(g.dtype)

        updates = leaves.map(rectified, mu, nu, grads)
        return updates, ScaleByRadamState(step, mu, nu)

    return stateful(caller, ScaleByRadamState, init, update)


def _lengths(
    b2: Scalar, step: Array, dtype: mx.Dtype = mx.float32
) -> tuple[Array, Array]:
    """The length of the average after `step` steps, and its limit.

    With `h = -log(b2) / 2` and the Langevin function `L(x) = coth(x) - 1 / x` the
    length is `L(h) + t * (1 - L(t * h))`, a sum of small numbers. The formula of the
    paper is a difference of large ones, which loses three digits in float32.
    """
    half = -0.5 * log_decay(b2, dtype)
    t = step.astype(dtype)
    length = 1 - _one_minus_langevin(half) + t * _one_minus_langevin(t * half)
    return length, 1 / mx.tanh(half)


def _one_minus_langevin(x: Array) -> Array:
    """`1 + 1 / x - coth(x)`, by a series where the difference would lose digits."""
    s = x * x
    series = mx.zeros_like(x)
    for coefficient in (2 / 93555, -1 / 4725, 2 / 945, -1 / 45, 1 / 3):
        series = series * s + coefficient
    small = (
        0.05 if x.dtype == mx.float64 else 0.5
    )  # below, the series has full precision
    return mx.where(x < small, 1 - x * series, 1 / x - 2 / mx.expm1(2 * x))


@errors_named_after
def radam(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    decoupled_weight_decay: bool = False,
) -> GradientTransformation:
    """RAdam: rectified Adam, which warms up by itself, as `torch.optim.RAdam`.

    `p -= learning_rate * u` with the update `u` of `scale_by_radam`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root of the raw second moment; positive.
        weight_decay: factor of the L2 penalty, at least 0.
        decoupled_weight_decay: whether to decay by `p *= 1 - learning_rate *
            weight_decay` instead of the penalty, as in `adamw`.

    Raises:
        ValueError: if a number is out of its range.

    Source: Liu et al., 2020, https://arxiv.org/abs/1908.03265, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.radam(1e-3)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    check_bool("radam", decoupled_weight_decay=decoupled_weight_decay)
    coupled = 0.0 if decoupled_weight_decay else weight_decay
    decoupled = weight_decay if decoupled_weight_decay else 0.0
    return chain(
        add_decayed_weights(coupled),
        scale_by_radam(b1, b2, eps=eps),
        scale_by_learning_rate(learning_rate, weight_decay=decoupled),
    )
