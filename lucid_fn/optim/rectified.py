"""RAdam: Adam that waits until its second moment can be relied on."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain
from lucid_fn.optim.checks import (
    Scalar,
    check_decay,
    check_positive,
    reports_as_itself,
)
from lucid_fn.optim.descent import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import (
    bias_correction,
    log_decay,
    once,
    update_moments,
    zeros,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.types import Array, Params, Tree


class ScaleByRadamState(NamedTuple):
    """Moments of the gradient; `mu` and `nu` have the structure of the params."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_radam(
    b1: Scalar = 0.9, b2: Scalar = 0.999, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """Adam, rectified: it divides only once the second moment can be relied on.

    With `R = 2 / (1 - b2) - 1` and `r = R - 2 * t * b2**t / (1 - b2**t)`, the length
    of the average, Adam's update is multiplied by the root of
    `(r - 4) * (r - 2) * R / ((R - 4) * (R - 2) * r)` where `r > 5`; else it is the mean
    of the gradients, `m / (1 - b1**t)`.

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
    b1, b2 = check_decay(caller, "b1", b1), check_decay(caller, "b2", b2)
    eps = check_positive(caller, "eps", eps)

    def init(params: Params, /) -> ScaleByRadamState:
        return ScaleByRadamState(mx.array(0, mx.int32), zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByRadamState, params: Params, /
    ) -> tuple[Tree, ScaleByRadamState]:
        step = opt_state.step + 1
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, grads)
        length, limit = _lengths(b2, step)
        rectification = mx.sqrt(
            (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
        )
        relied_on = once(length > 5)
        scale = once(1 / bias_correction(b1, step))
        root_scale = once(rectification * mx.sqrt(bias_correction(b2, step)))

        def rectified(m: Array, v: Array, g: Array) -> Array:
            divisor = mx.where(relied_on, root_scale / (mx.sqrt(v) + eps), 1.0)
            return (scale * m * divisor).astype(g.dtype)

        updates = leaves.map(rectified, mu, nu, grads)
        return updates, ScaleByRadamState(step, mu, nu)

    return GradientTransformation(init, update)


def _lengths(b2: Scalar, step: Array) -> tuple[Array, Array]:
    """The length of the average after `step` steps, and its limit.

    With `h = -log(b2) / 2` and `f(x) = 1 + 1 / x - coth(x)` the length is
    `1 - f(h) + t * f(t * h)`, a sum of small numbers. The difference in the paper is
    one of large ones, of which float32 would lose three digits.
    """
    half = -0.5 * log_decay(b2)
    length = 1 - _forgotten(half) + step * _forgotten(step * half)
    return length, 1 / mx.tanh(half)


def _forgotten(x: Array) -> Array:
    """`1 + 1 / x - coth(x)`, by a series where the difference would lose digits."""
    s = x * x
    series = mx.zeros_like(x)
    for coefficient in (2 / 93555, -1 / 4725, 2 / 945, -1 / 45, 1 / 3):
        series = series * s + coefficient
    return mx.where(x < 0.5, 1 - x * series, 1 / x - 2 / mx.expm1(2 * x))


@reports_as_itself
def radam(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    decoupled_weight_decay: bool = False,
) -> GradientTransformation:
    """Rectified Adam, as `torch.optim.RAdam`; see `scale_by_radam`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: added to the root of the raw second moment; positive.
        weight_decay: factor of the L2 penalty, at least 0.
        decoupled_weight_decay: whether `p *= 1 - learning_rate * weight_decay` takes
            the place of the penalty, as in `adamw`.

    Raises:
        ValueError: if a number is out of its range.

    Source: Liu et al., 2020, https://arxiv.org/abs/1908.03265, algorithm 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.radam(1e-3)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        add_decayed_weights(0.0 if decoupled_weight_decay else weight_decay),
        scale_by_radam(b1, b2, eps=eps),
        scale_by_learning_rate(
            learning_rate, weight_decay=weight_decay if decoupled_weight_decay else 0.0
        ),
    )
