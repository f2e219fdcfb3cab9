"""Turns of a compiled body, and their derivatives.

A loop maps constants, a carry and inputs that are stacked along axis 0 to the last
carry and stacked outputs. Its reverse derivative is a loop over the same turns in the
other direction; its forward derivative and its batching rule are loops of derived
bodies. So every composition of them is one, too, whose body is compiled once.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.ops import export_trace, mlx_transforms
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.vectorize import vectorize
from lucid_fn.tracing import (
    any_traced,
    are_rules_passed,
    is_differentiated_once,
    is_mapping,
    is_tracing,
    is_transforming,
    lazily,
    may_start,
    passing_rules,
    replacing,
    start,
    transforming,
)
from lucid_fn.transforms.arguments import fenced
from lucid_fn.transforms.checkpointing import after
from lucid_fn.transforms.compilation import compiled, compiling
from lucid_fn.transforms.untraced import untraced
from lucid_fn.types import Array

Arrays: TypeAlias = list[Array]
Turn: TypeAlias = Callable[[Arrays, Arrays, Arrays], tuple[Arrays, Arrays]]
"""From constants, carry and input of a turn to its carry and output."""

MOST_UNROLLED = 2048
"""Turns that a loop may have inside a compiled function, which contains all of them."""

# Turns between two starts of the evaluation: what was built lately is still in the
# cache of the core, and a turn takes a third less than in one graph of 400.
_STRETCH = 16


# From this size of its results on, a turn starts once the one before has ended.
_LARGE = 16 * 2**20  # bytes


class TooLongError(ValueError):
    """A loop has too many turns to be part of a compiled function."""


class Sizes(NamedTuple):
    """How many arrays a body takes of each kind; all others are stacked inputs."""

    constants: int
    carry: int
    given: int = 0  # inputs that are not stacked: there is one array for each turn

    def cut(self, flat: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        a, b = self.constants, self.constants + self.carry
        return list(flat[:a]), list(flat[a:b]), list(flat[b:])


class Body:
    """A turn, compiled at its first call, and the bodies derived from it."""

    def __init__(
        self, turn: Turn, sizes: Sizes, *, keeps: bool = False, waits: bool = False
    ) -> None:
        self.turn = turn
        self.sizes = sizes
        self.keeps = keeps  # whether the last outputs are the carry before the turn
        self.waits = waits  # whether it is computed again only when its turn comes
        self._compiled = compiled(self._traced)
        self._compiles = True
        self._derived: dict[Hashable, Body] = {}

    def derived(self, key: Hashable, make: Callable[[], "Body"]) -> "Body":
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    def __call__(self, arrays: Arrays) -> Arrays:
        """One turn; stacked inputs and outputs have an axis of length 1 in front."""
        if self._compiles and compiling.get() and not _is_plain():
            try:
                return list(self._compiled(*arrays))
            except TooLongError:
                if is_tracing():
                    raise  # what is traced cannot hold the loop in this body, either
                self._compiles = False
        return self._run(arrays)

    def _traced(self, *arrays: Array) -> Arrays:
        with lazily():
            return self._run(arrays)

    def _run(self, arrays: Sequence[Array]) -> Arrays:
        constants, carry, inputs = self.sizes.cut(arrays)
        given = self.sizes.given
        squeezed = [mx.squeeze(x, 0) for x in inputs[given:]]
        after, outputs = self.turn(constants, carry, inputs[:given] + squeezed)
        return [*after, *(mx.expand_dims(y, 0) for y in outputs)]


def run(
    body: Body, arrays: Arrays, length: int, *, reverse: bool, caller: str
) -> tuple[Arrays, Arrays]:
    """The carry after `length` turns, at least one, and the stacked outputs."""
    split = body.sizes.carry
    if are_rules_passed():
        body = _passing(body)
    if may_start() and not any_traced(arrays):
        out = _turns(body, arrays, length, reverse, starts=True)
        return out[:split], out[split:]
    if is_tracing() and length > MOST_UNROLLED:
        raise TooLongError(
            f"{caller}: a loop must have at most {MOST_UNROLLED:,} turns inside a "
            f"compiled function, which holds every one of them, got {length:,}; call "
            f"it outside of lf.jit, since {caller} compiles its body by itself"
        )
    if is_differentiated_once():
        out = _loop(body, length, reverse, kept=[])(arrays)
        return out[:split], out[split:]
    differentiated = is_transforming() or may_start()  # as inside of mx.grad
    out = _loop(_keeping(body) if differentiated else body, length, reverse)(arrays)
    return out[:split], out[split : len(out) - split * differentiated]


def run_in_segments(
    body: Body, arrays: Arrays, length: int, every: int, *, reverse: bool, caller: str
) -> tuple[Arrays, Arrays]:
    """`run`, whose derivative keeps the carry before each segment of turns alone."""
    constants, carry, stacked = body.sizes.cut(arrays)
    segments, rest = divmod(length, every)
    inside = segments * every

    def turn(constants: Arrays, carry: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
        arrays = [*constants, *carry, *inputs]
        return run(body, arrays, every, reverse=reverse, caller=caller)

    segment = body.derived(
        ("segment", every, reverse), lambda: Body(turn, body.sizes, waits=True)
    )
    xs = [x[length - inside :] if reverse else x[:inside] for x in stacked]
    xs = [x.reshape(segments, every, *x.shape[1:]) for x in xs]
    left = [x[: length - inside] if reverse else x[inside:] for x in stacked]
    parts: list[tuple[Body, Arrays, int]] = [(segment, xs, segments)]
    if rest:
        parts.append((body, left, rest))
    found: list[Arrays] = []
    for part, inputs, turns in parts:
        carry, ys = run(
            part, [*constants, *carry, *inputs], turns, reverse=reverse, caller=caller
        )
        found.append(
            [y.reshape(-1, *y.shape[2:]) for y in ys] if part is segment else ys
        )
    if reverse:
        found.reverse()
    return carry, [mx.concatenate(list(ys)) for ys in zip(*found, strict=True)]


def _turns(
    body: Body,
    arrays: Arrays,
    length: int,
    reverse: bool,
    *,
    given: Sequence[Arrays] = (),
    kept: list[Arrays] | None = None,
    starts: bool = False,
) -> Arrays:
    """All turns, one after the other.

    `given` are the inputs that are not stacked, and the carry before each turn goes
    into `kept`, both by the place of the turn among the inputs.
    """
    constants, carry, stacked = body.sizes.cut(arrays)
    inputs = [_entries(x, length) for x in stacked]
    size = len(carry)
    outputs: list[Arrays] = []
    under_way: Arrays = []
    stretch = _STRETCH
    for turn in range(length):
        t = length - 1 - turn if reverse else turn
        if kept is not None:
            kept.append(carry)
        own = given[t] if given else []
        out = body([*constants, *carry, *own, *(x[t] for x in inputs)])
        carry = out[:size]
        outputs.append(out[size:])
        if turn == 0 and sum(array.nbytes for array in out) > _LARGE:
            stretch = 1
        if starts and turn % stretch == stretch - 1:
            mx.eval(under_way)  # so that memory does not grow with the turns
            start(out)
            under_way = out
    if reverse:
        outputs.reverse()
        if kept is not None:
            kept.reverse()
    return [*carry, *(mx.concatenate(list(ys)) for ys in zip(*outputs, strict=True))]


def _entries(x: Array, length: int) -> Arrays:
    """The entries of axis 0, by splits that are small.

    Each result of a split looks at all the others when it is freed. Where a function is
    traced there are slices: MLX cannot compile a split of which results are not used.
    """
    if is_tracing():
        return [x[i : i + 1] for i in range(length)]
    if length <= _STRETCH:
        return list(mx.split(x, length))
    starts = range(0, length, _STRETCH)
    parts = [x[i : i + _STRETCH] for i in starts]
    return [entry for part in parts for entry in mx.split(part, len(part))]


def _is_plain() -> bool:
    """Whether what is built must be MLX's operations, without compiled functions."""
    return is_mapping() or export_trace.is_exporting()


def _built(turns: Callable[..., Arrays], *args: Any) -> Arrays:
    return turns(*args) if _is_plain() else untraced(turns, *args)


def _loop(
    body: Body, length: int, reverse: bool, *, kept: list[Arrays] | None = None
) -> Callable[[Arrays], Arrays]:
    """All turns, with derivatives and a batching rule.

    With a list for the carries that the derivative needs, it cannot be differentiated
    a second time: MLX raises an error at a compiled turn.
    """
    sizes = body.sizes

    def flat(*arrays: Array) -> tuple[Array, ...]:
        if kept is not None:
            kept.clear()
            turns = partial(_turns, kept=kept)
            return tuple(_built(turns, body, list(arrays), length, reverse))
        # MLX must not seek derivatives inside, where a compiled turn has none.
        fixed = [mx.stop_gradient(array) for array in arrays]
        return tuple(_built(_turns, body, fixed, length, reverse))

    custom = custom_function(flat)
    uses = 0  # of the rules, which are those of the innermost derivative at first

    def differentiated() -> Body:
        nonlocal uses
        uses += 1
        return body if uses == 1 else _passing(body)

    @custom.vjp
    def vjp(primals: Any, cotangents: Any, outputs: Any) -> tuple[Array, ...]:
        xs, cts, ys = map(_listed, (primals, cotangents, outputs))
        turn = differentiated()
        if kept is not None:
            return tuple(_pulled(turn, xs, cts, [], length, reverse, kept))
        if not body.keeps:
            ys = _loop(_keeping(_passing(body)), length, reverse)(xs)
        before = ys[len(ys) - sizes.carry :]
        return tuple(_pulled(turn, xs, cts, before, length, reverse))

    @custom.jvp
    def jvp(primals: Any, tangents: Any) -> tuple[Array, ...]:
        xs = _listed(primals)
        moved = [
            mx.zeros_like(x) if t is None else t
            for x, t in zip(xs, _listed(tangents), strict=True)
        ]
        return tuple(_pushed(differentiated(), xs, moved, length, reverse))

    @custom.vmap
    def vmap(arrays: Any, axes: Any) -> tuple[tuple[Array, ...], tuple[int, ...]]:
        with replacing():
            turn = _passing(body) if uses else body
            return _mapped(turn, _listed(arrays), _listed(axes), length, reverse)

    return lambda arrays: _listed(custom(*arrays)) if arrays else list(flat())


def _listed(arrays: Any) -> list[Any]:
    """MLX gives a rule an array where there is one argument or result."""
    return list(arrays) if isinstance(arrays, list | tuple) else [arrays]


def _floats(arrays: Arrays) -> list[int]:
    """The places of those that have derivatives."""
    return [i for i, x in enumerate(arrays) if mx.issubdtype(x.dtype, mx.inexact)]


def _at(arrays: Sequence[Any], places: list[int]) -> list[Any]:
    return [arrays[i] for i in places]


def _filled(arrays: Arrays, places: list[int], values: Sequence[Array]) -> Arrays:
    filled = list(arrays)
    for place, value in zip(places, values, strict=True):
        filled[place] = value
    return filled


def _passing(body: Body) -> Body:
    """The body for the derivatives that are not the innermost one."""

    def turn(constants: Arrays, carry: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
        with passing_rules():
            return body.turn(constants, carry, inputs)

    def made() -> Body:
        return Body(turn, body.sizes, keeps=body.keeps, waits=body.waits)

    return body.derived("passing", made)


def _keeping(body: Body) -> Body:
    """The body that also puts out the carry before each turn."""
    if body.keeps:
        return body

    def turn(constants: Arrays, carry: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
        after, outputs = body.turn(constants, carry, inputs)
        return after, [*outputs, *carry]

    def made() -> Body:
        return Body(turn, body.sizes, keeps=True, waits=body.waits)

    return body.derived("keeping", made)


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

    Its carry are the cotangents of the carry, and those of the constants so far. The
    carry before each turn is stacked in `before`, or not stacked in `kept`.
    """
    constants, carry, inputs = body.sizes.cut(primals)
    c, k, x = map(_floats, (constants, carry, inputs))
    d_carry, d_outputs = cotangents[: len(carry)], cotangents[len(carry) :]
    y = _floats(d_outputs)
    backward = body.derived(
        ("pulled", kept is None, *map(tuple, (c, k, x, y))),
        lambda: _pulled_body(
            body, len(inputs), c, k, x, y, 0 if kept is None else len(carry)
        ),
    )
    arrays = [
        *constants,
        *_at(d_carry, k),
        *(mx.zeros_like(a) for a in _at(constants, c)),
        *before,
        *inputs,
        *_at(d_outputs, y),
    ]
    if kept is None:
        found = _loop(backward, length, not reverse)(arrays)
    else:
        turns = partial(_turns, given=kept)
        found = _built(turns, backward, arrays, length, not reverse)
    a, b = len(k), len(k) + len(c)
    zeros = [mx.zeros_like(array) for array in primals]
    d_constants, d_start, d_inputs = body.sizes.cut(zeros)
    return [
        *_filled(d_constants, c, found[a:b]),
        *_filled(d_start, k, found[:a]),
        *_filled(d_inputs, x, found[b:]),
    ]


def _pulled_body(
    body: Body,
    inputs: int,
    c: list[int],
    k: list[int],
    x: list[int],
    y: list[int],
    given: int,
) -> Body:
    sizes = body.sizes

    def turn(constants: Arrays, carry: Arrays, given: Arrays) -> tuple[Arrays, Arrays]:
        d_carry, sums = carry[: len(k)], carry[len(k) :]
        before, rest = given[: sizes.carry], given[sizes.carry :]
        xs, d_outputs = rest[:inputs], rest[inputs:]
        if body.waits:
            before = after(before, carry)

        def values(*arrays: Array) -> Arrays:
            a, b = len(c), len(c) + len(k)
            last, outputs = body.turn(
                _filled(constants, c, arrays[:a]),
                _filled(before, k, arrays[a:b]),
                _filled(xs, x, arrays[b:]),
            )
            return [*_at(last, k), *_at(outputs, y)]

        arrays = [*_at(constants, c), *_at(before, k), *_at(xs, x)]
        given = [*d_carry, *d_outputs]
        with transforming():
            grads = mlx_transforms.vjp(fenced(values), arrays, given)[1]
        a, b = len(c), len(c) + len(k)
        summed = [total + g for total, g in zip(sums, grads[:a], strict=True)]
        return [*grads[a:b], *summed], list(grads[b:])

    return Body(turn, Sizes(sizes.constants, len(k) + len(c), given))


# ---- the forward derivative ----


def _pushed(
    body: Body, primals: Arrays, tangents: Arrays, length: int, reverse: bool
) -> Arrays:
    """The tangents of the last carry and the outputs, by a loop over both."""
    sizes = body.sizes
    parts, moved = sizes.cut(primals), sizes.cut(tangents)
    places = [_floats(part) for part in parts]
    forward = body.derived(
        ("pushed", *map(tuple, places), len(parts[2])),
        lambda: _pushed_body(body, places, len(parts[2])),
    )
    arrays: Arrays = []
    for part, tangent, place in zip(parts, moved, places, strict=True):
        arrays += [*part, *_at(tangent, place)]
    found = _loop(forward, length, reverse)(arrays)
    values, d_values = sizes.carry, sizes.carry + len(places[1])
    after, d_after, outputs = found[:values], found[values:d_values], found[d_values:]
    half = len(outputs) // 2
    zeros = [mx.zeros_like(a) for a in after]
    return [*_filled(zeros, places[1], d_after), *outputs[half:]]


def _pushed_body(body: Body, places: list[list[int]], inputs: int) -> Body:
    sizes = body.sizes
    lengths = (sizes.constants, sizes.carry, inputs)

    def turn(*parts: Arrays) -> tuple[Arrays, Arrays]:
        values = [part[:n] for part, n in zip(parts, lengths, strict=True)]
        moved = [part[n:] for part, n in zip(parts, lengths, strict=True)]

        def out(*arrays: Array) -> Arrays:
            rest, filled = list(arrays), []
            for part, place in zip(values, places, strict=True):
                filled.append(_filled(part, place, rest[: len(place)]))
                rest = rest[len(place) :]
            after, outputs = body.turn(*filled)
            return [*after, *outputs]

        flat = [
            a for v, place in zip(values, places, strict=True) for a in _at(v, place)
        ]
        with transforming():
            ys, dys = mlx_transforms.jvp(out, flat, [t for part in moved for t in part])
        n = sizes.carry
        return [*ys[:n], *_at(dys, places[1])], [*ys[n:], *dys[n:]]

    constants, carry, _ = (
        n + len(place) for n, place in zip(lengths, places, strict=True)
    )
    return Body(turn, Sizes(constants, carry))


# ---- the batching rule ----


def _mapped(
    body: Body, arrays: Arrays, axes: list[int | None], length: int, reverse: bool
) -> tuple[tuple[Array, ...], tuple[int, ...]]:
    """A loop over the turns of the whole batch, the results, and their axes."""
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
    batched = body.derived(
        ("mapped", n, in_axes), lambda: _mapped_body(body, n, in_axes)
    )
    out = _loop(batched, length, reverse)([*constants, *carry, *inputs])
    k = sizes.carry
    return tuple(out), (*(0,) * k, *(1,) * (len(out) - k))


def _moved(arrays: Arrays, axes: list[int | None], to: int) -> Arrays:
    return [
        x if axis is None else mx.moveaxis(x, axis, to)
        for x, axis in zip(arrays, axes, strict=True)
    ]


def _mapped_body(body: Body, n: int, axes: tuple[tuple[int | None, ...], ...]) -> Body:
    sizes = body.sizes
    in_axes = (*axes[0], *(0,) * sizes.carry, *axes[2])

    def turn(*parts: Arrays) -> tuple[Arrays, Arrays]:
        def flat(*arrays: Array) -> Arrays:
            after, outputs = body.turn(*sizes.cut(arrays))
            return [*after, *outputs]

        with transforming():
            run = vectorize(flat, in_axes, "vmap", "the body of a loop")
            out = run(*(x for part in parts for x in part))
        return list(out[: sizes.carry]), list(out[sizes.carry :])

    return Body(turn, sizes, keeps=body.keeps, waits=body.waits)
