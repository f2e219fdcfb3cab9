"""Adan: adaptive Nesterov momentum."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    average,
    average_square,
    bias_correction,
    increment,
    precision,
    zero_count,
    zeros,
)
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByAdanState(NamedTuple):
    """Running means of gradients, their differences and the squares of both."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    delta: Tree  # float32 at least
    nu: Tree  # float32 at least
    grads: Tree  # float32 at least: of the previous step


def scale_by_adan(
    b1: Scalar = 0.98, b2: Scalar = 0.92, b3: Scalar = 0.99, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """Adan's direction: Nesterov momentum, estimated from differences of gradients.

    With the difference `d` from the previous gradient, 0 at the first step,
    `m = b1 * m + (1 - b1) * g`, `a = b2 * a + (1 - b2) * d` and
    `n = b3 * n + (1 - b3) * (g + b2 * d)**2`; at step `t`, counted from 1, the update
    is `m / (1 - b1**t) + b2 * a / (1 - b2**t)` divided by
    `sqrt(n) / sqrt(1 - b3**t) + eps`.

    Args:
        b1: decay of the mean, in [0, 1); 1 minus the paper's beta, as all three.
        b2: decay of the mean difference, in [0, 1).
        b3: decay of the squares, in [0, 1).
        eps: added outside the square root; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Xie et al., 2022, https://arxiv.org/abs/2208.06677, algorithm 1; the bias
    corrections are those of the authors' code.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_adan()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_adan"
    b1 = check_scalar(caller, "b1", b1, at_least=0, below=1)
    b2 = check_scalar(caller, "b2", b2, at_least=0, below=1)
    b3 = check_scalar(caller, "b3", b3, at_least=0, below=1)
    eps = check_scalar(caller, "eps", eps, above=0)

    def init(params: Params, /) -> ScaleByAdanState:
        return ScaleByAdanState(
            zero_count(), zeros(params), zeros(params), zeros(params), zeros(params)
        )

    def update(
        grads: Tree, opt_state: ScaleByAdanState, params: Params, /
    ) -> tuple[Tree, ScaleByAdanState]:
        step = increment(opt_state.step)
        # 0 at the first step, which has no previous gradient.
        has_previous = end_kernel(mx.where(opt_state.step == 0, 0.0, 1.0))
        latest = leaves.map(
            lambda old, g: g.astype(old.dtype),
            opt_state.grads,
            grads,
            caller=f"{caller} (state and grads)",
        )
        changes = leaves.map(
            lambda old, g: has_previous * (g - old), opt_state.grads, latest
        )
        mu = leaves.map(lambda m, g: average(b1, m, g), opt_state.mu, latest)
        delta = leaves.map(lambda a, d: average(b2, a, d), opt_state.delta, changes)
        nu = leaves.map(
            lambda n, g, d: average_square(b3, n, end_kernel(g + b2 * d)),
            opt_state.nu,
            latest,
            changes,
        )
        dtype = precision(mu)
        mean_scale = end_kernel(1 / bias_correction(b1, step, dtype))
        change_scale = end_kernel(b2 / bias_correction(b2, step, dtype))
        root_scale = end_kernel(mx.rsqrt(bias_correction(b3, step, dtype)))

        def ratio(m: Array, a: Array, n: Array, g: Array) -> Array:
            numerator = mean_scale * m + change_scale * a
            return (numerator / (mx.sqrt(n) * root_scale + eps)).astype(g.dtype)

        updates = leaves.map(ratio, mu, delta, nu, grads)
        return updates, ScaleByAdanState(step, mu, delta, nu, latest)

    return stateful(caller, ScaleByAdanState, init, update)


@errors_named_after
def adan(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.98,
    b2: Scalar = 0.92,
    b3: Scalar = 0.99,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Adan: adaptive Nesterov momentum, with decoupled weight decay.

    `p *= 1 - learning_rate * weight_decay`, then `p -= learning_rate * u` with the
    update `u` of `scale_by_adan`.

    Args:
        learning_rate: at least 0, or a schedule of the step; 5 to 10 times Adam's.
        b1: decay of the mean, in [0, 1).
        b2: decay of the mean difference, in [0, 1).
        b3: decay of the squares, in [0, 1).
        eps: added outside the square root; positive.
        weight_decay: decoupled weight decay, multiplied by the learning rate; at
            least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Xie et al., 2022, https://arxiv.org/abs/2208.06677, algorithm 1. There the
    new parameter is divided by `1 + learning_rate * weight_decay`; here it decays as
    in `adamw`, which is the option `no_prox` of the authors' code.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adan(1e-2, weight_decay=0.02)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_adan(b1, b2, b3, eps=eps),
        scale_by_learning_rate(learning_rate, weight_decay=weight_decay),
    )
