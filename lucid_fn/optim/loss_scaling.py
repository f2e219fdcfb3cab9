"""Loss scaling, which keeps small float16 gradients from underflowing to 0."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_count, check_number
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, check_transformation, stateful
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import accumulator_dtype, precision, zero_count
from lucid_fn.optim.states import find
from lucid_fn.types import Array, Params, Tree


class DynamicLossScaleState(NamedTuple):
    """The scale of the loss, and the number of finite steps since it changed."""

    scale: Array  # float32 at least, shape ()
    growth_tracker: Array  # int32, shape (): finite steps since the scale changed
    inner: Any


def dynamic_loss_scale(
    optimizer: GradientTransformation,
    *,
    init_scale: float = 2.0**16,
    growth_factor: float = 2.0,
    backoff_factor: float = 0.5,
    growth_interval: int = 2000,
) -> GradientTransformation:
    """Dynamic loss scaling, as `torch.amp.GradScaler` does it.

    It takes gradients of `loss_scale(opt_state) * loss`, which `train.make_step`
    computes, and passes them to `optimizer` divided by the scale, in float32 at least.
    If any is not finite, the update is 0, the state of `optimizer` is unchanged, and
    the scale is multiplied by `backoff_factor`. After `growth_interval` finite steps in
    a row it is multiplied by `growth_factor`, unless that overflows.

    Args:
        optimizer: receives unscaled gradients, so clipping belongs inside.
        init_scale: initial scale, positive.
        growth_factor: factor that increases the scale, above 1.
        backoff_factor: factor that decreases the scale, in (0, 1).
        growth_interval: finite steps before the scale grows, at least 1.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a number is out of its range.

    Source: Micikevicius et al., 2018, https://arxiv.org/abs/1710.03740, section 3.2.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> from lucid_fn import optim
        >>> optimizer = optim.dynamic_loss_scale(optim.sgd(0.1), init_scale=1024.0)
        >>> params = {"w": mx.array(1.0)}
        >>> opt_state = optimizer.init(params)
        >>> def scaled_loss(params):
        ...     return optim.loss_scale(opt_state) * params["w"] ** 2
        >>> grads = lf.grad(scaled_loss)(params)
        >>> updates, opt_state = optimizer.update(grads, opt_state, params)
        >>> round(updates["w"].item(), 6)
        -0.2
    """
    name = "dynamic_loss_scale"
    check_transformation(name, "optimizer", optimizer)
    init_scale = check_number(name, "init_scale", init_scale, above=0)
    growth_factor = check_number(name, "growth_factor", growth_factor, above=1)
    backoff_factor = check_number(
        name, "backoff_factor", backoff_factor, above=0, below=1
    )
    growth_interval = check_count(name, "growth_interval", growth_interval)

    def init(params: Params, /) -> DynamicLossScaleState:
        scale = mx.array(init_scale, precision(params))
        return DynamicLossScaleState(scale, zero_count(), optimizer.init(params))

    def update(
        grads: Tree, opt_state: DynamicLossScaleState, params: Params, /
    ) -> tuple[Tree, DynamicLossScaleState]:
        scale, tracker, old = opt_state
        inverse = end_kernel(1 / scale)
        unscaled = leaves.map(
            lambda g: g.astype(accumulator_dtype(g)) * inverse, grads, caller=name
        )
        finite = end_kernel(tree.all_finite(unscaled))
        updates, inner = optimizer.update(unscaled, old, params)
        tracker = mx.where(finite, tracker + 1, 0)
        grown = scale * growth_factor
        grows = mx.logical_and(tracker >= growth_interval, mx.isfinite(grown))
        new_scale = mx.where(grows, grown, scale)
        new_scale = mx.where(finite, new_scale, scale * backoff_factor)
        return (
            leaves.map(
                lambda u, g: mx.where(finite, u, 0).astype(g.dtype), updates, grads
            ),
            DynamicLossScaleState(
                new_scale,
                mx.where(tracker >= growth_interval, 0, tracker).astype(mx.int32),
                leaves.select(finite, inner, old),
            ),
        )

    return stateful(name, DynamicLossScaleState, init, update)


def loss_scale(opt_state: Any) -> Array | float:
    """The factor by which to multiply the loss before differentiation.

    Args:
        opt_state: the state of any optimizer.

    Returns:
        The scale of its `dynamic_loss_scale`, shape `()`; 1.0 if it has none.

    Raises:
        ValueError: if it has several.

    Example:
        >>> from lucid_fn import optim
        >>> optimizer = optim.dynamic_loss_scale(optim.sgd(0.1))
        >>> optim.loss_scale(optimizer.init({})).item()
        65536.0
        >>> optim.loss_scale(optim.sgd(0.1).init({}))
        1.0
    """
    found = find(opt_state, DynamicLossScaleState)
    if len(found) > 1:
        raise ValueError(
            "loss_scale: opt_state must hold one DynamicLossScaleState at most, got "
            f"{len(found)}; wrap the whole optimizer in dynamic_loss_scale, once"
        )
    scale: Array | float = found[0].scale if found else 1.0
    return scale
