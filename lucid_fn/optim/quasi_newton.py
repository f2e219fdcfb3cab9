"""L-BFGS: gradients times an inverse Hessian that is known by its latest effects."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.numerics import total
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain
from lucid_fn.optim.checks import check_count, reports_as_itself
from lucid_fn.optim.descent import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import accumulator_dtype
from lucid_fn.types import Array, Params, Tree

# Below it a pair tells no curvature that can be relied on; PyTorch's value.
_LEAST_CURVATURE = 1e-10


class ScaleByLbfgsState(NamedTuple):
    """The latest steps and the changes of the gradient they made, oldest first.

    All `N` params are one vector. A pair that is not there yet is 0.
    """

    step: Array  # int32, shape (): updates made so far
    params: Array  # (N,): at the latest update
    grads: Array  # (N,): at the latest update
    steps: Array  # (history_size, N)
    changes: Array  # (history_size, N)
    inverses: Array  # (history_size,): 1 / (step @ change)
    scale: Array  # float32, shape (): of the first approximation


def scale_by_lbfgs(*, history_size: int = 10) -> GradientTransformation:
    """Multiplies the gradient by an approximation of the inverse Hessian.

    It is made of the latest steps `s` and changes `y` of the gradient, by two loops
    over them, and of `(s @ y) / (y @ y)` before. Pairs with `s @ y <= 1e-10` are left
    out. The first update is the gradient divided by `max(1, sum(|g|))`.

    Args:
        history_size: pairs to keep, at least 1. Each takes the memory of the params
            twice.

    Raises:
        ValueError: if `history_size` is less than 1.
        TypeError: if it is no integer.

    Source: Nocedal & Wright, 2006, "Numerical optimization", algorithm 7.4; the choices
    besides are those of `torch.optim.LBFGS`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_lbfgs(history_size=5)
        >>> opt_state = opt.init({"w": mx.zeros((2, 3))})
        >>> opt_state.steps.shape
        (5, 6)
    """
    size = check_count("scale_by_lbfgs", "history_size", history_size)

    def init(params: Params, /) -> ScaleByLbfgsState:
        flat = _flat(params)
        return ScaleByLbfgsState(
            step=mx.array(0, mx.int32),
            params=mx.zeros_like(flat),
            grads=mx.zeros_like(flat),
            steps=mx.zeros((size, flat.size), flat.dtype),
            changes=mx.zeros((size, flat.size), flat.dtype),
            inverses=mx.zeros(size, flat.dtype),
            scale=mx.array(1.0, flat.dtype),
        )

    def update(
        grads: Tree, opt_state: ScaleByLbfgsState, params: Params, /
    ) -> tuple[Tree, ScaleByLbfgsState]:
        leaves.check_shapes(grads, params, caller="scale_by_lbfgs")
        new = _remember(opt_state, _flat(params), _flat(grads))
        direction = _two_loops(new)
        first = 1 / mx.maximum(total(mx.abs(new.grads)), 1.0)
        direction = direction * mx.where(opt_state.step == 0, first, 1.0)
        return _unflat(direction, grads), new

    return GradientTransformation(init, update)


def _flat(values: Tree) -> Array:
    """All leaves as one vector: `(N,)`."""
    leaves = [x.reshape(-1).astype(accumulator_dtype(x)) for x in tree.leaves(values)]
    return mx.concatenate(leaves) if leaves else mx.zeros(0)


def _unflat(flat: Array, like: Tree) -> Tree:
    leaves, structure = tree.flatten(like)
    out, begin = [], 0
    for leaf in leaves:
        part = flat[begin : begin + leaf.size]
        out.append(part.reshape(leaf.shape).astype(leaf.dtype))
        begin += leaf.size
    return tree.unflatten(structure, out)


def _remember(
    state: ScaleByLbfgsState, params: Array, grads: Array
) -> ScaleByLbfgsState:
    """The state with the newest pair in place of the oldest, if it can be used."""
    step, change = params - state.params, grads - state.grads
    curvature = total(step * change)
    usable = (state.step > 0) & (curvature > _LEAST_CURVATURE)
    curvature = mx.where(usable, curvature, 1.0)

    def push(old: Array, newest: Array) -> Array:
        return mx.where(usable, mx.concatenate([old[1:], newest[None]]), old)

    return ScaleByLbfgsState(
        step=state.step + 1,
        params=params,
        grads=grads,
        steps=push(state.steps, step),
        changes=push(state.changes, change),
        inverses=push(state.inverses, 1 / curvature),
        scale=mx.where(
            usable,
            curvature / mx.where(usable, total(change * change), 1.0),
            state.scale,
        ),
    )


def _two_loops(state: ScaleByLbfgsState) -> Array:
    """The approximate inverse Hessian times the gradient."""
    size = state.inverses.size
    direction = state.grads
    weights = []
    for i in reversed(range(size)):
        weight = state.inverses[i] * total(state.steps[i] * direction)
        direction = direction - weight * state.changes[i]
        weights.append(weight)
    direction = state.scale * direction
    for i, weight in enumerate(reversed(weights)):
        back = state.inverses[i] * total(state.changes[i] * direction)
        direction = direction + (weight - back) * state.steps[i]
    return direction


@reports_as_itself
def lbfgs(
    learning_rate: ScalarOrSchedule = 1.0, *, history_size: int = 10
) -> GradientTransformation:
    """L-BFGS with a step of the learning rate, for losses that are not stochastic.

    As `torch.optim.LBFGS` with one iteration a step and no line search. Where the loss
    is at hand, `lbfgs_minimize` searches along the line and is safer.

    Args:
        learning_rate: at least 0, or a schedule of the step; 1 is Newton's step.
        history_size: pairs to keep, at least 1.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if `history_size` is no integer.

    Source: Nocedal & Wright, 2006, "Numerical optimization", algorithm 7.5.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.lbfgs(0.5)
        >>> opt_state = optimizer.init({"w": mx.zeros(3)})
    """
    return chain(
        scale_by_lbfgs(history_size=history_size),
        scale_by_learning_rate(learning_rate),
    )
