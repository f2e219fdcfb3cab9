"""Embeddings, of single tokens and of bags, and tied to an output layer."""

from functools import partial
from typing import Any, Literal

import mlx.core as mx

from lucid_fn import ops, random
from lucid_fn.checks import check_choice, check_count, check_integer
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import QuantizableShape, check_params, check_positive
from lucid_fn.nn.core.compose import compose
from lucid_fn.nn.core.layer import Layer, quantizable
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.initializers import Initializer
from lucid_fn.ops.embedding import dequantized_rows, take_rows_or_nan
from lucid_fn.ops.linear import QuantizedWeight
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.types import Array, ArrayFn, Key, Params

_UNIT_NORMAL = initializers.normal()
_SMALL_NORMAL = initializers.normal(0.02)


def embedding(
    num_embeddings: int,
    embedding_dim: int,
    *,
    padding_idx: int | None = None,
    weight_init: Initializer = _UNIT_NORMAL,
) -> Layer:
    """Lookup table, `weight[x]`: integers `(...)` to vectors `(..., embedding_dim)`.

    Params: `weight` `(num_embeddings, embedding_dim)`, standard normal by default, as
    in PyTorch.

    The integers, of any integer dtype, must be in [0, num_embeddings). As values they
    are not checked: one out of range gives a row of NaN, and NaN in the gradient.

    Args:
        num_embeddings: number of rows.
        embedding_dim: size of a row.
        padding_idx: integer that stands for padding, in [-num_embeddings,
            num_embeddings): its row is initially zero and gets no gradient.
        weight_init: draws the weight from a key and a shape.

    Raises:
        ValueError: if a size is not positive, or `padding_idx` out of range.
        TypeError: on apply, if `x` is not of an integer dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.embedding(10, 4)
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.array([[1, 2, 3]]), train=False)[0].shape
        (1, 3, 4)
    """
    num_embeddings, embedding_dim = check_positive(
        "embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim
    )
    shape = num_embeddings, embedding_dim
    padding = _padding_row("embedding", padding_idx, num_embeddings)

    def init(key: Key) -> Params:
        weight = weight_init(random.fold_in(key, "weight"), shape)
        if padding is not None:
            is_padding = mx.arange(num_embeddings)[:, None] == padding
            weight = mx.where(is_padding, mx.zeros_like(weight), weight)
        return {"weight": weight}

    def forward(params: Params, x: Array) -> Array:
        check_integer("embedding", x=x)
        check_params("embedding", params, weight=QuantizableShape(shape))
        weight = params["weight"]
        if isinstance(weight, QuantizedWeight):
            return dequantized_rows(weight, x, embedding_dim)
        rows = take_rows_or_nan(weight, x)
        if padding is None:
            return rows
        is_padding = (x == mx.array(padding))[..., None]
        return mx.where(is_padding, mx.stop_gradient(rows), rows)

    return quantizable(parametric(init, forward), "weight")


def embedding_bag(
    num_embeddings: int,
    embedding_dim: int,
    *,
    mode: Literal["mean", "sum", "max"] = "mean",
    padding_idx: int | None = None,
    weight_init: Initializer = _UNIT_NORMAL,
) -> Layer:
    """Mean, sum or maximum of the embeddings of a bag: integers `(..., L)` to vectors
    `(..., embedding_dim)`.

    Pad bags of different lengths with `padding_idx`, which is left out; a bag of
    padding alone gives 0.

    Params: `weight` `(num_embeddings, embedding_dim)`, as in `embedding`.

    Args:
        num_embeddings: number of rows.
        embedding_dim: size of a row.
        mode: how the rows of a bag are reduced.
        padding_idx: as in `embedding`.
        weight_init: draws the weight from a key and a shape.

    Raises:
        ValueError: if a size is not positive, `padding_idx` out of range, or `mode`
            none of the three; on apply, if `x` has no axis.
        TypeError: on apply, if `x` is not of an integer dtype.

    Source: `torch.nn.EmbeddingBag` of an input with two axes.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.embedding_bag(10, 4, padding_idx=0)
        >>> params, state = layer.init(random.key(0))
        >>> bags = mx.array([[1, 2, 3], [4, 0, 0]])
        >>> layer.apply(params, state, bags, train=False)[0].shape
        (2, 4)
    """
    caller = "embedding_bag"
    num_embeddings, embedding_dim = check_positive(
        caller, num_embeddings=num_embeddings, embedding_dim=embedding_dim
    )
    check_choice(caller, "mode", mode, ("mean", "sum", "max"))
    padding = _padding_row(caller, padding_idx, num_embeddings)
    table = embedding(
        num_embeddings, embedding_dim, padding_idx=padding, weight_init=weight_init
    )

    def forward(params: Params, x: Array) -> Array:
        check_integer(caller, x=x)
        if x.ndim == 0:
            raise ValueError(f"{caller}: x must have shape (..., L), got ()")
        check_params(caller, params, weight=(num_embeddings, embedding_dim))
        rows, _ = table.apply(params, {}, x, train=False)  # (..., L, embedding_dim)
        kept = mx.ones(x.shape, mx.bool_) if padding is None else x != mx.array(padding)
        kept = kept[..., None]
        count = mx.sum(kept, axis=-2)  # (..., 1)
        if mode == "max" and x.shape[-1]:
            largest = mx.max(mx.where(kept, rows, -mx.inf), axis=-2)
            return mx.where(count > 0, largest, 0.0)
        total = ops.sum(mx.where(kept, rows, 0.0), axis=-2)
        if mode != "mean":
            return total
        return total / mx.maximum(count, 1).astype(total.dtype)

    return parametric(lambda key: table.init(key)[0], forward)


def _padding_row(caller: str, padding_idx: Any, num_embeddings: int) -> int | None:
    """`padding_idx` as a non-negative index, after a check of its range."""
    if padding_idx is None:
        return None
    index = check_count(caller, "padding_idx", padding_idx, at_least=None)
    if not -num_embeddings <= index < num_embeddings:
        raise ValueError(
            f"{caller}: padding_idx must be in [-{num_embeddings}, {num_embeddings}), "
            f"got {index}"
        )
    return index % num_embeddings


def tied_embedding(
    body: Layer | ArrayFn,
    num_embeddings: int,
    embedding_dim: int,
    *,
    weight_init: Initializer = _SMALL_NORMAL,
) -> Layer:
    """Language model whose output layer shares its weight with the embedding.

    `body(weight[x]) @ weight.T`: integers `(..., L)` to logits `(..., L,
    num_embeddings)`. Params: `embedding` and those of `body`.

    Args:
        body: layer or function from `(..., L, embedding_dim)` to the same shape.
        num_embeddings: number of tokens.
        embedding_dim: size of a row.
        weight_init: draws the weight; its rows should have a norm of 1 or less, or the
            logits of an untrained model are large.

    Raises:
        ValueError: if a size is not positive.
        TypeError: on apply, if `x` is not of an integer dtype.

    Source: Press & Wolf, 2017, https://arxiv.org/abs/1608.05859, section 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> model = nn.tied_embedding(nn.layer_norm(4), 10, 4)
        >>> params, state = model.init(random.key(0))
        >>> model.apply(params, state, mx.array([[1, 2, 3]]), train=False)[0].shape
        (1, 3, 10)
    """
    num_embeddings, embedding_dim = check_positive(
        "tied_embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim
    )
    rows = embedding(num_embeddings, embedding_dim, weight_init=weight_init)

    def forward(x: Any, embedding: ArrayFn, body: ArrayFn) -> Array:
        vectors, weight = embedding(x)
        return project_to_rows(body(vectors), weight)

    def features(x: Any, embedding: ArrayFn, body: ArrayFn) -> Any:
        return body(embedding(x)[0])

    layer = compose(forward, embedding=rows_and_weight(rows), body=body)
    layer.apply.without_head = partial(compose, features)  # type: ignore[attr-defined]
    return layer


def rows_and_weight(rows: Layer) -> Layer:
    """The `embedding` layer `rows`, which returns its weight too, for weight tying."""

    def with_weight(params: Params, x: Array) -> tuple[Array, Any]:
        return rows.apply(params, {}, x, train=False)[0], params["weight"]

    layer = parametric(lambda key: rows.init(key)[0], with_weight)
    return quantizable(layer, "weight")


def project_to_rows(x: Array, weight: Any) -> Array:
    """Logits `x @ weight.T`, from vectors `(..., D)` and the weight of an embedding."""
    logits = ops.linear(x, weight)
    count_multiply_adds(logits.size * x.shape[-1])
    return logits
