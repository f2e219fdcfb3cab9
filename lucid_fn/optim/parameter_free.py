"""Prodigy: Adam that finds its learning rate by how far the params have to go."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation
from lucid_fn.optim.checks import (
    Scalar,
    check_at_least_0,
    check_decay,
    check_positive,
    is_zero,
)
from lucid_fn.optim.descent import RateState, ScalarOrSchedule, rate_of
from lucid_fn.optim.moments import copies, once, update_moments, zeros
from lucid_fn.sums import total
from lucid_fn.types import Array, Params, Tree


class ProdigyState(NamedTuple):
    """The estimate of the distance to the solution, and what it is made of."""

    rate: RateState
    distance: Array  # float32, shape (): d
    progress: Array  # float32, shape (): r
    summed: Tree  # float32 at least: s
    start: Tree  # float32 at least: the params at init
    mu: Tree  # float32 at least
    nu: Tree  # float32 at least


def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    *,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: Scalar = 0.0,
    initial_distance: Scalar = 1e-6,
) -> GradientTransformation:
    """Adam with a learning rate that it estimates: the distance to the solution.

    `m = b1 * m + (1 - b1) * d * g`, `v = b2 * v + (1 - b2) * (d * g)**2`, then
    `p -= learning_rate * d * (m / (sqrt(v) + d * eps) + weight_decay * p)`. The
    estimate `d` is the largest `r / sum(|s|)` so far; with `c = sqrt(b2)`, the params
    `p0` at init and `w = (1 - c) * learning_rate * d**2`, these are
    `r = c * r + w * g @ (p0 - p)` and `s = c * s + w * g`; `@` and the sum are over all
    params.

    The first steps are as small as `initial_distance`, so the params need float32.

    Args:
        learning_rate: factor of the estimate, at least 0, or a schedule of the step;
            1 in the paper, falling by a cosine to 0.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1); that of the estimate is its root.
        eps: added to the root, outside it, in units of `d`; positive.
        weight_decay: part of the parameter taken off in a step, in units of the
            learning rate times `d`; at least 0.
        initial_distance: the first `d`, positive, and below the distance to go.

    Returns:
        A transformation whose state has the estimate in `distance`.

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
    b1, b2 = check_decay(caller, "b1", b1), check_decay(caller, "b2", b2)
    eps = check_positive(caller, "eps", eps)
    weight_decay = check_at_least_0(caller, "weight_decay", weight_decay)
    initial_distance = check_positive(caller, "initial_distance", initial_distance)

    def init(params: Params, /) -> ProdigyState:
        return ProdigyState(
            rate=rate.init(params),
            distance=mx.array(initial_distance, mx.float32),
            progress=mx.array(0.0),
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
        kept = mx.sqrt(mx.array(b2, mx.float32))
        weight = once((1 - kept) * value * d * d)
        progress = kept * opt_state.progress + weight * _sum(along)
        summed = leaves.map(
            lambda s, g: kept * s + weight * g.astype(s.dtype), opt_state.summed, grads
        )
        size = _sum(leaves.map(lambda s: total(mx.abs(s)), summed))
        known = size > 0  # not before there was a gradient
        estimate = mx.where(known, progress / mx.where(known, size, 1.0), 0.0)

        scaled = leaves.map(lambda m, g: d * g.astype(m.dtype), opt_state.mu, grads)
        mu, nu = update_moments(caller, b1, b2, opt_state.mu, opt_state.nu, scaled)
        step_size, least = once(-value * d), once(d * eps)

        def move(m: Array, v: Array, p: Array, g: Array) -> Array:
            direction = m / (mx.sqrt(v) + least)
            if not is_zero(weight_decay):
                direction = direction + weight_decay * p
            return (step_size * direction).astype(g.dtype)

        updates = leaves.map(move, mu, nu, params, grads)
        return updates, ProdigyState(
            rate_state,
            mx.maximum(d, estimate),
            progress,
            summed,
            opt_state.start,
            mu,
            nu,
        )

    return GradientTransformation(init, update)


def _sum(scalars: Tree) -> Array:
    """The sum of all leaves: float32, shape `()`."""
    return sum(tree.leaves(scalars), mx.array(0.0)).astype(mx.float32)
