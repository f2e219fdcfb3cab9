"""`accumulate`, `apply_if_finite` and `lookahead`: wrappers of whole optimizers.

They do not branch on arrays: both outcomes are computed, and one is selected.
"""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_count, check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, check_transformation, stateful
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import increment, zero_count, zeros
from lucid_fn.types import Array, Params, Scalar, Tree


class AccumulateState(NamedTuple):
    """The sum of the gradients since the latest update, and the optimizer's state."""

    micro_step: Array  # int32, shape (): gradients in the sum
    total: Tree  # float32 at least
    inner: Any


class ApplyIfFiniteState(NamedTuple):
    """The numbers of skipped updates, and the state of the optimizer."""

    skipped: Array  # int32, shape (): in total
    skipped_in_a_row: Array  # int32, shape (): since the latest that was applied
    inner: Any


class LookaheadState(NamedTuple):
    """The slow params, and the state of the optimizer that moves the fast ones."""

    step: Array  # int32, shape (): updates since the latest synchronization
    slow: Tree  # in the dtypes of the params
    inner: Any


def accumulate(
    optimizer: GradientTransformation, *, steps: int
) -> GradientTransformation:
    """Gradient accumulation: one update from the mean of `steps` gradients.

    If the loss is a mean over the batch, and micro-batches have equal sizes, this is
    the update of the whole batch. The calls in between return updates of 0. Schedules
    inside `optimizer` count its updates, not the micro-batches.

    Args:
        optimizer: receives the mean gradient.
        steps: micro-batches per update, at least 1.

    Raises:
        ValueError: if `steps` is less than 1.
        TypeError: if an argument is of the wrong type.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.accumulate(optim.sgd(1.0), steps=2)
        >>> params = {"w": mx.array(0.0)}
        >>> opt_state = optimizer.init(params)
        >>> for grad in (1.0, 3.0):
        ...     grads = {"w": mx.array(grad)}
        ...     updates, opt_state = optimizer.update(grads, opt_state, params)
        ...     print(updates["w"].item())
        0.0
        -2.0
    """
    check_transformation("accumulate", "optimizer", optimizer)
    steps = check_count("accumulate", "steps", steps)

    def init(params: Params, /) -> AccumulateState:
        return AccumulateState(zero_count(), zeros(params), optimizer.init(params))

    def update(
        grads: Tree, opt_state: AccumulateState, params: Params, /
    ) -> tuple[Tree, AccumulateState]:
        total = leaves.map(
            lambda t, g: t + g.astype(t.dtype),
            opt_state.total,
            grads,
            caller="accumulate (state and grads)",
        )
        mean = leaves.map(lambda t, g: (t / steps).astype(g.dtype), total, grads)
        updates, inner = optimizer.update(mean, opt_state.inner, params)
        full = opt_state.micro_step == steps - 1
        return _or_zero(full, updates), AccumulateState(
            mx.where(full, 0, opt_state.micro_step + 1).astype(mx.int32),
            leaves.select(full, tree.zeros_like(total), total),
            leaves.select(full, inner, opt_state.inner),
        )

    return stateful("accumulate", AccumulateState, init, update)


def apply_if_finite(optimizer: GradientTransformation) -> GradientTransformation:
    """Skips updates whose gradients contain an infinity or a NaN.

    A skipped call returns updates of 0, and a state that differs only in the counts.
    If `opt_state.skipped_in_a_row` keeps growing, training has diverged.

    Args:
        optimizer: applied only to finite gradients.

    Raises:
        TypeError: if `optimizer` is not a transformation.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.apply_if_finite(optim.sgd(1.0))
        >>> params, grads = {"w": mx.array(1.0)}, {"w": mx.array(float("nan"))}
        >>> updates, opt_state = optimizer.update(
        ...     grads, optimizer.init(params), params
        ... )
        >>> updates["w"], opt_state.skipped
        (array(0, dtype=float32), array(1, dtype=int32))
    """
    check_transformation("apply_if_finite", "optimizer", optimizer)

    def init(params: Params, /) -> ApplyIfFiniteState:
        return ApplyIfFiniteState(zero_count(), zero_count(), optimizer.init(params))

    def update(
        grads: Tree, opt_state: ApplyIfFiniteState, params: Params, /
    ) -> tuple[Tree, ApplyIfFiniteState]:
        finite = tree.all_finite(grads)
        updates, inner = optimizer.update(grads, opt_state.inner, params)
        return _or_zero(finite, updates), ApplyIfFiniteState(
            mx.where(finite, opt_state.skipped, increment(opt_state.skipped)),
            mx.where(finite, 0, increment(opt_state.skipped_in_a_row)),
            leaves.select(finite, inner, opt_state.inner),
        )

    return stateful("apply_if_finite", ApplyIfFiniteState, init, update)


def lookahead(
    optimizer: GradientTransformation, *, period: int = 5, alpha: Scalar = 0.5
) -> GradientTransformation:
    """Lookahead: slow params that follow the fast ones of an optimizer.

    Every `period` updates `slow += alpha * (params - slow)`, and the params become
    `slow`.

    Args:
        optimizer: makes the fast steps; its state is not reset.
        period: updates from one synchronization to the next, at least 1.
        alpha: step size of the slow params, in [0, 1].

    Raises:
        ValueError: if `period` or `alpha` is out of its range.
        TypeError: if an argument is of the wrong type.

    Source: Zhang et al., 2019, https://arxiv.org/abs/1907.08610, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.lookahead(optim.sgd(1.0), period=2)
        >>> params = {"w": mx.array(0.0)}
        >>> opt_state = optimizer.init(params)
        >>> for _ in range(2):
        ...     grads = {"w": mx.array(1.0)}
        ...     updates, opt_state = optimizer.update(grads, opt_state, params)
        ...     params = optim.apply_updates(params, updates)
        ...     print(params["w"].item())
        -1.0
        -1.0
    """
    caller = "lookahead"
    check_transformation(caller, "optimizer", optimizer)
    period = check_count(caller, "period", period)
    alpha = check_scalar(caller, "alpha", alpha, at_least=0, at_most=1)

    def init(params: Params, /) -> LookaheadState:
        slow = leaves.map(mx.contiguous, params)  # copies
        return LookaheadState(zero_count(), slow, optimizer.init(params))

    def update(
        grads: Tree, opt_state: LookaheadState, params: Params, /
    ) -> tuple[Tree, LookaheadState]:
        updates, inner = optimizer.update(grads, opt_state.inner, params)
        updates = leaves.map(end_kernel, updates)
        step = (opt_state.step + 1) % period
        due = end_kernel(step == 0)

        def pull(slow: Array, p: Array, u: Array) -> Array:
            return mx.where(due, slow + alpha * (p + u - slow), slow).astype(slow.dtype)

        slow = leaves.map(
            pull,
            opt_state.slow,
            params,
            updates,
            caller=f"{caller} (state, params and updates)",
        )
        updates = leaves.map(
            lambda u, s, p: mx.where(due, s - p, u).astype(u.dtype),
            updates,
            slow,
            params,
        )
        return updates, LookaheadState(step, slow, inner)

    return stateful(caller, LookaheadState, init, update)


def _or_zero(condition: Array, updates: Tree) -> Tree:
    return leaves.select(condition, updates, tree.zeros_like(updates))
