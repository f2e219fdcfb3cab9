"""LoRA: fine-tuning with few params by low-rank adaptation."""

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn import random, tree
from lucid_fn.checks import check_count, check_function, check_number, listed
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import check_params
from lucid_fn.nn.core.layer import Layer, check_layer, require_names, wrap
from lucid_fn.ops.linear import QuantizedWeight
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State


def lora(
    layer: Layer,
    predicate: Callable[[str], bool],
    *,
    rank: int = 8,
    alpha: float | None = None,
) -> Layer:
    """LoRA: `layer` with frozen weights, to which trained low-rank products are added.

    Each chosen weight is replaced by `weight + alpha / rank * b @ a`. As `b` is
    initially 0, the output is initially that of `layer`. The gradients of its own
    params are zeros; leave them out of the optimizer as well, as with `frozen`.

    Params: `base`, those of `layer`, and `lora`, which has `a` `(rank, ..., in)`,
    uniform in +-1/sqrt(inputs), and `b` `(out, rank)`, zeros, at the path of each
    chosen weight. To adapt a trained layer, replace `base` by its params. The state is
    that of `layer`.

    Args:
        layer: a layer.
        predicate: whether to adapt a param, from its dotted path, such as
            `"h.0.attn.in_proj_weight"`. It is called for params with at least two axes:
            weights of linear layers, attentions, embeddings and convolutions.
        rank: rank of the products, at least 1.
        alpha: scale of the products; `rank` if `None`.

    Raises:
        TypeError: if an argument is of the wrong type; on apply, if a chosen weight is
            quantized.
        ValueError: if a number is out of range; on init, if `predicate` chooses no
            weight.

    Source: Hu et al., 2021, https://arxiv.org/abs/2106.09685, section 4.1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, optim, random
        >>> layer = nn.serial(fc1=nn.linear(4, 8), act=nn.relu, fc2=nn.linear(8, 2))
        >>> trained, _ = layer.init(random.key(0))
        >>> adapted = nn.lora(layer, lambda path: path == "fc1.weight", rank=2)
        >>> params, state = adapted.init(random.key(1))
        >>> params = {**params, "base": trained}
        >>> {path: a.shape for path, a in params["lora"]["fc1"]["weight"].items()}
        {'a': (2, 4), 'b': (8, 2)}
        >>> optimizer = optim.masked(optim.adamw(1e-3), lambda p: p.startswith("lora."))
        >>> merged = nn.merge_lora(adapted, params)
        >>> layer.apply(merged, state, mx.ones((1, 4)), train=False)[0].shape
        (1, 2)
    """
    caller = "lora"
    check_layer(caller, layer)
    check_function(caller, "predicate", predicate, kinds="a function of the path")
    rank = check_count(caller, "rank", rank)
    scale = 1.0
    if alpha is not None:
        scale = check_number(caller, "alpha", alpha, above=0) / rank

    def init(key: Key, /) -> tuple[Params, State]:
        base, state = layer.init(key)
        leaves = tree.named_leaves(base)

        def adapts(path: str) -> bool:
            return leaves[path].ndim > 1 and predicate(path)

        def draw(path: str, weight: Array) -> Params:
            shape = (rank, *weight.shape[1:])
            a = initializers.uniform_by_fan_in(random.fold_in(key, f"{path}.a"), shape)
            return {"a": a, "b": mx.zeros((len(weight), rank))}

        chosen, _ = tree.partition(adapts, base)
        if not chosen:
            raise ValueError(
                f"{caller}: predicate must choose a weight with at least two axes, "
                f"among {listed(leaves)}"
            )
        params = {"base": base, "lora": tree.map_with_path(draw, chosen)}
        return started((params, state))

    def merge(params: Params) -> Any:
        return _add_products(params["base"], params["lora"], rank, scale, "base")

    def run(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        params = require_names(params, "params")
        frozen = tree.map(mx.stop_gradient, params["base"])
        merged = merge({"base": frozen, "lora": params["lora"]})
        return layer.apply(merged, state, x, train=train, key=key)

    adapted = wrap(layer, run, init=init)
    adapted.apply.merge = merge  # type: ignore[attr-defined]  # merge_lora calls it
    return adapted


def merge_lora(layer: Layer, params: Params) -> Params:
    """Params of the original layer, with the products of `lora` added to its weights.

    With them the original layer computes exactly what the adapted one does.

    Args:
        layer: the layer that `lora` returned.
        params: its params.

    Raises:
        TypeError: if the layer was not made by `lora`.
        ValueError: if the params are not those of `layer`.

    Source: Hu et al., 2021, https://arxiv.org/abs/2106.09685, section 4.1.

    Example:
        >>> from lucid_fn import nn, random
        >>> adapted = nn.lora(nn.linear(4, 8), lambda path: True, rank=2)
        >>> params, _ = adapted.init(random.key(0))
        >>> {name: a.shape for name, a in nn.merge_lora(adapted, params).items()}
        {'weight': (8, 4), 'bias': (8,)}
    """
    check_layer("merge_lora", layer)
    merge = getattr(layer.apply, "merge", None)
    if merge is None:
        raise TypeError(
            f"merge_lora: layer must be made by nn.lora, got {layer!r:.80}; the params "
            "of other layers have nothing to merge"
        )
    merged: Params = merge(require_names(params, "params", "merge_lora"))
    return started(merged)


def _add_products(base: Any, lora: Any, rank: int, scale: float, path: str) -> Any:
    """`base`, with the products of `lora`, which has some of its paths, added."""
    if isinstance(base, QuantizedWeight):
        raise TypeError(
            f"lora: {path} must be an array, got a QuantizedWeight, to which no "
            "product can be added; merge before you quantize: "
            "nn.quantize(layer, nn.merge_lora(adapted, params))"
        )
    if isinstance(base, mx.array):
        shapes = {"a": (rank, *base.shape[1:]), "b": (*base.shape[:1], rank)}
        check_params(f"lora: {path}", lora, **shapes)
        rows = lora["a"].reshape(rank, math.prod(base.shape[1:]))
        product = (scale * lora["b"]) @ rows  # (out, inputs)
        return base + product.reshape(base.shape).astype(base.dtype)
    unknown = lora.keys() - base.keys()
    if unknown:
        raise ValueError(
            f"lora: params['lora'] must have paths of params['base'], got "
            f"{', '.join(sorted(unknown))} under {path}"
        )
    return {
        name: _add_products(child, lora[name], rank, scale, f"{path}.{name}")
        if name in lora
        else child
        for name, child in base.items()
    }
