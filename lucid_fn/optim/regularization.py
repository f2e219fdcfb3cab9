"""Transformations that regularize: weight decay, centralization and noise."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_scalar
from lucid_fn.numerics import reduced
from lucid_fn.optim import leaves
from lucid_fn.optim.base import (
    GradientTransformation,
    chain,
    stateful,
    stateless_with_tree_map,
)
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import accumulator_dtype, increment, is_zero, zero_count
from lucid_fn.types import Array, Key, Params, Scalar, Tree


class AddNoiseState(NamedTuple):
    """The key for the noise of the next step."""

    step: Array  # int32, shape (): updates made so far
    key: Key


def add_decayed_weights(weight_decay: Scalar) -> GradientTransformation:
    """Coupled weight decay: adds `weight_decay * p`, the gradient of an L2 penalty.

    An adaptive optimizer later in the chain scales it with the gradient. For decoupled
    weight decay see `scale_by_learning_rate`.

    Args:
        weight_decay: at least 0.

    Raises:
        ValueError: if `weight_decay` is negative or not finite.

    Source: Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101, section 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.add_decayed_weights(0.5)
        >>> opt.update({"w": mx.array(1.0)}, (), {"w": mx.array(4.0)})[0]
        {'w': array(3, dtype=float32)}
    """
    caller = "add_decayed_weights"
    weight_decay = check_scalar(caller, "weight_decay", weight_decay, at_least=0)
    if is_zero(weight_decay):
        return chain()

    def add(g: Array, p: Array) -> Array:
        return (g + weight_decay * p).astype(g.dtype)

    return stateless_with_tree_map(add, caller=caller)


def centralize() -> GradientTransformation:
    """Gradient centralization: subtracts the mean of each output unit.

    An output unit is a slice along the first axis of an array with two axes or more,
    such as a weight. Arrays with fewer axes are unchanged.

    Source: Yong et al., 2020, https://arxiv.org/abs/2004.01461, equation 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> grads = {"weight": mx.array([[1.0, 3.0]]), "bias": mx.array([5.0])}
        >>> updates, _ = optim.centralize().update(grads, (), grads)
        >>> updates["weight"], updates["bias"]
        (array([[-1, 1]], dtype=float32), array([5], dtype=float32))
    """

    def center(g: Array, _: Array) -> Array:
        if g.ndim < 2:
            return g
        x = g.astype(accumulator_dtype(g))
        axes = tuple(range(1, g.ndim))
        mean = reduced(mx.mean, x, axis=axes, keepdims=True, empty=0)
        return (x - mean).astype(g.dtype)

    return stateless_with_tree_map(center, caller="centralize")


def add_noise(key: Key, *, eta: Scalar, gamma: Scalar = 0.55) -> GradientTransformation:
    """Adds Gaussian noise with variance `eta / (1 + t)**gamma` at step `t`, from 0.

    The key is in the state, so the noise is a function of the state alone, and a
    resumed run continues with the same noise.

    Args:
        key: a key that is used for nothing else.
        eta: initial variance, at least 0; 0.01, 0.3 or 1 in the paper.
        gamma: exponent of the variance's decay, at least 0.

    Raises:
        ValueError: if `eta` or `gamma` is negative or not finite.
        TypeError: on init, if `key` is not a key.

    Source: Neelakantan et al., 2015, https://arxiv.org/abs/1511.06807, equation 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim, random
        >>> opt = optim.add_noise(random.key(0), eta=0.01)
        >>> params, grads = {"w": mx.zeros(2)}, {"w": mx.zeros(2)}
        >>> opt.update(grads, opt.init(params), params)[0]["w"].shape
        (2,)
    """
    eta = check_scalar("add_noise", "eta", eta, at_least=0)
    gamma = check_scalar("add_noise", "gamma", gamma, at_least=0)

    def init(params: Params, /) -> AddNoiseState:
        return AddNoiseState(zero_count(), random.fold_in(key, "add_noise"))

    def update(
        grads: Tree, opt_state: AddNoiseState, params: Params, /
    ) -> tuple[Tree, AddNoiseState]:
        step = opt_state.step
        variance = eta / mx.power(step.astype(mx.float32) + 1, gamma)
        stddev = end_kernel(mx.sqrt(variance))
        key, subkey = random.split(opt_state.key)

        def add(path: str, g: Array) -> Array:
            noise = random.normal(random.fold_in(subkey, path), g.shape)
            return (g + stddev * noise).astype(g.dtype)

        updates = leaves.map_with_path(add, grads)
        return updates, AddNoiseState(increment(step), key)

    return stateful("add_noise", AddNoiseState, init, update)
