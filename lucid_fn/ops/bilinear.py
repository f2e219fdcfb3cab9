"""Functions linear in each of two arrays, with all their derivatives."""

from collections.abc import Callable
from typing import cast

import mlx.core as mx

from lucid_fn.ops.custom import custom_function
from lucid_fn.ops.ordering import after
from lucid_fn.types import Array

Bilinear = Callable[..., Array]


def bilinear(
    run: Bilinear,
    *,
    left_grad: Bilinear,
    right_grad: Bilinear,
    mappable: Bilinear,
    folds: bool,
    right_first: bool = False,
    prepare: Callable[[Array, Array, Array], list[Array]] | None = None,
) -> Bilinear:
    """`run`, with derivatives that hold under any composition of transformations.

    Args:
        run: `(a, b) -> y`, linear in `a` and in `b`; it need not be differentiable.
        left_grad: `(gradient of y, b) -> gradient of a`.
        right_grad: `(a, gradient of y) -> gradient of b`.
        mappable: the same function as `run`, of operations that MLX can differentiate
            and vectorize.
        folds: whether axis 0 of `a` is a batch, so that mapping over `a` alone can be
            done by a longer batch.
        right_first: whether the gradient of `a` waits for that of `b`; only where the
            latter is wanted for certain.
        prepare: `(a, b, gradient of y) -> arrays` which both gradients start from;
            they are given to `left_grad` and `right_grad` as further arguments. The
            function returned takes such arguments, and passes them to `run`; they tell
            it nothing that is not in the other two, so it has no derivative in them.
    """

    # A derivative must not be sought inside `run`, which may have none.
    custom = custom_function(lambda *arrays: run(*map(mx.stop_gradient, arrays)))

    def function(a: Array, b: Array, *prepared: Array) -> Array:
        return cast(Array, custom(a, b, *prepared))

    @custom.vjp
    def vjp(primals: tuple[Array, ...], g: Array, _: Array) -> tuple[Array, ...]:
        a, b, *given = primals
        prepared = [] if prepare is None else prepare(a, b, mx.stop_gradient(g))
        db = right_grad(a, g, *prepared)
        if right_first:
            g, *prepared = (after(x, db) for x in (g, *prepared))
        da = left_grad(g, b, *prepared)
        return da, db, *map(mx.zeros_like, given)

    @custom.jvp
    def jvp(primals: tuple[Array, ...], tangents: tuple[Array | None, ...]) -> Array:
        (a, b, *_), (da, db, *_) = primals, tangents
        terms = [] if da is None else [function(da, b)]
        terms += [] if db is None else [function(a, db)]
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]

    @custom.vmap
    def vmap(
        arrays: tuple[Array, ...], axes: tuple[int | None, ...]
    ) -> tuple[Array, int]:
        a, b, *_ = arrays
        if not folds or axes[0] is None or axes[1] is not None:
            return mx.vmap(mappable, in_axes=axes[:2])(a, b), 0
        a = mx.moveaxis(a, axes[0], 0)
        y = function(a.reshape(-1, *a.shape[2:]), b)
        return y.reshape(*a.shape[:2], *y.shape[1:]), 0

    return function
