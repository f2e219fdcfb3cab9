"""Minimizing a function to the end, where the next step depends on the loss."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import transforms, tree
from lucid_fn.numerics import total
from lucid_fn.optim.base import apply_updates
from lucid_fn.optim.checks import check_at_least_0, check_count
from lucid_fn.optim.line_search import Point, strong_wolfe
from lucid_fn.optim.quasi_newton import scale_by_lbfgs
from lucid_fn.types import Array, Params, Tree


class MinimizeResult(NamedTuple):
    """What a minimization found, and how."""

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
    """The params that L-BFGS with a strong-Wolfe line search finds lowest.

    For losses that are not stochastic, such as those of the whole data set. It reads
    the loss after each evaluation, since the next step depends on it: this is a loop
    to call from a script, not from inside a compiled function. The loss and its
    gradient are compiled.

    Args:
        loss: `(params, *args)` to a float array of shape `()`.
        params: where to begin; float arrays.
        args: further arguments of the loss, such as the data: trees of arrays.
        max_iterations: directions to search along, at least 1.
        history_size: pairs that the inverse Hessian is made of, at least 1.
        tolerance_grad: it has converged where no number of the gradient is larger.
        tolerance_change: it has converged where neither the loss nor a param changes
            by more.
        max_search: evaluations along one direction, at least 1.

    Returns:
        The params, the loss and the gradient there, and the counts. The loss is never
        larger than at the beginning.

    Raises:
        ValueError: if a number is out of its range, or if the loss at `params` is not
            finite.
        TypeError: if a count is no integer, or a leaf of the params is not a float.

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
    check_at_least_0(caller, "tolerance_grad", tolerance_grad)
    check_at_least_0(caller, "tolerance_change", tolerance_change)
    optimizer = scale_by_lbfgs(history_size=history_size)
    value_and_grad = transforms.value_and_grad(loss)

    @transforms.jit
    def along(
        params: Params, direction: Tree, length: Array, *args: Any
    ) -> tuple[_Place, Array]:
        moved = apply_updates(params, tree.map(lambda d: length * d, direction))
        value, grads = value_and_grad(moved, *args)
        numbers = mx.stack([value, _dot(grads, direction), _largest(grads)])
        return _Place(moved, value, grads), numbers

    nowhere = tree.zeros_like(params)
    place, numbers = along(params, nowhere, mx.array(0.0), *args)
    value, _, steepest = _read(numbers)
    if not math.isfinite(value):
        raise ValueError(f"lbfgs_minimize: loss must be finite at params, got {value}")
    opt_state, iterations, evaluations = optimizer.init(params), 0, 1
    converged = steepest <= tolerance_grad
    while not converged and iterations < max_iterations:
        uphill, opt_state = optimizer.update(place.grads, opt_state, place.params)
        direction = tree.map(mx.negative, uphill)
        slope, longest = _read(
            mx.stack([_dot(place.grads, direction), _largest(direction)])
        )
        if not slope < -tolerance_change:  # flat, as far as float32 can tell
            converged = True
            break

        def evaluate(length: float, at: _Place = place, d: Tree = direction) -> Point:
            there, numbers = along(at.params, d, mx.array(length), *args)
            value, slope, steepest = _read(numbers)
            value = value if math.isfinite(value) else math.inf
            return Point(length, value, slope, (there, steepest))

        found, used = strong_wolfe(
            evaluate,
            Point(0.0, value, slope, (place, steepest)),
            1.0,
            max_evaluations=max_search,
            least_bracket=tolerance_change / max(longest, 1e-30),
        )
        change = abs(found.value - value)
        value, (place, steepest) = found.value, found.data
        iterations, evaluations = iterations + 1, evaluations + used
        converged = (
            steepest <= tolerance_grad
            or found.length * longest <= tolerance_change
            or change < tolerance_change
        )
    return MinimizeResult(*place, iterations, evaluations, converged)


class _Place(NamedTuple):
    params: Params
    value: Array
    grads: Tree


def _read(numbers: Array) -> list[float]:
    read: Any = numbers.tolist()
    return list(read)


def _dot(a: Tree, b: Tree) -> Array:
    products = tree.map(lambda x, y: total(x * y), a, b)
    return sum(tree.leaves(products), mx.array(0.0))


def _largest(values: Tree) -> Array:
    """The largest absolute value: shape `()`."""
    return mx.max(mx.stack([mx.max(mx.abs(x)) for x in tree.leaves(values)]))
