"""Functions with derivatives of their own, which run where the function ran."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn.ops.streams import current_shard, on_shard

Rule = Callable[..., Any]


class custom_function:  # a decorator, as `mx.custom_function`
    """`mx.custom_function` whose rules run on the shard that the function ran on.

    MLX's own derivatives run on the stream of their operation. Those of a custom
    function are Python, called when the gradient is built, on the default stream of
    that moment: without this, the backward pass of every shard of a batch would run on
    one core.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._rules: dict[str, Rule] = {}
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


def _on_shard(shard: int, rule: Rule) -> Rule:
    def run(*args: Any) -> Any:
        with on_shard(shard):
            return rule(*args)

    return run
