"""Transformations that keep params small or smooth the way to a minimum."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn import random
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateless
from lucid_fn.optim.checks import Scalar, check_at_least_0, is_zero
from lucid_fn.optim.moments import accumulator_dtype, once
from lucid_fn.types import Array, Key, Params, Tree


class AddNoiseState(NamedTuple):
    """The key of the next noise."""

    step: Array  # int32, shape (): updates made so far
    key: Key


def add_decayed_weights(weight_decay: Scalar) -> GradientTransformation:
    """Adds `weight_decay * param` to each gradient: the gradient of an L2 penalty.

    That is coupled weight decay, which the scaling of an adaptive optimizer then
    divides. For the decoupled kind see `scale_by_learning_rate`.

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
    weight_decay = check_at_least_0("add_decayed_weights", "weight_decay", weight_decay)
    if is_zero(weight_decay):
        return chain()

    def add(g: Array, p: Array) -> Array:
        return (g + weight_decay * p).astype(g.dtype)

    return stateless(add, caller="add_decayed_weights")


def centralize() -> GradientTransformation:
    """Takes its mean off the gradient of each output unit: gradient centralization.

    An output unit is a slice along the first axis of an array of two axes or more, as
    weights here have them; arrays of fewer axes pass through.

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
        mean = mx.mean(x, axis=tuple(range(1, g.ndim)), keepdims=True)
        return (x - mean).astype(g.dtype)

    return stateless(center, caller="centralize")


def add_noise(key: Key, *, eta: Scalar, gamma: Scalar = 0.55) -> GradientTransformation:
    """Adds normal noise of the variance `eta / (1 + t)**gamma` at step `t` from 0.

    The key is in the state, so the noise is a function of the state alone, and a
    restored run goes on with the same.

    Args:
        key: a key that is used for nothing else.
        eta: variance of the first noise, at least 0; 0.01, 0.3 or 1 in the paper.
        gamma: how fast it falls, at least 0.

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
    eta = check_at_least_0("add_noise", "eta", eta)
    gamma = check_at_least_0("add_noise", "gamma", gamma)

    def init(params: Params, /) -> AddNoiseState:
        return AddNoiseState(mx.array(0, mx.int32), random.fold_in(key, "add_noise"))

    def update(
        grads: Tree, opt_state: AddNoiseState, params: Params, /
    ) -> tuple[Tree, AddNoiseState]:
        step = opt_state.step
        variance = eta / mx.power(step.astype(mx.float32) + 1, gamma)
        deviation = once(mx.sqrt(variance))
        key, subkey = random.split(opt_state.key)

        def add(path: str, g: Array) -> Array:
            noise = random.normal(random.fold_in(subkey, path), g.shape)
            return (g + deviation * noise).astype(g.dtype)

        updates = leaves.map_with_path(add, grads)
        return updates, AddNoiseState(step + 1, key)

    return GradientTransformation(init, update)
