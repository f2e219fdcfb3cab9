"""L-BFGS: a limited-memory quasi-Newton method, as an optimizer and as a solver."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import transforms, tree
from lucid_fn.checks import check_count, check_number, check_size
from lucid_fn.numerics import total
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, apply_updates, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.line_search import Point, strong_wolfe
from lucid_fn.optim.moments import accumulator_dtype, increment, precision, zero_count
from lucid_fn.types import Array, Params, Tree

_MIN_CURVATURE = 1e-10  # of a pair that is kept; PyTorch's value


class ScaleByLbfgsState(NamedTuple):
    """The history of steps and gradient changes, oldest first.

    All `N` params are concatenated into one vector. Missing pairs are 0.
    """

    step: Array  # int32, shape (): updates made so far
    params: Array  # (N,): at the latest update
    grads: Array  # (N,): at the latest update
    steps: Array  # (history_size, N)
    changes: Array  # (history_size, N)
    inverses: Array  # (history_size,): 1 / (step @ change)
    scale: Array  # float32 at least, shape (): of the initial inverse Hessian

    @property
    def mixes_params(self) -> bool:
        """Whether the state of one param depends on other params."""
        return True


def scale_by_lbfgs(*, history_size: int = 10) -> GradientTransformation:
    """The quasi-Newton direction: the gradient times an approximate inverse Hessian.

    The two-loop recursion over the latest steps `s` and gradient changes `y`, starting
    from `(s @ y) / (y @ y)` times the identity. Pairs with `s @ y <= 1e-10` are
    skipped. The first update is the gradient divided by `max(1, sum(|g|))`.

    Args:
        history_size: pairs to keep, at least 1. Each takes twice the memory of the
            params.

    Raises:
        ValueError: if `history_size` is less than 1.
        TypeError: if it is not an integer.

    Source: Nocedal & Wright, 2006, "Numerical optimization", algorithm 7.4; all
    other choices are those of `torch.optim.LBFGS`.

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
        flat = _flatten(params)
        shape = (size, flat.size)
        check_size("scale_by_lbfgs", "history_size", shape)
        return ScaleByLbfgsState(
            step=zero_count(),
            params=mx.zeros_like(flat),
            grads=mx.zeros_like(flat),
            steps=mx.zeros(shape, flat.dtype),
            changes=mx.zeros(shape, flat.dtype),
            inverses=mx.zeros(size, flat.dtype),
            scale=mx.array(1.0, flat.dtype),
        )

    def update(
        grads: Tree, opt_state: ScaleByLbfgsState, params: Params, /
    ) -> tuple[Tree, ScaleByLbfgsState]:
        leaves.check_shapes(grads, params, caller="scale_by_lbfgs")
        new = _push_pair(opt_state, _flatten(params), _flatten(grads))
        direction = _two_loop_recursion(new)
        first_scale = 1 / mx.maximum(total(mx.abs(new.grads)), 1.0)
        direction = direction * mx.where(opt_state.step == 0, first_scale, 1.0)
        return _unflatten(direction, grads), new

    return stateful("scale_by_lbfgs", ScaleByLbfgsState, init, update)


def _flatten(values: Tree) -> Array:
    """All leaves as one vector: `(N,)`."""
    flat = [x.reshape(-1).astype(accumulator_dtype(x)) for x in tree.leaves(values)]
    return mx.concatenate(flat) if flat else mx.zeros(0)


def _unflatten(flat: Array, like: Tree) -> Tree:
    """The inverse of `_flatten`: a tree with the shapes and dtypes of `like`."""
    old, structure = tree.flatten(like)
    new, begin = [], 0
    for leaf in old:
        part = flat[begin : begin + leaf.size]
        new.append(part.reshape(leaf.shape).astype(leaf.dtype))
        begin += leaf.size
    return tree.unflatten(structure, new)


def _push_pair(
    state: ScaleByLbfgsState, params: Array, grads: Array
) -> ScaleByLbfgsState:
    """The state with the newest pair in place of the oldest, unless it is skipped."""
    step, change = params - state.params, grads - state.grads
    curvature = total(step * change)
    # Not `&`, which is wrong under `vmap` if only one operand is mapped.
    usable = mx.logical_and(state.step > 0, curvature > _MIN_CURVATURE)
    curvature = mx.where(usable, curvature, 1.0)

    def push(old: Array, newest: Array) -> Array:
        return mx.where(usable, mx.concatenate([old[1:], newest[None]]), old)

    return ScaleByLbfgsState(
        step=increment(state.step),
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


def _two_loop_recursion(state: ScaleByLbfgsState) -> Array:
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


@errors_named_after
def lbfgs(
    learning_rate: ScalarOrSchedule = 1.0, *, history_size: int = 10
) -> GradientTransformation:
    """L-BFGS without line search, for deterministic losses.

    As `torch.optim.LBFGS` with one iteration per step. `lbfgs_minimize`, which needs
    the loss, is safer: it runs a line search along each direction.

    Args:
        learning_rate: at least 0, or a schedule of the step; 1 is Newton's step.
        history_size: pairs to keep, at least 1.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if `history_size` is not an integer.

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


class MinimizeResult(NamedTuple):
    """The result of a minimization."""

    params: Params
    value: Array  # the loss at `params`, shape ()
    grads: Tree
    iterations: int
    evaluations: int  # of the loss with its gradient
    converged: bool  # whether a tolerance was reached


def lbfgs_minimize(
    loss: Callable[..., Array],
    params: Params,
    *args: Any,
    max_iterations: int = 100,
    history_size: int = 10,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
    max_search: int = 25,
) -> MinimizeResult:
    """Minimizes a loss by L-BFGS with a strong-Wolfe line search.

    For deterministic losses, such as that of the whole data set. The loss is compiled,
    but the search reads its value after each evaluation: call this function from a
    script, not inside another compiled function.

    Args:
        loss: `(params, *args)` to a float array of shape `()`.
        params: the starting point, a tree of float arrays.
        args: further arguments of the loss, such as the data: trees of arrays.
        max_iterations: maximum number of search directions, at least 1.
        history_size: pairs in the approximation of the inverse Hessian, at least 1.
        tolerance_grad: converged if no element of the gradient is larger; at least 0.
        tolerance_change: converged if the change of the loss, or of every param, is
            smaller; at least 0.
        max_search: maximum number of evaluations along one direction, at least 1.

    Returns:
        The best params, their loss and gradient, and the counts. The loss is never
        larger than at the start.

    Raises:
        ValueError: if a number is out of its range, or if the loss at `params` is not
            finite.
        TypeError: if a count is not an integer, or a leaf of the params not of a float
            dtype.

    Source: Nocedal & Wright, 2006, "Numerical optimization", algorithm 7.5; the
    tolerances are those of `torch.optim.LBFGS`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> def rosenbrock(p):
        ...     return (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2
        >>> found = optim.lbfgs_minimize(
        ...     rosenbrock, {"x": mx.array(-1.2), "y": mx.array(1.0)}
        ... )
        >>> round(found.params["x"].item(), 3), found.converged
        (1.0, True)
    """
    caller = "lbfgs_minimize"
    max_iterations = check_count(caller, "max_iterations", max_iterations)
    history_size = check_count(caller, "history_size", history_size)
    max_search = check_count(caller, "max_search", max_search)
    tolerance_grad = check_number(caller, "tolerance_grad", tolerance_grad, at_least=0)
    tolerance_change = check_number(
        caller, "tolerance_change", tolerance_change, at_least=0
    )
    optimizer = scale_by_lbfgs(history_size=history_size)
    dtype = precision(params)
    value_and_grad = transforms.value_and_grad(loss)

    @transforms.jit
    def along(
        params: Params, direction: Tree, length: Array, *args: Any
    ) -> tuple[_Iterate, Array]:
        moved = apply_updates(params, tree.map(lambda d: length * d, direction))
        value, grads = value_and_grad(moved, *args)
        numbers = mx.stack(
            [value.astype(dtype), _dot(grads, direction), _max_abs(grads)]
        )
        return _Iterate(moved, value, grads), numbers

    no_direction = tree.zeros_like(params)
    current, numbers = along(params, no_direction, mx.array(0.0, dtype), *args)
    value, _, max_grad = _to_floats(numbers)
    if not math.isfinite(value):
        raise ValueError(f"lbfgs_minimize: loss must be finite at params, got {value}")
    opt_state, iterations, evaluations = optimizer.init(params), 0, 1
    converged = max_grad <= tolerance_grad
    while not converged and iterations < max_iterations:
        uphill, opt_state = optimizer.update(current.grads, opt_state, current.params)
        direction = tree.map(mx.negative, uphill)
        slope, max_change = _to_floats(
            mx.stack([_dot(current.grads, direction), _max_abs(direction)])
        )
        if not slope < -tolerance_change:  # flat, within rounding
            converged = True
            break

        def evaluate(
            length: float, start: _Iterate = current, d: Tree = direction
        ) -> Point:
            moved, numbers = along(start.params, d, mx.array(length, dtype), *args)
            value, slope, max_grad = _to_floats(numbers)
            value = value if math.isfinite(value) else math.inf
            return Point(length, value, slope, (moved, max_grad))

        found, used = strong_wolfe(
            evaluate,
            Point(0.0, value, slope, (current, max_grad)),
            1.0,
            max_evaluations=max_search,
            min_bracket=tolerance_change / max(max_change, 1e-30),
        )
        change = abs(found.value - value)
        value, (current, max_grad) = found.value, found.data
        iterations, evaluations = iterations + 1, evaluations + used
        converged = (
            max_grad <= tolerance_grad
            or found.length * max_change <= tolerance_change
            or change < tolerance_change
        )
    return MinimizeResult(*current, iterations, evaluations, converged)


class _Iterate(NamedTuple):
    params: Params
    value: Array
    grads: Tree


def _to_floats(numbers: Array) -> list[float]:
    floats: Any = numbers.tolist()
    return list(floats)


def _dot(a: Tree, b: Tree) -> Array:
    products = tree.map(lambda x, y: total(x.astype(accumulator_dtype(x)) * y), a, b)
    return sum(tree.leaves(products), mx.array(0.0))


def _max_abs(values: Tree) -> Array:
    """The maximum absolute value of all leaves: shape `()`."""
    maxima = [mx.max(mx.abs(x)) for x in tree.leaves(values) if x.size]
    wide = [x.astype(accumulator_dtype(x)) for x in maxima]
    return mx.max(mx.stack([mx.array(0.0), *wide]))
