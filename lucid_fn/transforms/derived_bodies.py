"""The bodies of loops that are derivatives of a loop, or a batch of it."""

from itertools import chain

from lucid_fn.ops import mlx_transforms
from lucid_fn.ops.mlx_transforms import at, filled
from lucid_fn.ops.vectorize import vectorize
from lucid_fn.tracing import bypassing_rules, transforming
from lucid_fn.transforms.arguments import fenced
from lucid_fn.transforms.checkpointing import after
from lucid_fn.transforms.iterations import Arrays, Body, Sizes
from lucid_fn.types import Array


def passing(body: Body) -> Body:
    """The body for the derivatives that are not the innermost one."""

    def step(constants: Arrays, carry: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
        with bypassing_rules():
            return body.step(constants, carry, inputs)

    def made() -> Body:
        return Body(step, body.sizes, keeps=body.keeps, waits=body.waits)

    return body.derived("passing", made)


def keeping(body: Body) -> Body:
    """The body that also returns the carry before each iteration."""
    if body.keeps:
        return body

    def step(constants: Arrays, carry: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
        after, outputs = body.step(constants, carry, inputs)
        return after, [*outputs, *carry]

    def made() -> Body:
        return Body(step, body.sizes, keeps=True, waits=body.waits)

    return body.derived("keeping", made)


def pulled_body(
    body: Body,
    inputs: int,
    c: list[int],
    k: list[int],
    x: list[int],
    y: list[int],
    unstacked: int,
) -> Body:
    """The body of the reverse derivative.

    Args:
        body: that of the loop.
        inputs: the number of its inputs.
        c: the indices of the constants that have derivatives.
        k: those of the arrays of the carry.
        x: those of the inputs.
        y: those of the outputs.
        unstacked: the number of arrays of the carry that are not stacked.
    """
    sizes = body.sizes

    def step(constants: Arrays, carry: Arrays, given: Arrays) -> tuple[Arrays, Arrays]:
        d_carry, sums = carry[: len(k)], carry[len(k) :]
        before, rest = given[: sizes.carry], given[sizes.carry :]
        xs, d_outputs = rest[:inputs], rest[inputs:]
        if body.waits:
            before = after(before, carry)

        a, b = len(c), len(c) + len(k)

        def values(*arrays: Array) -> Arrays:
            last, outputs = body.step(
                filled(constants, c, arrays[:a]),
                filled(before, k, arrays[a:b]),
                filled(xs, x, arrays[b:]),
            )
            return [*at(last, k), *at(outputs, y)]

        arrays = [*at(constants, c), *at(before, k), *at(xs, x)]
        with transforming():
            _, grads = mlx_transforms.vjp(
                fenced(values), arrays, [*d_carry, *d_outputs]
            )
        summed = [total + g for total, g in zip(sums, grads[:a], strict=True)]
        return [*grads[a:b], *summed], list(grads[b:])

    return Body(step, Sizes(sizes.constants, len(k) + len(c), unstacked))


def pushed_body(body: Body, places: list[list[int]], inputs: int) -> Body:
    """The body of the forward derivative: values, then tangents of those at `places`.

    Each iteration takes them of the constants, the carry and the `inputs`, in this
    order.
    """
    sizes = body.sizes
    lengths = (sizes.constants, sizes.carry, inputs)

    def step(*parts: Arrays) -> tuple[Arrays, Arrays]:
        values = [part[:n] for part, n in zip(parts, lengths, strict=True)]
        moved = [part[n:] for part, n in zip(parts, lengths, strict=True)]

        def out(*arrays: Array) -> Arrays:
            rest, moving = list(arrays), []
            for part, place in zip(values, places, strict=True):
                moving.append(filled(part, place, rest[: len(place)]))
                rest = rest[len(place) :]
            after, outputs = body.step(*moving)
            return [*after, *outputs]

        flat = [x for pair in zip(values, places, strict=True) for x in at(*pair)]
        with transforming():
            ys, dys = mlx_transforms.jvp(out, flat, [*chain(*moved)])
        n = sizes.carry
        return [*ys[:n], *at(dys, places[1])], [*ys[n:], *dys[n:]]

    constants, carry, _ = (
        n + len(place) for n, place in zip(lengths, places, strict=True)
    )
    return Body(step, Sizes(constants, carry))


def mapped_body(body: Body, axes: tuple[tuple[int | None, ...], ...]) -> Body:
    """The body of a batch; `axes` are those of constants, carry and inputs."""
    sizes = body.sizes
    in_axes = (*axes[0], *(0,) * sizes.carry, *axes[2])

    def step(*parts: Arrays) -> tuple[Arrays, Arrays]:
        def flat(*arrays: Array) -> Arrays:
            after, outputs = body.step(*sizes.cut(arrays))
            return [*after, *outputs]

        with transforming():
            run = vectorize(flat, in_axes, "vmap", "the body of a loop")
            out = run(*chain(*parts))
        return list(out[: sizes.carry]), list(out[sizes.carry :])

    return Body(step, sizes, keeps=body.keeps, waits=body.waits)
