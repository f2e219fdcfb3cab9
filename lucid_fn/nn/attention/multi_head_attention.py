"""Multi-head attention."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_bool, shape_error
from lucid_fn.distributed.agreement import is_distributed
from lucid_fn.distributed.collectives import sum_gradients, sum_parts
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.nn.attention.heads import (
    Widths,
    check_projections,
    check_sequence,
    check_sizes,
    init_projections,
    merge_heads,
    project,
    projection_specs,
    quantizable_projections,
    rotate_query_and_key,
)
from lucid_fn.nn.core.checks import check_key, check_positive, check_rate
from lucid_fn.nn.core.examplewise import over_examples
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.nn.core.sharding import ShardSpec, shard_of_rank, shard_size, sharded
from lucid_fn.nn.dropout import drop
from lucid_fn.ops.attention import (
    attention_from_weights,
    dot_product_attention,
    dot_product_attention_weights,
)
from lucid_fn.ops.bias import add_bias
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State


class AttentionInputs(NamedTuple):
    """The inputs of attention between two sequences."""

    query: Array  # (N, L, embed_dim)
    key: Array  # (N, S, kdim)
    value: Array  # (N, S, vdim)
    mask: Array | None = None  # broadcasts to (N, num_heads, L, S); true means attend


class AttentionOutput(NamedTuple):
    """The output of `multi_head_attention` with `return_weights=True`."""

    y: Array  # (N, L, embed_dim)
    weights: Array  # (N, num_heads, L, S)


def multi_head_attention(
    embed_dim: int,
    num_heads: int,
    *,
    kdim: int | None = None,
    vdim: int | None = None,
    causal: bool = False,
    rate: float = 0.0,
    bias: bool = True,
    rotary_base: float | None = None,
    return_weights: bool = False,
    group: Group | None = None,
) -> Layer:
    """Multi-head attention: several heads, each on its own projection of the inputs.

    `concatenate(heads) @ out_proj.weight.T + out_proj.bias`, where each head is
    `dot_product_attention` of `embed_dim / num_heads` features of the projected query,
    key and value.

    The input is an array `(N, L, embed_dim)` for self-attention, or
    `nn.AttentionInputs(query, key, value, mask)`. The output is `(N, L, embed_dim)`, in
    the promoted dtype of inputs and params. A mask is true where a query attends to a
    key, as in `dot_product_attention`; the masks of `torch.nn.MultiheadAttention` are
    the opposite. The heads of a query that attends to no key are 0.

    Params: PyTorch's `in_proj_weight` `(3 * embed_dim, embed_dim)`, Xavier uniform,
    `in_proj_bias` `(3 * embed_dim,)`, zeros, both for query, key and value in this
    order, and `out_proj`, a linear layer. If keys or values have another number of
    features than queries, `q_proj_weight` `(embed_dim, embed_dim)`, `k_proj_weight`
    `(embed_dim, kdim)` and `v_proj_weight` `(embed_dim, vdim)`, each Xavier uniform,
    replace `in_proj_weight`.

    Args:
        embed_dim: features of queries and output.
        num_heads: number of heads, a divisor of `embed_dim`.
        kdim: features of keys; `embed_dim` if `None`.
        vdim: features of values; `embed_dim` if `None`.
        causal: whether to mask later keys.
        rate: probability of dropping an attention weight in train mode, in [0, 1).
            Dropout needs the weights in memory, which the fused kernel avoids.
        bias: whether the projections have a bias.
        rotary_base: base of the wavelengths of rotary position embeddings of queries
            and keys, such as 10000.0; `None` for no positions.
        return_weights: whether the output is `nn.AttentionOutput(y, weights)`, with the
            weights of each head, after dropout.
        group: processes over which the heads are sharded (tensor parallelism). Inputs
            and output are the same on all ranks; each rank has the slices of the
            projections that belong to its heads, and the whole bias of `out_proj`.

    Raises:
        TypeError: if `group` is not a group; on apply, if an input is not of a float
            dtype.
        ValueError: if an argument is out of range, `num_heads` is not a multiple of the
            number of ranks, or `return_weights` is true for several ranks; on apply, if
            shapes do not match, or if dropout has no key.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.2; with
    a group: Shoeybi et al., 2019, https://arxiv.org/abs/1909.08053, section 3.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.multi_head_attention(8, 2, causal=True)
        >>> params, state = layer.init(random.key(0))
        >>> x, memory = mx.ones((1, 3, 8)), mx.ones((1, 5, 8))
        >>> layer.apply(params, state, x, train=False)[0].shape
        (1, 3, 8)
        >>> inputs = nn.AttentionInputs(x, memory, memory)
        >>> layer.apply(params, state, inputs, train=False)[0].shape
        (1, 3, 8)
    """
    caller = "multi_head_attention"
    check_bool(caller, causal=causal, bias=bias, return_weights=return_weights)
    embed_dim, num_heads = check_sizes(caller, embed_dim, num_heads, rotary_base)
    kdim, vdim = check_positive(
        caller,
        kdim=embed_dim if kdim is None else kdim,
        vdim=embed_dim if vdim is None else vdim,
    )
    widths = embed_dim, kdim, vdim
    rate = check_rate(caller, rate)
    ranks = _ranks(caller, group, num_heads, return_weights)
    heads, features = num_heads // ranks.size, embed_dim // ranks.size
    specs = projection_specs(widths, bias)

    def init(key: Key, /) -> tuple[Params, State]:
        params = init_projections(key, widths, bias)
        return started(shard_of_rank(params, ranks, specs)), {}

    def prepare(
        params: Params, x: Any, train: bool, key: Key | None
    ) -> tuple[Callable[..., Any], list[Any]]:
        inputs = _as_inputs(caller, x, widths)
        named = zip(inputs._fields, inputs[:3], widths, strict=False)
        for name, sequence, width in named:
            check_sequence(caller, name, sequence, width)
        _check_memory(caller, inputs)
        check_projections(caller, params, widths, bias, features)
        inputs = _sum_input_gradients(inputs, ranks)
        kept = None
        if train and rate > 0:
            n, length, _ = inputs.query.shape
            shape = n, num_heads, length, inputs.key.shape[1]
            kept = random.bernoulli(check_key(caller, key), 1 - rate, shape)
            kept = _heads_of_rank(kept, num_heads, ranks)

        mask_per_example, shared_mask = _masks(inputs, num_heads, ranks)

        def attend(
            q: Array, k: Array, v: Array, mask: Array | None, kept: Array | None
        ) -> Any:
            q, k, v = project(params, (q, k, v), heads, bias)
            if rotary_base is not None:
                q, k = rotate_query_and_key(q, k, rotary_base, 0)
            mask = shared_mask if mask is None else mask
            if kept is None and not return_weights:
                y = dot_product_attention(q, k, v, mask=mask, causal=causal)
                return merge_heads(params, y, bias and ranks.size == 1)
            weights = dot_product_attention_weights(q, k, mask=mask, causal=causal)
            weights = weights if kept is None else drop(weights, kept, rate)
            y = attention_from_weights(weights, v)
            y = merge_heads(params, y, bias and ranks.size == 1)
            return (y, weights) if return_weights else y

        return attend, [*inputs[:3], mask_per_example, kept]

    layer = over_examples(
        prepare, init=init, divides=lambda query: True, pack=AttentionOutput
    )
    if ranks.size > 1:
        layer = sharded(_sum_over_ranks(layer, ranks, bias), ranks, specs)
    return quantizable_projections(layer, widths)


def _as_inputs(caller: str, x: Any, widths: Widths) -> AttentionInputs:
    """The inputs of attention; for a single array, those of self-attention."""
    if isinstance(x, AttentionInputs):
        return x
    if isinstance(x, tuple) and len(x) > 2:
        raise TypeError(
            f"{caller}: x must be an array or nn.AttentionInputs, got {len(x)} in a "
            "tuple; write nn.AttentionInputs(query, key, value, mask)"
        )
    if len(set(widths)) > 1:
        raise ValueError(
            f"{caller}: x must be nn.AttentionInputs(query, key, value), of "
            f"{', '.join(map(str, widths))} features, got {type(x).__name__}; an array "
            "alone is for self-attention, without kdim and vdim"
        )
    return AttentionInputs(x, x, x)


# ---- heads sharded over ranks ----


def _ranks(
    caller: str, group: Group | None, num_heads: int, return_weights: bool
) -> Group:
    """The group over which the heads are sharded; a group of one for `None`."""
    check_group(caller, group)
    if not is_distributed(group):
        return Group(0, 1)
    shard_size(caller, "num_heads", num_heads, group)
    if return_weights:
        raise ValueError(
            f"{caller}: return_weights must be False with a group, got True; each rank "
            "has the weights of its own heads only"
        )
    return group


def _sum_input_gradients(inputs: AttentionInputs, ranks: Group) -> AttentionInputs:
    """The inputs, with their gradients summed over the ranks."""
    if ranks.size == 1:
        return inputs
    # Once for each array: `project` looks whether query, key and value are the same.
    summed = {id(x): sum_gradients(x, ranks) for x in inputs[:3]}
    query, key, value = (summed[id(x)] for x in inputs[:3])
    return AttentionInputs(query, key, value, inputs.mask)


def _heads_of_rank(x: Array, num_heads: int, ranks: Group) -> Array:
    """The heads of this rank, of an array that broadcasts to `(N, H, L, S)`."""
    axis = x.ndim - 3
    if ranks.size == 1 or axis < 0 or x.shape[axis] == 1:
        return x
    if x.shape[axis] != num_heads:  # it could have the number of heads of a rank
        raise ValueError(
            f"multi_head_attention: mask must broadcast to (N, {num_heads}, L, S), got "
            f"{x.shape}"
        )
    return ShardSpec(x.shape, axis).shard(x, ranks.rank, ranks.size)


def _sum_over_ranks(layer: Layer, ranks: Group, bias: bool) -> Layer:
    """`layer` with its output summed over the ranks, then the bias added."""

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        y, state = layer.apply(params, state, x, train=train, key=key)
        y = sum_parts(y, ranks)
        return add_bias(y, params["out_proj"]["bias"]) if bias else y, state

    return Layer(layer.init, apply)


def _masks(
    inputs: AttentionInputs, num_heads: int, ranks: Group
) -> tuple[Array | None, Array | None]:
    """The mask as a pair `(mask of each example, mask that all share)`, one `None`."""
    mask, n = inputs.mask, inputs.query.shape[0]
    if isinstance(mask, mx.array):
        mask = _heads_of_rank(mask, num_heads, ranks)
    if isinstance(mask, mx.array) and mask.ndim == 4 and mask.shape[0] == n:
        return mask, None
    return None, mask


def _check_memory(caller: str, inputs: AttentionInputs) -> None:
    """Raises unless keys and values match in length, and the query in batch size."""
    n, keys = inputs.query.shape[0], inputs.key.shape[1]
    for name, array in (("key", inputs.key), ("value", inputs.value)):
        length = "S" if name == "key" else keys
        if array.shape[0] != n or (name == "value" and array.shape[1] != keys):
            raise shape_error(caller, name, array, f"({n}, {length}, {array.shape[2]})")
