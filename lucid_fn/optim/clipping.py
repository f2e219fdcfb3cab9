"""Gradient clipping by norm or value, and removal of NaNs."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_scalar
from lucid_fn.numerics import reduced
from lucid_fn.optim import leaves, states
from lucid_fn.optim.base import (
    GradientTransformation,
    stateful,
    stateless_with_tree_map,
)
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import accumulator_dtype, precision
from lucid_fn.types import Array, Params, Scalar, Tree


class ClipByGlobalNormState(NamedTuple):
    """The norm of the latest gradients before clipping; 0 before the first update."""

    norm: Array  # float32 at least, shape ()


def clip_by_global_norm(max_norm: Scalar) -> GradientTransformation:
    """Scales all gradients by `min(1, max_norm / (norm + 1e-6))`.

    `norm` is the Euclidean norm of all gradients as one vector. It is kept in the
    state, where `gradient_norm` reads it.

    Args:
        max_norm: maximum norm, positive.

    Raises:
        ValueError: if `max_norm` is not positive and finite.

    Source: Pascanu et al., 2013, https://arxiv.org/abs/1211.5063, algorithm 1; the
    1e-6 is that of `torch.nn.utils.clip_grad_norm_`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.clip_by_global_norm(1.0)
        >>> params = {"w": mx.zeros(2)}
        >>> grads = {"w": mx.array([30.0, 40.0])}
        >>> clipped, opt_state = opt.update(grads, opt.init(params), params)
        >>> [round(g, 4) for g in clipped["w"].tolist()]
        [0.6, 0.8]
        >>> optim.gradient_norm(opt_state)
        array(50, dtype=float32)
    """
    caller = "clip_by_global_norm"
    max_norm = check_scalar(caller, "max_norm", max_norm, above=0)

    def init(params: Params, /) -> ClipByGlobalNormState:
        return ClipByGlobalNormState(mx.zeros((), precision(params)))

    def update(
        grads: Tree, opt_state: ClipByGlobalNormState, params: Params, /
    ) -> tuple[Tree, ClipByGlobalNormState]:
        norm = tree.global_norm(grads)
        factor = end_kernel(mx.minimum(1.0, max_norm / (norm + 1e-6)))
        clipped = leaves.map(lambda g: end_kernel((g * factor).astype(g.dtype)), grads)
        return clipped, ClipByGlobalNormState(norm)

    return stateful(caller, ClipByGlobalNormState, init, update)


def gradient_norm(opt_state: Any) -> Array:
    """The global norm of the latest gradients, before `clip_by_global_norm`.

    Args:
        opt_state: the state of an optimizer with `clip_by_global_norm` in it.

    Returns:
        float32, or float64 for float64 params; shape `()`; 0 before the first update.

    Raises:
        ValueError: unless the state holds exactly one such norm.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1))
        >>> params, grads = {"w": mx.array(0.0)}, {"w": mx.array(3.0)}
        >>> _, opt_state = optimizer.update(grads, optimizer.init(params), params)
        >>> optim.gradient_norm(opt_state)
        array(3, dtype=float32)
    """
    kind = ClipByGlobalNormState
    norm: Array = states.find_one("gradient_norm", opt_state, kind).norm
    return norm


def clip_by_value(max_value: Scalar) -> GradientTransformation:
    """Clips each element of the gradients to `[-max_value, max_value]`.

    Args:
        max_value: maximum absolute value, positive.

    Raises:
        ValueError: if `max_value` is not positive and finite.

    Source: `torch.nn.utils.clip_grad_value_`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.clip_by_value(1.0)
        >>> opt.update({"w": mx.array([0.5, -3.0])}, (), {"w": mx.zeros(2)})[0]
        {'w': array([0.5, -1], dtype=float32)}
    """
    limit = check_scalar("clip_by_value", "max_value", max_value, above=0)
    return stateless_with_tree_map(
        lambda g, _: end_kernel(mx.clip(g, -limit, limit).astype(g.dtype)),
        caller="clip_by_value",
    )


def zero_nans() -> GradientTransformation:
    """Replaces NaNs in gradients by 0.

    Infinities are unchanged: see `clip_by_value`. To skip the whole update instead,
    which also keeps the moments as they were, see `apply_if_finite`.

    Source: `optax.zero_nans`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> grads = {"w": mx.array([0.5, float("nan")])}
        >>> optim.zero_nans().update(grads, (), {"w": mx.zeros(2)})[0]
        {'w': array([0.5, 0], dtype=float32)}
    """
    return stateless_with_tree_map(
        lambda g, _: mx.where(mx.isnan(g), mx.zeros_like(g), g), caller="zero_nans"
    )


def clip_by_param_norm(
    clipping: Scalar = 0.01, *, eps: Scalar = 1e-3
) -> GradientTransformation:
    """Adaptive gradient clipping (AGC): clips gradients relative to their params.

    For each output unit, a slice along the first axis, `g` is scaled down to the norm
    `clipping * max(norm(p), eps)` if its own is larger. Arrays with fewer than two
    axes, such as biases, are one unit.

    Args:
        clipping: maximum ratio of the norms, positive.
        eps: lower bound of the norm of a unit of the params, positive, so that params
            of 0 can change.

    Raises:
        ValueError: if `clipping` or `eps` is not positive and finite.

    Source: Brock et al., 2021, https://arxiv.org/abs/2102.06171, equation 3. The paper
    exempts the last linear layer: see `masked`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.clip_by_param_norm(0.1)
        >>> params, grads = {"w": mx.array([3.0, 4.0])}, {"w": mx.array([30.0, 40.0])}
        >>> [round(g, 4) for g in opt.update(grads, (), params)[0]["w"].tolist()]
        [0.3, 0.4]
    """
    clipping = check_scalar("clip_by_param_norm", "clipping", clipping, above=0)
    eps = check_scalar("clip_by_param_norm", "eps", eps, above=0)

    def clip(g: Array, p: Array) -> Array:
        limit = clipping * mx.maximum(_unit_norm(p), eps)
        norm = mx.maximum(_unit_norm(g), 1e-6)  # avoids 0 / 0 for a gradient of 0
        return (g * mx.minimum(1.0, limit / norm)).astype(g.dtype)

    return stateless_with_tree_map(clip, caller="clip_by_param_norm")


def _unit_norm(x: Array) -> Array:
    """The norm of each slice along the first axis, or of the whole below two axes."""
    axes = tuple(range(1, x.ndim)) if x.ndim > 1 else None
    squares = mx.square(x.astype(accumulator_dtype(x)))
    return mx.sqrt(reduced(mx.sum, squares, axis=axes, keepdims=True, empty=0))
