"""The initialization that GPT-2 and BERT share."""

from typing import Any

import mlx.core as mx

from lucid_fn import nn, random, tree
from lucid_fn.tracing import lazily, started
from lucid_fn.types import Array, Key, Params, State


def normal_init(model: nn.Layer, scales: dict[str, float] | None = None) -> nn.Layer:
    """`model` with weights from a normal distribution of std 0.02, and biases of 0.

    Weights whose path ends with a key of `scales` are multiplied by its value.
    """

    def draw(key: Key, path: str, leaf: Array) -> Array:
        if path.endswith("bias"):
            return mx.zeros_like(leaf)
        if leaf.ndim < 2:  # the ones of a norm
            return leaf
        scale = next((s for end, s in (scales or {}).items() if path.endswith(end)), 1)
        return 0.02 * scale * random.normal(random.fold_in(key, path), leaf.shape)

    def init(key: Key, /) -> tuple[Params, State]:
        with lazily():  # the initial values of the layers are never computed
            params, state = model.init(key)
            params = tree.map_with_path(lambda *leaf: draw(key, *leaf), params)
        return started((params, state))

    apply: Any = model.apply
    rebuild = apply.rebuild  # with other children, which get normal weights too
    apply.rebuild = lambda children: normal_init(rebuild(children), scales)
    return nn.Layer(init, apply)
