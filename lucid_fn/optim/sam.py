"""SAM: sharpness-aware minimization."""

import functools
from collections.abc import Callable
from typing import Any

from lucid_fn import tree
from lucid_fn.checks import check_bool, check_function, check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import accumulator_dtype
from lucid_fn.types import Array, Scalar, Tree


def sam(
    value_and_grad: Callable[..., tuple[Any, Tree]],
    *,
    rho: Scalar = 0.05,
    adaptive: bool = False,
) -> Callable[..., tuple[Any, Tree]]:
    """SAM: sharpness-aware minimization, which takes the gradient after a step uphill.

    `g = grad(p)`, then `grad(p + rho * g / norm(g))`. Because this evaluates the loss
    twice, `sam` wraps the function that computes value and gradient; the result is used
    in its place, with any optimizer.

    Args:
        value_and_grad: `(params, *args) -> (value, grads)`, as
            `lucid_fn.value_and_grad` returns it, with or without `has_aux`.
        rho: length of the step uphill, positive.
        adaptive: whether the step is scaled by the params (ASAM):
            `rho * p**2 * g / norm(p * g)`.

    Returns:
        `(params, *args) -> (value, grads)`: the value (and aux, such as new running
        statistics) at the params, and the gradient after the step.

    Raises:
        ValueError: if `rho` is not positive and finite.
        TypeError: if `value_and_grad` is not a function.

    Source: Foret et al., 2021, https://arxiv.org/abs/2010.01412, algorithm 1;
    adaptive: Kwon et al., 2021, https://arxiv.org/abs/2102.11600, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim, transforms
        >>> loss = transforms.value_and_grad(lambda p: mx.sum(p["w"] ** 2))
        >>> optim.sam(loss, rho=0.5)({"w": mx.array([1.0])})
        (array(1, dtype=float32), {'w': array([3], dtype=float32)})
    """
    check_bool("sam", adaptive=adaptive)
    kinds = "a function (params, *args) -> (value, grads)"
    check_function("sam", "value_and_grad", value_and_grad, kinds=kinds)
    rho = check_scalar("sam", "rho", rho, above=0)

    def uphill(p: Array, g: Array, scale: Array) -> Array:
        step = scale * g.astype(accumulator_dtype(g))
        return (p + (p * p * step if adaptive else step)).astype(p.dtype)

    @functools.wraps(value_and_grad)
    def sam_value_and_grad(
        params: Tree, /, *args: Any, **kwargs: Any
    ) -> tuple[Any, Tree]:
        value, grads = value_and_grad(params, *args, **kwargs)
        lengths = leaves.map(lambda p, g: p * g, params, grads) if adaptive else grads
        # 1e-12 avoids 0 / 0 for a gradient of 0, as in the authors' code.
        scale = end_kernel(rho / (tree.global_norm(lengths) + 1e-12))
        moved = leaves.map(lambda p, g: uphill(p, g, scale), params, grads)
        return value, value_and_grad(moved, *args, **kwargs)[1]

    return sam_value_and_grad
