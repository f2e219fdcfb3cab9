"""Loops over a compiled body, their derivatives and their batching rule.

A loop maps constants, a carry and inputs that are stacked along axis 0 to the last
carry and stacked outputs. Its reverse derivative is a loop over the same iterations
in the other direction; its forward derivative and its batching rule are loops of
derived bodies. So any composition of them is a loop, too, whose body is compiled once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx

from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.mlx_transforms import as_list, at, directions, filled, floats
from lucid_fn.tracing import (
    any_traced,
    are_rules_bypassed,
    in_vmap_rule,
    is_differentiated_once,
    is_tracing,
    is_transforming,
    may_start,
)
from lucid_fn.transforms.derived_bodies import (
    keeping,
    mapped_body,
    passing,
    pulled_body,
    pushed_body,
)
from lucid_fn.transforms.iterations import (
    MAX_UNROLLED,
    Arrays,
    Body,
    TooLongError,
    build,
    run_iterations,
)
from lucid_fn.types import Array


def run(
    body: Body, arrays: Arrays, length: int, *, reverse: bool, caller: str
) -> tuple[Arrays, Arrays]:
    """The carry after `length >= 1` iterations, and the stacked outputs."""
    split = body.sizes.carry
    if are_rules_bypassed():
        body = passing(body)
    if may_start() and not any_traced(arrays):
        out = run_iterations(body, arrays, length, reverse, starts=True)
        return out[:split], out[split:]
    if is_tracing() and length > MAX_UNROLLED:
        raise TooLongError(
            f"{caller}: a loop must have at most {MAX_UNROLLED:,} iterations inside a "
            f"compiled function, which holds every one of them, got {length:,}; call "
            f"it outside of lf.jit, since {caller} compiles its body by itself"
        )
    if is_differentiated_once():
        out = _loop(body, length, reverse, kept=[])(arrays)
        return out[:split], out[split:]
    differentiated = is_transforming() or may_start()  # the latter inside mx.grad
    out = _loop(keeping(body) if differentiated else body, length, reverse)(arrays)
    return out[:split], out[split : len(out) - split * differentiated]


def run_in_segments(
    body: Body, arrays: Arrays, length: int, every: int, *, reverse: bool, caller: str
) -> tuple[Arrays, Arrays]:
    """`run`, whose derivative keeps the carry only at the start of each segment."""
    constants, carry, stacked = body.sizes.cut(arrays)
    segments, rest = divmod(length, every)
    inside = segments * every

    def step(constants: Arrays, carry: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
        arrays = [*constants, *carry, *inputs]
        return run(body, arrays, every, reverse=reverse, caller=caller)

    segment = body.derived(
        ("segment", every, reverse), lambda: Body(step, body.sizes, waits=True)
    )
    xs = [x[length - inside :] if reverse else x[:inside] for x in stacked]
    xs = [x.reshape(segments, every, *x.shape[1:]) for x in xs]
    left = [x[: length - inside] if reverse else x[inside:] for x in stacked]
    parts: list[tuple[Body, Arrays, int]] = [(segment, xs, segments)]
    if rest:
        parts.append((body, left, rest))
    found: list[Arrays] = []
    for part, inputs, iterations in parts:
        carry, ys = run(
            part,
            [*constants, *carry, *inputs],
            iterations,
            reverse=reverse,
            caller=caller,
        )
        found.append(
            [y.reshape(-1, *y.shape[2:]) for y in ys] if part is segment else ys
        )
    if reverse:
        found.reverse()
    return carry, [mx.concatenate(list(ys)) for ys in zip(*found, strict=True)]


def _loop(
    body: Body, length: int, reverse: bool, *, kept: list[Arrays] | None = None
) -> Callable[[Arrays], Arrays]:
    """All iterations, with derivatives and a batching rule.

    `kept` is a list for the carry before each iteration. A loop with one cannot be
    differentiated a second time: MLX raises an error at a compiled iteration.
    """
    sizes = body.sizes

    def flat(*arrays: Array) -> tuple[Array, ...]:
        if kept is not None:
            kept.clear()
            iterations = partial(run_iterations, kept=kept)
            return tuple(build(iterations, body, list(arrays), length, reverse))
        # MLX must not differentiate the iterations: compiled ones have no derivative.
        fixed = [mx.stop_gradient(array) for array in arrays]
        return tuple(build(run_iterations, body, fixed, length, reverse))

    custom = custom_function(flat)
    uses = 0  # of the rules; the first is that of the innermost derivative

    def differentiated() -> Body:
        nonlocal uses
        uses += 1
        return body if uses == 1 else passing(body)

    @custom.vjp
    def vjp(primals: Any, cotangents: Any, outputs: Any) -> tuple[Array, ...]:
        xs, cts, ys = map(as_list, (primals, cotangents, outputs))
        step = differentiated()
        if kept is not None:
            return tuple(_pulled(step, xs, cts, [], length, reverse, kept))
        if not body.keeps:
            ys = _loop(keeping(passing(body)), length, reverse)(xs)
        before = ys[len(ys) - sizes.carry :]
        return tuple(_pulled(step, xs, cts, before, length, reverse))

    @custom.jvp
    def jvp(primals: Any, tangents: Any) -> tuple[Array, ...]:
        xs, moved = as_list(primals), directions(primals, tangents)
        return tuple(_pushed(differentiated(), xs, moved, length, reverse))

    @custom.vmap
    def vmap(arrays: Any, axes: Any) -> tuple[tuple[Array, ...], tuple[int, ...]]:
        with in_vmap_rule():
            step = passing(body) if uses else body
            return _mapped(step, as_list(arrays), as_list(axes), length, reverse)

    return lambda arrays: as_list(custom(*arrays)) if arrays else list(flat())


# ---- the reverse derivative ----


def _pulled(
    body: Body,
    primals: Arrays,
    cotangents: Arrays,
    before: Arrays,
    length: int,
    reverse: bool,
    kept: list[Arrays] | None = None,
) -> Arrays:
    """The cotangents of constants, carry and inputs, by a loop in the other direction.

    Its carry consists of the cotangents of the carry and the sums of those of the
    constants so far. The carry before each iteration is stacked in `before`, or else in
    the list `kept`.
    """
    constants, carry, inputs = body.sizes.cut(primals)
    c, k, x = map(floats, (constants, carry, inputs))
    d_carry, d_outputs = cotangents[: len(carry)], cotangents[len(carry) :]
    y = floats(d_outputs)
    backward = body.derived(
        ("pulled", kept is None, *map(tuple, (c, k, x, y))),
        lambda: pulled_body(
            body, len(inputs), c, k, x, y, 0 if kept is None else len(carry)
        ),
    )
    arrays = [
        *constants,
        *at(d_carry, k),
        *(mx.zeros_like(a) for a in at(constants, c)),
        *before,
        *inputs,
        *at(d_outputs, y),
    ]
    if kept is None:
        found = _loop(backward, length, not reverse)(arrays)
    else:
        iterations = partial(run_iterations, unstacked=kept)
        found = build(iterations, backward, arrays, length, not reverse)
    a, b = len(k), len(k) + len(c)
    zeros = [mx.zeros_like(array) for array in primals]
    d_constants, d_start, d_inputs = body.sizes.cut(zeros)
    return [
        *filled(d_constants, c, found[a:b]),
        *filled(d_start, k, found[:a]),
        *filled(d_inputs, x, found[b:]),
    ]


# ---- the forward derivative ----


def _pushed(
    body: Body, primals: Arrays, tangents: Arrays, length: int, reverse: bool
) -> Arrays:
    """The tangents of the last carry and the outputs, by a loop over both."""
    sizes = body.sizes
    parts, moved = sizes.cut(primals), sizes.cut(tangents)
    places = [floats(part) for part in parts]
    forward = body.derived(
        ("pushed", *map(tuple, places), len(parts[2])),
        lambda: pushed_body(body, places, len(parts[2])),
    )
    arrays: Arrays = []
    for part, tangent, place in zip(parts, moved, places, strict=True):
        arrays += [*part, *at(tangent, place)]
    found = _loop(forward, length, reverse)(arrays)
    values, d_values = sizes.carry, sizes.carry + len(places[1])
    after, d_after, outputs = found[:values], found[values:d_values], found[d_values:]
    half = len(outputs) // 2
    zeros = [mx.zeros_like(a) for a in after]
    return [*filled(zeros, places[1], d_after), *outputs[half:]]


# ---- the batching rule ----


def _mapped(
    body: Body, arrays: Arrays, axes: list[int | None], length: int, reverse: bool
) -> tuple[tuple[Array, ...], tuple[int, ...]]:
    """A loop over the iterations of the whole batch, the results, and their axes."""
    sizes = body.sizes
    n = next(x.shape[a] for x, a in zip(arrays, axes, strict=True) if a is not None)
    parts, part_axes = sizes.cut(arrays), sizes.cut(axes)
    constants = _moved(parts[0], part_axes[0], 0)
    carry = [
        mx.broadcast_to(x, (n, *x.shape)) if axis is None else mx.moveaxis(x, axis, 0)
        for x, axis in zip(parts[1], part_axes[1], strict=True)
    ]
    inputs = _moved(parts[2], part_axes[2], 1)
    in_axes = tuple(
        tuple(None if axis is None else 0 for axis in part) for part in part_axes
    )
    batched = body.derived(("mapped", n, in_axes), lambda: mapped_body(body, in_axes))
    out = _loop(batched, length, reverse)([*constants, *carry, *inputs])
    k = sizes.carry
    return tuple(out), (*(0,) * k, *(1,) * (len(out) - k))


def _moved(arrays: Arrays, axes: list[int | None], to: int) -> Arrays:
    return [
        x if axis is None else mx.moveaxis(x, axis, to)
        for x, axis in zip(arrays, axes, strict=True)
    ]
