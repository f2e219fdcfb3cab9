"""Values that were computed in one way and have their derivative in another."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import mlx.core as mx

from lucid_fn.ops.custom import custom_function
from lucid_fn.types import Array

Arrays: TypeAlias = Sequence[Array]
VJP: TypeAlias = Callable[[Arrays, Arrays, Arrays, Arrays], Arrays]
JVP: TypeAlias = Callable[[Arrays, Arrays], Arrays]


def given_derivative(
    args: Arrays, values: Arrays, saved: Arrays, *, vjp: VJP, jvp: JVP
) -> tuple[Array, ...]:
    """`values` as functions of `args` with the derivatives that are given.

    Args:
        args: what the values depend on.
        values: computed from `args` under `mx.stop_gradient`; at least two.
        saved: what else `vjp` reads, computed alike.
        vjp: from args, values, saved and the gradients of the values to those of the
            args; of differentiable operations, if it shall be differentiated.
        jvp: from args and their tangents to the tangents of the values.
    """
    a, v = len(args), len(args) + len(values)
    custom = custom_function(lambda *flat: tuple(flat[a:v]))

    @custom.vjp
    def _(flat: Arrays, grads: Arrays, _: Arrays) -> Arrays:
        found = vjp(flat[:a], flat[a:v], flat[v:], grads)
        return (*found, *map(mx.zeros_like, flat[a:]))

    @custom.jvp
    def _(flat: Arrays, tangents: Sequence[Array | None]) -> Arrays:
        pairs = zip(flat[:a], tangents, strict=False)
        moved = [mx.zeros_like(x) if dx is None else dx for x, dx in pairs]
        return jvp(flat[:a], moved)

    return cast(tuple[Array, ...], custom(*args, *values, *saved))
