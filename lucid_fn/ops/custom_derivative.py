"""Custom functions whose derivatives hold under every transformation."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import mlx.core as mx

from lucid_fn.numerics import sum_examples
from lucid_fn.ops import mlx_transforms
from lucid_fn.ops.mlx_transforms import as_tuple, directions, like
from lucid_fn.ops.seam import computing_part, current_part
from lucid_fn.ops.vectorize import noting_mapped, vectorize
from lucid_fn.types import Array

Rule = Callable[..., Any]
Axes = tuple[int | None, ...]


class _NoResults(Exception):
    """A custom function returned no array, which would abort the process in MLX."""


class custom_function:  # a decorator, as `mx.custom_function`
    """`mx.custom_function`, with derivatives that survive `vmap` and divided batches.

    When MLX vectorizes a custom function without a rule for `vmap`, it drops the other
    rules: the gradient of `vmap` would be that of the operations inside, often zero.
    The rule here vectorizes the function and its derivatives alike.

    MLX's own derivatives run on the stream of their operation. The rules of a custom
    function are called when the gradient is built, and run on the default stream of
    that moment: the backward passes of all parts of a divided batch would run on one
    core. Here they run on the stream of their part.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.rules: dict[str, Rule] = {"vmap": self._vectorized}
        self._by_part: dict[int | None, Callable[..., Any]] = {}

    def __call__(self, *args: Any) -> Any:
        if mlx_transforms.is_exporting():
            return mlx_transforms.call(self, args)
        part = current_part()
        if part not in self._by_part:
            self._by_part[part] = self._bound_to(part)
        try:
            return self._by_part[part](*args)
        except _NoResults:
            return ()

    def vjp(self, rule: Rule) -> Rule:
        """Sets `rule(primals, cotangents, outputs)`, the vector-Jacobian product."""
        return self._set("vjp", rule)

    def jvp(self, rule: Rule) -> Rule:
        """Sets `rule(primals, tangents)`, the Jacobian-vector product."""
        return self._set("jvp", rule)

    def vmap(self, rule: Rule) -> Rule:
        """Sets `rule(arrays, axes)`, the function mapped over axes of its arguments."""
        return self._set("vmap", rule)

    def _set(self, kind: str, rule: Rule) -> Rule:
        self.rules[kind] = rule
        return rule

    def _bound_to(self, part: int | None) -> Callable[..., Any]:
        fn: Any = mx.custom_function(self._with_results)
        for kind, rule in self.rules.items():
            getattr(fn, kind)(rule if part is None else _on_part(part, rule))
        return fn  # type: ignore[no-any-return]  # MLX's stubs know no such class

    def _with_results(self, *args: Any) -> Any:
        out = self.fn(*args)
        if isinstance(out, list | tuple) and not out:
            raise _NoResults
        return out

    def _vectorized(self, arrays: Any, axes: Any) -> tuple[Any, Any]:
        """The function mapped over `axes` of its arguments, and its output's axes."""
        flat, axes = as_tuple(arrays), as_tuple(axes)
        rows = [
            x if axis is None else mx.moveaxis(x, axis, 0)
            for x, axis in zip(flat, axes, strict=True)
        ]
        first: Axes = tuple(None if axis is None else 0 for axis in axes)
        mapped = custom_function(
            mlx_transforms.vmap(noting_mapped(self.fn, first), in_axes=first)
        )
        if "vjp" in self.rules:
            mapped.vjp(_mapped_vjp(self.rules["vjp"], first))
        if "jvp" in self.rules:
            mapped.jvp(_mapped_jvp(self.rules["jvp"], first))
        y = mapped(*rows)
        return y, 0 if isinstance(y, mx.array) else (0,) * len(y)


def _on_part(part: int, rule: Rule) -> Rule:
    def run(*args: Any) -> Any:
        with computing_part(part):
            return rule(*args)

    return run


def _mapped_vjp(rule: Rule, axes: Axes) -> Rule:
    def vjp(primals: Any, cotangents: Any, outputs: Any) -> Any:
        xs, gs, ys = map(as_tuple, (primals, cotangents, outputs))

        def each(*flat: Array) -> tuple[Array, ...]:
            a, b = len(xs), len(xs) + len(gs)
            x, g, y = flat[:a], flat[a:b], flat[b:]
            found = rule(like(x, primals), like(g, cotangents), like(y, outputs))
            return as_tuple(found)

        in_axes = (*axes, *[0] * (len(gs) + len(ys)))
        run = vectorize(each, in_axes, "vmap", "the rule of a custom derivative")
        grads = [
            dx if axis == 0 else sum_examples(dx)  # all examples share this argument
            for dx, axis in zip(run(*xs, *gs, *ys), axes, strict=True)
        ]
        return like(grads, primals)

    return vjp


def _mapped_jvp(rule: Rule, axes: Axes) -> Rule:
    def jvp(primals: Any, tangents: Any) -> Any:
        xs, dxs = as_tuple(primals), as_tuple(tangents)
        given = [i for i, dx in enumerate(dxs) if dx is not None]

        def each(*flat: Array) -> Any:
            dx: list[Array | None] = [None] * len(xs)
            for i, tangent in zip(given, flat[len(xs) :], strict=True):
                dx[i] = tangent
            return rule(like(flat[: len(xs)], primals), like(dx, tangents))

        in_axes = (*axes, *[axes[i] for i in given])
        run = vectorize(each, in_axes, "vmap", "the rule of a custom derivative")
        return run(*xs, *[dxs[i] for i in given])

    return jvp


# ---- functions linear in each of two arrays ----

Bilinear = Callable[..., Array]


def bilinear(
    run: Bilinear,
    *,
    left_grad: Bilinear,
    right_grad: Bilinear,
    mappable: Bilinear,
    folds: bool,
    merges: tuple[int, int] | None = None,
    loops: bool = False,
    right_first: bool = False,
    prepare: Callable[[Array, Array, Array], list[Array]] | None = None,
) -> Bilinear:
    """`run`, linear in each of two arrays, with derivatives of any order.

    Args:
        run: `(a, b) -> y`, linear in `a` and in `b`; it need not be differentiable.
        left_grad: `(gradient of y, b) -> gradient of a`.
        right_grad: `(a, gradient of y) -> gradient of b`.
        mappable: the same function as `run`, made of operations that MLX can
            differentiate and vectorize.
        folds: whether axis 0 of `a` is a batch, so that mapping over `a` alone amounts
            to a longer batch.
        merges: an axis of `b` and one of `y`, where each slice of `y` depends on the
            same slice of `b` alone, so that mapping over `b` alone amounts to a longer
            axis; `None` if there are none.
        loops: whether `run` is so much faster than `mappable` that a few large examples
            are best computed one by one.
        right_first: whether the gradient of `a` waits for that of `b`; only where the
            latter is certainly wanted.
        prepare: `(a, b, gradient of y) -> arrays` from which both gradients start; they
            are further arguments of `left_grad` and `right_grad`. The returned function
            takes such arguments too, and passes them to `run`. It has no derivative in
            them, since they follow from the other two.
    """

    # `stop_gradient`: `run` need not be differentiable.
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
        (a, b, *_), (along_a, along_b, *_) = arrays, axes
        if along_a is None and along_b is not None and merges is not None:
            source, target = merges
            b = mx.moveaxis(b, along_b, source)
            y = function(a, b.flatten(source, source + 1))
            return mx.unflatten(y, target, (b.shape[source], -1)), target
        if along_b is None and along_a is not None and folds:
            a = mx.moveaxis(a, along_a, 0)
            y = function(a.reshape(-1, *a.shape[2:]), b)
            return y.reshape(*a.shape[:2], *y.shape[1:]), 0
        sizes = [
            x.shape[axis]
            for x, axis in zip((a, b), axes, strict=False)
            if axis is not None
        ]
        size = sizes[0]
        each = a.size if along_a is None else a.size // max(size, 1)
        if loops and 0 < size <= _MAX_LOOPED and each >= _MIN_LOOPED_SIZE:
            pairs = _examples(a, along_a, size), _examples(b, along_b, size)
            return mx.stack(list(map(function, *pairs))), 0
        return mlx_transforms.vmap(mappable, in_axes=axes[:2])(a, b), 0

    return function


_MAX_LOOPED = 64  # examples that are computed one by one
_MIN_LOOPED_SIZE = 1 << 13  # numbers of an example from which that is faster


def _examples(x: Array, axis: int | None, size: int) -> list[Array]:
    if axis is None:
        return [x] * size
    # Not `mx.split`, of which `mx.compile` loses some results.
    rows = mx.moveaxis(x, axis, 0)
    return [rows[i] for i in range(size)]


def after(x: Array, other: Array) -> Array:
    """`x`, but computed only after `other`; can be vectorized, unlike `mx.depends`.

    `mx.compile` does not merge what is computed from the result with what is computed
    from `x`, so that neither is kept in memory for the other.
    """
    return cast(Array, _after(x, other))


_after = custom_function(lambda x, other: x)


@_after.vjp
def _vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
    return g, mx.zeros_like(primals[1])


# ---- values with a derivative that is given ----

Arrays: TypeAlias = Sequence[Array]
VJP: TypeAlias = Callable[[Arrays, Arrays, Arrays, Arrays], Arrays]
JVP: TypeAlias = Callable[[Arrays, Arrays], Arrays]


def given_derivative(
    args: Arrays, values: Arrays, saved: Arrays, *, vjp: VJP, jvp: JVP
) -> tuple[Array, ...]:
    """`values` as functions of `args`, with the given derivatives.

    Args:
        args: the arrays on which the values depend.
        values: computed from `args` under `mx.stop_gradient`; at least two.
        saved: further arrays that `vjp` reads, computed likewise.
        vjp: `(args, values, saved, gradients of values) -> gradients of args`; of
            differentiable operations where second derivatives are wanted.
        jvp: `(args, tangents of args) -> tangents of values`.
    """
    a, v = len(args), len(args) + len(values)
    custom = custom_function(lambda *flat: tuple(flat[a:v]))

    @custom.vjp
    def _(flat: Arrays, grads: Arrays, _: Arrays) -> Arrays:
        found = vjp(flat[:a], flat[a:v], flat[v:], grads)
        return (*found, *map(mx.zeros_like, flat[a:]))

    @custom.jvp
    def _(flat: Arrays, tangents: Sequence[Array | None]) -> Arrays:
        return jvp(flat[:a], directions(flat[:a], tangents[:a]))

    return cast(tuple[Array, ...], custom(*args, *values, *saved))
