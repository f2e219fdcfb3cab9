"""The projections of multi-head attention: to heads, and back."""

from typing import Any

import mlx.core as mx

from lucid_fn import ops, random
from lucid_fn.nn import initializers
from lucid_fn.nn.attention.positions import angles_at, check_base, check_even, rotate
from lucid_fn.nn.core.checks import (
    MayBeQuantized,
    check_float,
    check_params,
    check_positive,
)
from lucid_fn.nn.core.layer import Layer, quantizable, require_names
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.ops.quantized import QuantizedWeight
from lucid_fn.ops.split import split_evenly
from lucid_fn.types import Array, Key, Params


def init_projections(key: Key, embed_dim: int, bias: bool) -> Params:
    """The params of the projections, by PyTorch's names."""
    shape = (3 * embed_dim, embed_dim)
    weight = initializers.xavier_uniform()(random.fold_in(key, "in_proj_weight"), shape)
    out_proj = initializers.weight_and_bias(
        random.fold_in(key, "out_proj"),
        (embed_dim, embed_dim),
        bias,
        initializers.uniform_by_fan_in,
        initializers.zeros,
    )
    biases = {"in_proj_bias": mx.zeros(shape[:1])} if bias else {}
    return {"in_proj_weight": weight, **biases, "out_proj": out_proj}


def with_projections(layer: Layer) -> Layer:
    """The layer, whose params are those of `init_projections`."""
    return quantizable(layer, "in_proj_weight", "out_proj.weight")


def project(
    params: Params, sequences: tuple[Array, Array, Array], num_heads: int, bias: bool
) -> tuple[Array, Array, Array]:
    """Query, key and value by heads: `(N, L, H, D)`."""
    weight, offset = params["in_proj_weight"], params["in_proj_bias"] if bias else None
    if all(x is sequences[0] for x in sequences):  # one product in place of three
        parts = split_evenly(ops.linear(sequences[0], weight, offset), 3)
    else:
        offsets = [None] * 3 if offset is None else split_evenly(offset, 3)
        parts = list(map(ops.linear, sequences, _in_three(weight), offsets))
    count_multiply_adds(sum(part.size for part in parts) * sequences[0].shape[-1])
    q, k, v = (
        part.reshape(*part.shape[:2], num_heads, part.shape[2] // num_heads)
        for part in parts
    )
    return q, k, v


def rotated(
    query: Array, key: Array, base: float, offset: int | Array
) -> tuple[Array, Array]:
    """Query and key `(N, L, H, D)` with rotary positions, the first at `offset`."""
    query, key = (
        rotate(x, angles_at(x.shape[1], x.shape[3], base, offset)[:, None])
        for x in (query, key)
    )
    return query, key


def merge_heads(params: Params, y: Array, bias: bool) -> Array:
    """The output projection of heads `(N, L, H, D)`."""
    out_proj = params["out_proj"]
    weight, offset = out_proj["weight"], out_proj["bias"] if bias else None
    y = ops.linear(mx.flatten(y, 2), weight, offset)
    count_multiply_adds(y.size * y.shape[-1])
    return y


def _in_three(weight: Any) -> list[Any]:
    """The weights of query, key and value."""
    if isinstance(weight, QuantizedWeight):
        return [
            QuantizedWeight(*parts)
            for parts in zip(
                *(split_evenly(part, 3, axis=0) for part in weight), strict=True
            )
        ]
    return split_evenly(weight, 3, axis=0)


def check_sequence(caller: str, name: str, x: Array, embed_dim: int) -> None:
    """Raises unless `x` is a sequence of float vectors of this size."""
    check_float(caller, **{name: x})
    if x.ndim != 3 or x.shape[-1] != embed_dim:
        raise ValueError(
            f"{caller}: {name} must have shape (N, L, {embed_dim}), got {x.shape}"
        )


def check_projections(caller: str, params: Params, embed_dim: int, bias: bool) -> None:
    """Raises unless the params are those of `init_projections`."""
    check_params(
        caller,
        params,
        in_proj_weight=MayBeQuantized((3 * embed_dim, embed_dim)),
        in_proj_bias=(3 * embed_dim,) if bias else None,
    )
    check_params(
        f"{caller}: out_proj",
        require_names(params, "params")["out_proj"],
        weight=MayBeQuantized((embed_dim, embed_dim)),
        bias=(embed_dim,) if bias else None,
    )


def check_sizes(
    caller: str, embed_dim: int, num_heads: int, rotary_base: float | None
) -> tuple[int, int]:
    """The features and the heads, which must divide them so that positions rotate."""
    embed_dim, num_heads = check_positive(
        caller, embed_dim=embed_dim, num_heads=num_heads
    )
    if embed_dim % num_heads:
        raise ValueError(
            f"{caller}: num_heads must divide embed_dim, got {num_heads} and "
            f"{embed_dim}"
        )
    if rotary_base is not None:
        check_base(caller, rotary_base, "rotary_base")
        size = "embed_dim / num_heads, which rotary positions rotate in pairs,"
        check_even(caller, size, embed_dim // num_heads)
    return embed_dim, num_heads
