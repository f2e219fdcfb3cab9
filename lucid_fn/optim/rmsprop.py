"""RMSprop, plain and centered."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_bool, check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    bias_correction,
    increment,
    is_zero,
    precision,
    second_moment,
    update_moments,
    zero_count,
    zeros,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.optim.sgd import trace
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByRmsState(NamedTuple):
    """The running mean square of the gradients."""

    step: Array  # int32, shape (): updates made so far
    nu: Tree  # float32 at least


class ScaleByStddevState(NamedTuple):
    """Running mean and mean square of the gradients."""

    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def scale_by_rms(
    decay: Scalar = 0.99, *, eps: Scalar = 1e-8, unbiased: bool = False
) -> GradientTransformation:
    """Divides gradients by their root mean square: `g / (sqrt(v) + eps)`.

    `v = decay * v + (1 - decay) * g**2`.

    Args:
        decay: decay of the mean square, in [0, 1).
        eps: added outside the square root; positive.
        unbiased: whether to divide `v` by `1 - decay**t` first, as Adam does.

    Raises:
        ValueError: if a number is out of its range.

    Source: Tieleman & Hinton, 2012, COURSERA lecture 6.5.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_rms(0.75)
        >>> params, grads = {"w": mx.array(0.0)}, {"w": mx.array(3.0)}
        >>> updates, _ = opt.update(grads, opt.init(params), params)
        >>> round(updates["w"].item(), 4)
        2.0
    """
    caller = "scale_by_rms"
    check_bool(caller, unbiased=unbiased)
    decay = check_scalar(caller, "decay", decay, at_least=0, below=1)
    eps = check_scalar(caller, "eps", eps, above=0)

    def init(params: Params, /) -> ScaleByRmsState:
        return ScaleByRmsState(zero_count(), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByRmsState, params: Params, /
    ) -> tuple[Tree, ScaleByRmsState]:
        step = increment(opt_state.step)
        nu = second_moment(caller, decay, opt_state.nu, grads)
        scale: Scalar = 1.0
        if unbiased:
            scale = end_kernel(mx.rsqrt(bias_correction(decay, step, precision(nu))))
        updates = leaves.map(
            lambda v, g: (g / (mx.sqrt(v) * scale + eps)).astype(g.dtype), nu, grads
        )
        return updates, ScaleByRmsState(step, nu)

    return stateful(caller, ScaleByRmsState, init, update)


def scale_by_stddev(
    decay: Scalar = 0.99, *, eps: Scalar = 1e-8
) -> GradientTransformation:
    """Divides gradients by their standard deviation: `g / (sqrt(v - m**2) + eps)`.

    `m` is the running mean of the gradients and `v` that of their squares.

    Args:
        decay: decay of both means, in [0, 1).
        eps: added outside the square root; positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Graves, 2013, https://arxiv.org/abs/1308.0850, equations 38 to 40, with
    `eps` outside the root. A variance that is negative by rounding counts as 0; in
    PyTorch its root is NaN.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_stddev()
        >>> opt_state = opt.init({"w": mx.zeros(2)})
    """
    caller = "scale_by_stddev"
    decay = check_scalar(caller, "decay", decay, at_least=0, below=1)
    eps = check_scalar(caller, "eps", eps, above=0)

    def init(params: Params, /) -> ScaleByStddevState:
        return ScaleByStddevState(zeros(params), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByStddevState, params: Params, /
    ) -> tuple[Tree, ScaleByStddevState]:
        mu, nu = update_moments(caller, decay, decay, opt_state.mu, opt_state.nu, grads)

        def ratio(m: Array, v: Array, g: Array) -> Array:
            variance = end_kernel(mx.maximum(v - m * m, 0))
            return (g / (mx.sqrt(variance) + eps)).astype(g.dtype)

        return leaves.map(ratio, mu, nu, grads), ScaleByStddevState(mu, nu)

    return stateful(caller, ScaleByStddevState, init, update)


@errors_named_after
def rmsprop(
    learning_rate: ScalarOrSchedule,
    *,
    decay: Scalar = 0.99,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    momentum: Scalar = 0.0,
    centered: bool = False,
) -> GradientTransformation:
    """RMSprop: gradients divided by their root mean square, as `torch.optim.RMSprop`.

    `b = momentum * b + g / (sqrt(v) + eps)`, then `p -= learning_rate * b`. With
    `centered`, `v` is replaced by the variance `v - m**2`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        decay: decay of the mean square, in [0, 1); PyTorch's `alpha`.
        eps: added outside the square root; positive.
        weight_decay: factor of the L2 penalty, at least 0.
        momentum: weight of the running sum of scaled gradients, at least 0.
        centered: whether to divide by the standard deviation instead.

    Raises:
        ValueError: if a number is out of its range.

    Source: Tieleman & Hinton, 2012, COURSERA lecture 6.5; centered: Graves, 2013,
    https://arxiv.org/abs/1308.0850.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.rmsprop(1e-2, momentum=0.9)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    check_bool("rmsprop", centered=centered)
    scale_by = scale_by_stddev if centered else scale_by_rms
    summed = trace(momentum)
    return chain(
        add_decayed_weights(weight_decay),
        scale_by(decay, eps=eps),
        chain() if is_zero(momentum) else summed,
        scale_by_learning_rate(learning_rate),
    )
