"""AdEMAMix: Adam with two momentum terms, one fast and one slow."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_count, check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    average,
    bias_correction,
    exp,
    increment,
    log_decay,
    precision,
    update_moments,
    zero_count,
    zeros,
)
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByAdemamixState(NamedTuple):
    """First and second moment of the gradients, and their slow mean."""

    step: Array  # int32, shape (): updates made so far
    mu: Tree  # float32 at least
    slow: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_ademamix(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: Scalar = 0.9999,
    *,
    alpha: Scalar = 5.0,
    warmup_steps: int = 0,
    eps: Scalar = 1e-8,
) -> GradientTransformation:
    """AdEMAMix's direction: Adam's, plus `alpha` times a slow mean of the gradients.

    `m = b1 * m + (1 - b1) * g`, `s = b(t) * s + (1 - b(t)) * g` and
    `v = b2 * v + (1 - b2) * g**2`; at step `t`, counted from 1, the update is
    `m / (1 - b1**t) + a(t) * s` divided by `sqrt(v) / sqrt(1 - b2**t) + eps`. During
    the warm-up, with `x = min(t / warmup_steps, 1)`, the weight is `a(t) = alpha * x`,
    and the decay grows from `b1` to `b3` by
    `1 / log(b(t)) = (1 - x) / log(b1) + x / log(b3)`, linearly in its half-life.

    Args:
        b1: decay of the fast mean, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        b3: decay of the slow mean, in [0, 1).
        alpha: weight of the slow mean, at least 0; 4 to 10 in the paper.
        warmup_steps: length of the warm-up, at least 0; in the paper, that of the
            whole training.
        eps: added outside the square root; positive.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if `warmup_steps` is not an integer.

    Source: Pagliardini et al., 2024, https://arxiv.org/abs/2409.03137, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_ademamix(warmup_steps=10_000)
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_ademamix"
    b1 = check_scalar(caller, "b1", b1, at_least=0, below=1)
    b2 = check_scalar(caller, "b2", b2, at_least=0, below=1)
    b3 = check_scalar(caller, "b3", b3, at_least=0, below=1)
    alpha = check_scalar(caller, "alpha", alpha, at_least=0)
    warmup_steps = check_count(caller, "warmup_steps", warmup_steps, at_least=0)
    eps = check_scalar(caller, "eps", eps, above=0)

    def init(params: Params, /) -> ScaleByAdemamixState:
        return ScaleByAdemamixState(
            zero_count(), zeros(params), zeros(params), zeros(params)
        )

    def update(
        grads: Tree, opt_state: ScaleByAdemamixState, params: Params, /
    ) -> tuple[Tree, ScaleByAdemamixState]:
        step = increment(opt_state.step)
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, grads)
        dtype = precision(mu)
        x = mx.minimum(step.astype(dtype) / max(warmup_steps, 1), 1.0)
        log_slow = 1 / ((1 - x) / log_decay(b1, dtype) + x / log_decay(b3, dtype))
        decay, weight = end_kernel(exp(log_slow)), end_kernel(-mx.expm1(log_slow))
        slow = leaves.map(
            lambda s, g: average(decay, s, g, weight=weight), opt_state.slow, grads
        )
        mean_scale = end_kernel(1 / bias_correction(b1, step, dtype))
        slow_scale = end_kernel(alpha * x)
        root_scale = end_kernel(mx.rsqrt(bias_correction(b2, step, dtype)))

        def ratio(m: Array, s: Array, v: Array, g: Array) -> Array:
            numerator = mean_scale * m + slow_scale * s
            return (numerator / (mx.sqrt(v) * root_scale + eps)).astype(g.dtype)

        updates = leaves.map(ratio, mu, slow, nu, grads)
        return updates, ScaleByAdemamixState(step, mu, slow, nu)

    return stateful(caller, ScaleByAdemamixState, init, update)


@errors_named_after
def ademamix(
    learning_rate: ScalarOrSchedule,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: Scalar = 0.9999,
    alpha: Scalar = 5.0,
    warmup_steps: int = 0,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """AdEMAMix: AdamW with two momentum terms, one fast and one slow.

    `p *= 1 - learning_rate * weight_decay`, then
    `p -= learning_rate * (m / (1 - b1**t) + a(t) * s) / (sqrt(v) / sqrt(1 - b2**t) +
    eps)`; see `scale_by_ademamix`. It is intended for long training runs.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        b1: decay of the fast mean, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        b3: decay of the slow mean, in [0, 1).
        alpha: weight of the slow mean, at least 0; 4 to 10 in the paper.
        warmup_steps: length of the warm-up of `alpha` and `b3`, at least 0; in the
            paper, that of the whole training.
        eps: added outside the square root; positive.
        weight_decay: decoupled weight decay, multiplied by the learning rate; at
            least 0.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if `warmup_steps` is not an integer.

    Source: Pagliardini et al., 2024, https://arxiv.org/abs/2409.03137, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.ademamix(1e-3, warmup_steps=10_000, weight_decay=0.1)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha=alpha, warmup_steps=warmup_steps, eps=eps),
        scale_by_learning_rate(learning_rate, weight_decay=weight_decay),
    )
