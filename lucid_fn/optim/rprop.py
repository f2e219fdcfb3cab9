"""Rprop: resilient backpropagation."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import (
    GradientTransformation,
    chain,
    stateful,
    stateless_with_tree_map,
)
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.moments import zeros
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByRpropState(NamedTuple):
    """The step sizes, and the signs of the previous gradients."""

    sizes: Tree  # float32 at least
    signs: Tree  # float32 at least: -1 or 1, 0 where no step was made


def scale_by_rprop(
    learning_rate: Scalar = 1e-2,
    *,
    eta_minus: Scalar = 0.5,
    eta_plus: Scalar = 1.2,
    min_step_size: Scalar = 1e-6,
    max_step_size: Scalar = 50.0,
) -> GradientTransformation:
    """Rprop's direction: the sign of the gradient times a step size per element.

    The size is multiplied by `eta_plus` where the gradient keeps its sign, and by
    `eta_minus` where the sign changes. Where it changes no step is made, and the stored
    sign is 0, so that the size is unchanged at the next step.

    Args:
        learning_rate: initial step size, positive.
        eta_minus: factor of the size after a change of sign, in [0, 1).
        eta_plus: factor of the size while the sign stays, at least 1.
        min_step_size: minimum size, positive.
        max_step_size: maximum size, at least `min_step_size`.

    Raises:
        ValueError: if a number is out of its range.

    Source: Riedmiller & Braun, 1993, "A direct adaptive method for faster
    backpropagation learning: the RPROP algorithm"; steps are not reverted, as in
    `torch.optim.Rprop`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_rprop(0.5, eta_plus=2.0)
        >>> params, grads = {"w": mx.zeros(2)}, {"w": mx.array([0.001, -100.0])}
        >>> updates, opt_state = opt.update(grads, opt.init(params), params)
        >>> updates, opt.update(grads, opt_state, params)[0]
        ({'w': array([0.5, -0.5], dtype=float32)}, {'w': array([1, -1], dtype=float32)})
    """
    caller = "scale_by_rprop"
    initial = check_scalar(caller, "learning_rate", learning_rate, above=0)
    eta_minus = check_scalar(caller, "eta_minus", eta_minus, at_least=0, below=1)
    eta_plus = check_scalar(caller, "eta_plus", eta_plus, at_least=1)
    low = check_scalar(caller, "min_step_size", min_step_size, above=0)
    high = check_scalar(caller, "max_step_size", max_step_size, above=0)
    known = not isinstance(low, mx.array) and not isinstance(high, mx.array)
    if known and low > high:
        raise ValueError(
            f"{caller}: max_step_size must be at least min_step_size {low:g}, got "
            f"{high:g}"
        )

    def init(params: Params, /) -> ScaleByRpropState:
        return ScaleByRpropState(zeros(params, initial), zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByRpropState, params: Params, /
    ) -> tuple[Tree, ScaleByRpropState]:
        def next_size(size: Array, previous: Array, g: Array) -> Array:
            agreement = previous * mx.sign(g)
            shrunk = mx.where(agreement < 0, mx.array(eta_minus, size.dtype), 1.0)
            grown = mx.array(eta_plus, size.dtype)
            factor = mx.where(agreement > 0, grown, shrunk)
            return mx.clip(size * factor, low, high).astype(size.dtype)

        def next_sign(previous: Array, g: Array) -> Array:
            sign = mx.sign(g).astype(previous.dtype)
            return mx.where(previous * sign < 0, mx.zeros_like(sign), sign)

        sizes = leaves.map(
            next_size,
            opt_state.sizes,
            opt_state.signs,
            grads,
            caller=f"{caller} (state and grads)",
        )
        signs = leaves.map(next_sign, opt_state.signs, grads)
        updates = leaves.map(
            lambda x, s, g: (x * s).astype(g.dtype), sizes, signs, grads
        )
        return updates, ScaleByRpropState(sizes, signs)

    return stateful(caller, ScaleByRpropState, init, update)


@errors_named_after
def rprop(
    learning_rate: Scalar,
    *,
    eta_minus: Scalar = 0.5,
    eta_plus: Scalar = 1.2,
    min_step_size: Scalar = 1e-6,
    max_step_size: Scalar = 50.0,
) -> GradientTransformation:
    """Rprop: resilient backpropagation, for full batches, as `torch.optim.Rprop`.

    `p -= sign(g) * size`; see `scale_by_rprop` for the size. The learning rate is only
    the initial size: it is not in the state, so it cannot be read, set or scheduled.

    Args:
        learning_rate: initial step size, positive; not a schedule.
        eta_minus: factor of the size after a change of sign, in [0, 1).
        eta_plus: factor of the size while the sign stays, at least 1.
        min_step_size: minimum size, positive.
        max_step_size: maximum size, at least `min_step_size`.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if `learning_rate` is a schedule.

    Source: Riedmiller & Braun, 1993, "A direct adaptive method for faster
    backpropagation learning: the RPROP algorithm".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.rprop(1e-2)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_rprop(
            learning_rate,
            eta_minus=eta_minus,
            eta_plus=eta_plus,
            min_step_size=min_step_size,
            max_step_size=max_step_size,
        ),
        stateless_with_tree_map(lambda u, _: -u, caller="rprop"),
    )
