"""The initial values that GPT-2 and BERT share."""

from typing import Any

import mlx.core as mx

from lucid_fn import nn, random, tree
from lucid_fn.tracing import lazily, started
from lucid_fn.types import Array, Key, Params, State


def normal_init(model: nn.Layer, scales: dict[str, float] | None = None) -> nn.Layer:
    """The model with normal weights, of a standard deviation of 0.02, and biases of 0.

    The weights whose paths end in one of `scales` are multiplied by its value.
    """

    def draw(key: Key, path: str, leaf: Array) -> Array:
        if path.endswith("bias"):
            return mx.zeros_like(leaf)
        if leaf.ndim < 2:  # the ones of a norm
            return leaf
        scale = next((s for end, s in (scales or {}).items() if path.endswith(end)), 1)
        return 0.02 * scale * random.normal(random.fold_in(key, path), leaf.shape)

    def init(key: Key, /) -> tuple[Params, State]:
        with lazily():  # the draws of the layers are not computed
            params, state = model.init(key)
            params = tree.map_with_path(lambda *leaf: draw(key, *leaf), params)
        return started((params, state))

    made: Any = model.apply  # with other children, the initial values stay normal
    rebuild = made.rebuild
    made.rebuild = lambda children: normal_init(rebuild(children), scales)
    return nn.Layer(init, made)
