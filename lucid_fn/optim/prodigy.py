"""Prodigy: Adam with an estimated learning rate."""

import math
from typing import NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_scalar
from lucid_fn.numerics import total
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, stateful
from lucid_fn.optim.learning_rate import RateState, ScalarOrSchedule, rate_of
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    average,
    check_moments,
    copies,
    is_zero,
    precision,
    update_moments,
    zeros,
)
from lucid_fn.types import Array, Params, Scalar, Tree


class ProdigyState(NamedTuple):
    """The estimated distance to the solution, its sums, and Adam's moments."""

    rate: RateState
    distance: Array  # float32 at least, shape (): d
    progress: Array  # float32 at least, shape (): r
    summed: Tree  # float32 at least: s
    start: Tree  # float32 at least: the params at init
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least

    @property
    def mixes_params(self) -> bool:
        """Whether the state of one param depends on other params."""
        return True


def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    initial_distance: Scalar = 1e-6,
) -> GradientTransformation:
    """Prodigy: Adam with a learning rate estimated as the distance to the solution.

    `m = b1 * m + (1 - b1) * d * g`, `v = b2 * v + (1 - b2) * (d * g)**2`, then
    `p -= learning_rate * d * (m / (sqrt(v) + d * eps) + weight_decay * p)`. The
    estimate `d` is the largest `r / sum(|s|)` so far; with `c = sqrt(b2)`, the params
    `p0` at init and `w = (1 - c) * learning_rate * d**2`, these are
    `r = c * r + w * g @ (p0 - p)` and `s = c * s + w * g`; `@` and the sum are over all
    params.

    The first steps are as small as `initial_distance`, so the params need float32.

    Args:
        learning_rate: factor of the estimate, at least 0, or a schedule of the step;
            1 in the paper, or a cosine decay from 1 to 0.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1); that of the estimate is its root.
        eps: added outside the square root, in units of `d`; positive.
        weight_decay: decoupled weight decay, multiplied by the learning rate times
            `d`; at least 0.
        initial_distance: initial value of `d`, positive, and smaller than the distance
            to the solution.

    Returns:
        A transformation whose state has `d` in `distance`.

    Raises:
        ValueError: if a number is out of its range.

    Source: Mishchenko & Defazio, 2023, https://arxiv.org/abs/2306.06101, algorithm 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.prodigy(initial_distance=0.01)
        >>> params = {"w": mx.array([3.0])}
        >>> opt_state = optimizer.init(params)
        >>> for _ in range(50):
        ...     updates, opt_state = optimizer.update(params, opt_state, params)
        ...     params = optim.apply_updates(params, updates)
        >>> 0.3 < opt_state.distance.item() < 3
        True
    """
    caller = "prodigy"
    rate = rate_of(caller, learning_rate)
    b1, b2, eps = check_moments(caller, b1, b2, eps)
    weight_decay = check_scalar(caller, "weight_decay", weight_decay, at_least=0)
    initial_distance = check_scalar(
        caller, "initial_distance", initial_distance, above=0
    )

    def init(params: Params, /) -> ProdigyState:
        dtype = precision(params)
        return ProdigyState(
            rate=rate.init(params),
            distance=mx.array(initial_distance, dtype),
            progress=mx.zeros((), dtype),
            summed=zeros(params),
            start=copies(params),
            mu=zeros(params),
            nu=zeros(params),
        )

    def update(
        grads: Tree, opt_state: ProdigyState, params: Params, /
    ) -> tuple[Tree, ProdigyState]:
        value, rate_state = rate.next(opt_state.rate)
        d = opt_state.distance
        along = leaves.map(
            lambda g, x, p: total(g.astype(x.dtype) * (x - p)),
            grads,
            opt_state.start,
            params,
            caller=f"{caller} (grads, state and params)",
        )
        decay, complement = _root_and_complement(b2, d.dtype)
        weight = end_kernel(complement * value * d * d)
        progress = decay * opt_state.progress + weight * _sum(along, d.dtype)
        summed = leaves.map(
            lambda s, g: average(decay, s, g, weight=weight), opt_state.summed, grads
        )
        size = _sum(leaves.map(lambda s: total(mx.abs(s)), summed), d.dtype)
        nonzero = size > 0
        estimate = mx.where(nonzero, progress / mx.where(nonzero, size, 1.0), 0.0)

        scaled = leaves.map(lambda m, g: d * g.astype(m.dtype), opt_state.mu, grads)
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, scaled)
        step_size, scaled_eps = end_kernel(-value * d), end_kernel(d * eps)

        def move(m: Array, v: Array, p: Array, g: Array) -> Array:
            direction = m / (mx.sqrt(v) + scaled_eps)
            if not is_zero(weight_decay):
                direction = direction + weight_decay * p
            return (step_size * direction).astype(g.dtype)

        updates = leaves.map(move, mu, nu, params, grads)
        return updates, ProdigyState(
            rate_state,
            mx.maximum(d, estimate.astype(d.dtype)),
            progress,
            summed,
            opt_state.start,
            mu,
            nu,
        )

    return stateful(caller, ProdigyState, init, update)


def _root_and_complement(b2: Scalar, dtype: mx.Dtype) -> tuple[Array, Array]:
    """`c = sqrt(b2)` and `1 - c`, as `(1 - b2) / (1 + c)` because `c` is near 1."""
    root = mx.sqrt(b2) if isinstance(b2, mx.array) else math.sqrt(b2)
    return mx.array(root, dtype), mx.array((1 - b2) / (1 + root), dtype)


def _sum(scalars: Tree, dtype: mx.Dtype) -> Array:
    """The sum of all leaves: shape `()`."""
    return sum(tree.leaves(scalars), mx.array(0.0)).astype(dtype)
