"""The projections of multi-head attention: to heads and back, with their checks."""

from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn import ops, random
from lucid_fn.checks import shape_error
from lucid_fn.nn import initializers
from lucid_fn.nn.attention.positions import angles_at, check_base, check_even, rotate
from lucid_fn.nn.core.checks import (
    QuantizableShape,
    check_float,
    check_params,
    check_positive,
)
from lucid_fn.nn.core.layer import Layer, quantizable, require_names
from lucid_fn.nn.core.sharding import ShardSpec, ShardSpecs
from lucid_fn.ops.concatenation import split_evenly
from lucid_fn.ops.linear import QuantizedWeight
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.types import Array, Key, Params

Widths: TypeAlias = tuple[int, int, int]
"""Numbers of features of query, key and value; that of the query is `embed_dim`."""


def init_projections(key: Key, widths: Widths, bias: bool) -> Params:
    """Initial params of the projections, with PyTorch's names."""
    embed_dim = widths[0]
    init_weight = initializers.xavier_uniform()
    weights = {
        name: init_weight(random.fold_in(key, name), shape)
        for name, shape in _in_projections(widths, embed_dim).items()
    }
    out_proj = initializers.weight_and_bias(
        random.fold_in(key, "out_proj"),
        (embed_dim, embed_dim),
        bias,
        initializers.uniform_by_fan_in,
        initializers.zeros,
    )
    biases = {"in_proj_bias": mx.zeros((3 * embed_dim,))} if bias else {}
    return {**weights, **biases, "out_proj": out_proj}


def quantizable_projections(layer: Layer, widths: Widths) -> Layer:
    """Marks the weights of `init_projections` as quantizable."""
    names = _in_projections(widths, widths[0])
    return quantizable(layer, *names, "out_proj.weight")


def _in_projections(widths: Widths, features: int) -> dict[str, tuple[int, int]]:
    """Shapes of the weights of query, key and value, one array if widths are equal."""
    if len(set(widths)) == 1:
        return {"in_proj_weight": (3 * features, widths[0])}
    names = (f"{letter}_proj_weight" for letter in "qkv")
    return {name: (features, width) for name, width in zip(names, widths, strict=True)}


def project(
    params: Params, sequences: tuple[Array, Array, Array], num_heads: int, bias: bool
) -> tuple[Array, Array, Array]:
    """Projected query, key and value, each `(N, L, H, D)`."""
    weight, offset = params.get("in_proj_weight"), params.get("in_proj_bias")
    offset = offset if bias else None
    if weight is not None and all(x is sequences[0] for x in sequences):
        # One product in place of three.
        qkv = split_evenly(ops.linear(sequences[0], weight, offset), 3)
    else:
        offsets = [None] * 3 if offset is None else split_evenly(offset, 3)
        weights = (
            [params[f"{letter}_proj_weight"] for letter in "qkv"]
            if weight is None
            else _split_qkv(weight)
        )
        qkv = list(map(ops.linear, sequences, weights, offsets))
    count_multiply_adds(
        sum(y.size * x.shape[-1] for y, x in zip(qkv, sequences, strict=True))
    )
    q, k, v = (y.reshape(*y.shape[:2], num_heads, y.shape[2] // num_heads) for y in qkv)
    return q, k, v


def rotate_query_and_key(
    query: Array, key: Array, base: float, offset: int | Array
) -> tuple[Array, Array]:
    """Query and key `(N, L, H, D)` with rotary positions from `offset` on."""
    query, key = (
        rotate(x, angles_at(x.shape[1], x.shape[3], base, offset)[:, None])
        for x in (query, key)
    )
    return query, key


def merge_heads(params: Params, y: Array, bias: bool) -> Array:
    """The output projection `(N, L, embed_dim)` of heads `(N, L, H, D)`."""
    out_proj = params["out_proj"]
    weight, offset = out_proj["weight"], out_proj["bias"] if bias else None
    heads = mx.flatten(y, 2)  # (N, L, H * D)
    y = ops.linear(heads, weight, offset)
    count_multiply_adds(y.size * heads.shape[-1])
    return y


def _split_qkv(weight: Any) -> list[Any]:
    """The weights of query, key and value, from `in_proj_weight`."""
    if isinstance(weight, QuantizedWeight):
        thirds = (split_evenly(array, 3, axis=0) for array in weight)
        return [QuantizedWeight(*arrays) for arrays in zip(*thirds, strict=True)]
    return split_evenly(weight, 3, axis=0)


def check_sequence(caller: str, name: str, x: Array, embed_dim: int) -> None:
    """Raises unless `x` has a float dtype and the shape `(N, L, embed_dim)`."""
    check_float(caller, **{name: x})
    if x.ndim != 3 or x.shape[-1] != embed_dim:
        raise shape_error(caller, name, x, f"(N, L, {embed_dim})", axes=3)


def projection_specs(widths: Widths, bias: bool) -> ShardSpecs:
    """How the params of `init_projections` are sharded by heads."""
    embed_dim = widths[0]
    specs = {"out_proj.weight": ShardSpec((embed_dim, embed_dim), 1)}
    for name, shape in _in_projections(widths, embed_dim).items():
        specs[name] = ShardSpec(shape, 0, blocks=shape[0] // embed_dim)
    if bias:
        specs["in_proj_bias"] = ShardSpec((3 * embed_dim,), 0, blocks=3)
    return specs


def check_projections(
    caller: str, params: Params, widths: Widths, bias: bool, features: int
) -> None:
    """Raises unless the params have the names and shapes of `init_projections`.

    `features` is the number of features of all heads of this process.
    """
    embed_dim = widths[0]
    weights = {
        name: QuantizableShape(shape)
        for name, shape in _in_projections(widths, features).items()
    }
    check_params(
        caller, params, **weights, in_proj_bias=(3 * features,) if bias else None
    )
    check_params(
        f"{caller}: out_proj",
        require_names(params, "params")["out_proj"],
        weight=QuantizableShape((embed_dim, features)),
        bias=(embed_dim,) if bias else None,
    )


def check_sizes(
    caller: str, embed_dim: int, num_heads: int, rotary_base: float | None
) -> tuple[int, int]:
    """Checked `embed_dim` and `num_heads`; rotary positions need an even quotient."""
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
        name = "embed_dim / num_heads, which rotary positions rotate in pairs,"
        check_even(caller, name, embed_dim // num_heads)
    return embed_dim, num_heads
