"""Functions with derivatives of their own, under every transformation."""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from lucid_fn.ops.channel_sum import sum_examples
from lucid_fn.ops.streams import current_shard, on_shard
from lucid_fn.types import Array

Rule = Callable[..., Any]
Axes = tuple[int | None, ...]


class custom_function:  # a decorator, as `mx.custom_function`
    """`mx.custom_function`, with derivatives that survive `vmap` and shards.

    MLX drops the derivatives of a custom function that is vectorized, unless it has a
    rule for that: the gradient of `vmap` would be that of the forward pass, which is
    none. The rule here vectorizes the function and its derivatives alike.

    MLX's own derivatives run on the stream of their operation. Those of a custom
    function are Python, called when the gradient is built, on the default stream of
    that moment: the backward pass of every shard of a batch would run on one core. Here
    they run on the shard that the function ran on.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._rules: dict[str, Rule] = {"vmap": self._vectorized}
        self._by_shard: dict[int | None, Callable[..., Any]] = {}

    def __call__(self, *args: Any) -> Any:
        shard = current_shard()
        if shard not in self._by_shard:
            self._by_shard[shard] = self._bound_to(shard)
        return self._by_shard[shard](*args)

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
        self._rules[kind] = rule
        return rule

    def _bound_to(self, shard: int | None) -> Callable[..., Any]:
        fn: Any = mx.custom_function(self._fn)
        for kind, rule in self._rules.items():
            getattr(fn, kind)(rule if shard is None else _on_shard(shard, rule))
        return fn  # type: ignore[no-any-return]  # MLX's stubs know no such class

    def _vectorized(self, arrays: Any, axes: Any) -> tuple[Any, Any]:
        """The function mapped over `axes` of its arguments, and its output's axes."""
        flat, axes = _as_tuple(arrays), _as_tuple(axes)
        rows = [
            x if axis is None else mx.moveaxis(x, axis, 0)
            for x, axis in zip(flat, axes, strict=True)
        ]
        first: Axes = tuple(None if axis is None else 0 for axis in axes)
        mapped = custom_function(mx.vmap(self._fn, in_axes=first))
        if "vjp" in self._rules:
            mapped.vjp(_mapped_vjp(self._rules["vjp"], first))
        if "jvp" in self._rules:
            mapped.jvp(_mapped_jvp(self._rules["jvp"], first))
        y = mapped(*rows)
        return y, 0 if isinstance(y, mx.array) else (0,) * len(y)


def _on_shard(shard: int, rule: Rule) -> Rule:
    def run(*args: Any) -> Any:
        with on_shard(shard):
            return rule(*args)

    return run


# MLX gives a rule an array where there is one argument or result, else a sequence.


def _as_tuple(arrays: Any) -> tuple[Any, ...]:
    return tuple(arrays) if isinstance(arrays, list | tuple) else (arrays,)


def _like(arrays: Sequence[Any], example: Any) -> Any:
    return tuple(arrays) if isinstance(example, list | tuple) else arrays[0]


def _mapped_vjp(rule: Rule, axes: Axes) -> Rule:
    def vjp(primals: Any, cotangents: Any, outputs: Any) -> Any:
        xs, gs, ys = map(_as_tuple, (primals, cotangents, outputs))

        def each(*flat: Array) -> tuple[Array, ...]:
            x, g, y = _cut(flat, len(xs), len(gs))
            found = rule(_like(x, primals), _like(g, cotangents), _like(y, outputs))
            return _as_tuple(found)

        run = mx.vmap(each, in_axes=(*axes, *[0] * (len(gs) + len(ys))))
        grads = [
            dx if axis == 0 else sum_examples(dx)  # all examples share this argument
            for dx, axis in zip(run(*xs, *gs, *ys), axes, strict=True)
        ]
        return _like(grads, primals)

    return vjp


def _mapped_jvp(rule: Rule, axes: Axes) -> Rule:
    def jvp(primals: Any, tangents: Any) -> Any:
        xs, dxs = _as_tuple(primals), _as_tuple(tangents)
        given = [i for i, dx in enumerate(dxs) if dx is not None]

        def each(*flat: Array) -> Any:
            moved: list[Array | None] = [None] * len(xs)
            for i, dx in zip(given, flat[len(xs) :], strict=True):
                moved[i] = dx
            return rule(_like(flat[: len(xs)], primals), _like(moved, tangents))

        run = mx.vmap(each, in_axes=(*axes, *[axes[i] for i in given]))
        return run(*xs, *[dxs[i] for i in given])

    return jvp


def _cut(
    flat: tuple[Array, ...], *lengths: int
) -> tuple[tuple[Array, ...], tuple[Array, ...], tuple[Array, ...]]:
    a, b = lengths
    return flat[:a], flat[a : a + b], flat[a + b :]
