"""Layers of attention: projections of sequences, whose parts attend to each other."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import ops, random
from lucid_fn.checks import check_float
from lucid_fn.evaluation import started
from lucid_fn.nn import initializers
from lucid_fn.nn.attention import attention_with_dropout, dot_product_attention
from lucid_fn.nn.checks import (
    check_key,
    check_params,
    check_positive,
    check_rate,
    check_state,
)
from lucid_fn.nn.layer import NOT_GIVEN, Layer, check_train, expecting, to_input
from lucid_fn.nn.positions import rotary_positions
from lucid_fn.nn.recording import count_multiply_adds
from lucid_fn.ops.seam import accepts_divided, divide, is_divided, join, map_examples
from lucid_fn.types import Array, Key, Params, State


class AttentionInputs(NamedTuple):
    """What attention between two sequences takes."""

    query: Array  # (N, L, embed_dim)
    key: Array  # (N, S, embed_dim)
    value: Array  # (N, S, embed_dim)
    mask: Array | None = None  # broadcasts to (N, num_heads, L, S); true is attended to


def multi_head_attention(
    embed_dim: int,
    num_heads: int,
    *,
    causal: bool = False,
    rate: float = 0.0,
    bias: bool = True,
    rotary_base: float | None = None,
) -> Layer:
    """Attention of several heads, each on its own projection of the inputs.

    `concatenate(heads) @ out_proj.weight.T + out_proj.bias`, where each head is
    `dot_product_attention` of `embed_dim / num_heads` features of the projected query,
    key and value.

    The input is an array `(N, L, embed_dim)`, which attends to itself, or
    `nn.AttentionInputs(query, key, value, mask)`. The output is `(N, L, embed_dim)`.
    In a mask true is attended to, as in `dot_product_attention`; the masks of
    `torch.nn.MultiheadAttention` are the opposite.

    Params: PyTorch's `in_proj_weight` `(3 * embed_dim, embed_dim)`, Xavier uniform,
    `in_proj_bias` `(3 * embed_dim,)`, zeros, both for query, key and value one after
    the other, and `out_proj`, a linear layer.

    Args:
        embed_dim: features of inputs and output.
        num_heads: heads, a divisor of `embed_dim`.
        causal: whether no query attends to later keys.
        rate: probability of dropping a weight while training, in [0, 1). The weights
            are stored then, which the fused kernel does not.
        bias: whether the projections have a bias.
        rotary_base: base of the wavelengths of rotary positions, such as 10000.0, by
            which queries and keys are rotated; `None` for no positions.

    Raises:
        ValueError: if an argument is out of range; on apply, if shapes do not fit, or
            if dropout has no key.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.multi_head_attention(8, 2, causal=True)
        >>> params, state = layer.init(random.key(0))
        >>> x, memory = mx.ones((1, 3, 8)), mx.ones((1, 5, 8))
        >>> layer.apply(params, state, x, train=False)[0].shape
        (1, 3, 8)
        >>> crossed = nn.AttentionInputs(x, memory, memory)
        >>> layer.apply(params, state, crossed, train=False)[0].shape
        (1, 3, 8)
    """
    caller = "multi_head_attention"
    _check_sizes(caller, embed_dim, num_heads)
    check_rate(caller, rate)

    def init(key: Key, /) -> tuple[Params, State]:
        return started(_init_projections(key, embed_dim, bias)), {}

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool = NOT_GIVEN,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        check_train(train)
        inputs = x if isinstance(x, AttentionInputs) else _to_itself(to_input(x))
        for name, sequence in zip(inputs._fields, inputs[:3], strict=False):
            _check_sequence(caller, name, join(sequence), embed_dim)
        _check_projections(caller, params, embed_dim, bias)
        kept = None
        if train and rate > 0:  # of the whole batch, however many cores there are
            n, length, _ = inputs.query.shape
            shape = n, num_heads, length, inputs.key.shape[1]
            kept = random.bernoulli(check_key(caller, key), 1 - rate, shape)

        each, shared = _mask_of_examples(inputs)

        def attend(
            q: Array, k: Array, v: Array, mask: Array | None, kept: Array | None
        ) -> Array:
            heads = _project(params, (q, k, v), num_heads, bias)
            if rotary_base is not None:
                heads = _rotated(*heads, rotary_base, 0)
            mask = shared if mask is None else mask
            if kept is None:
                y = dot_product_attention(*heads, mask=mask, causal=causal)
            else:
                y = attention_with_dropout(
                    *heads, mask=mask, causal=causal, kept=kept, rate=rate
                )
            return _merge_heads(params, y, bias)

        y = map_examples(attend, *_divided(inputs), each, kept)
        return y if is_divided(inputs) else join(y), state

    return Layer(init, accepts_divided(apply))


def _divided(inputs: AttentionInputs) -> list[Any]:
    """Query, key and value, in parts where it pays; one array given twice stays one."""
    query = divide(inputs.query)
    return [query if x is inputs.query else x for x in inputs[:3]]


def _mask_of_examples(inputs: AttentionInputs) -> tuple[Array | None, Array | None]:
    """The mask: as one that each example has a part of, or as one that all share."""
    mask, n = inputs.mask, inputs.query.shape[0]
    if isinstance(mask, mx.array) and mask.ndim == 4 and mask.shape[0] == n:
        return mask, None
    return None, mask


def cached_attention(
    embed_dim: int,
    num_heads: int,
    *,
    batch_size: int,
    max_length: int,
    bias: bool = True,
    rotary_base: float | None = None,
) -> Layer:
    """Causal `multi_head_attention` that remembers the keys and values it has seen.

    For generating a sequence piece by piece: it takes the next `(N, L, embed_dim)`
    positions and returns what the causal layer returns for these in the whole sequence.
    Its params are those of `multi_head_attention`. Unlike any other layer's, its state
    moves in eval mode too; begin a new sequence with the state that `init` returns.

    State: `keys` and `values` `(batch_size, max_length, num_heads, D)`, float32, and
    `length`, int32, the positions seen so far. Positions beyond `max_length` are not
    noticed, as `length` is a value: stop before.

    Args:
        embed_dim: features of input and output.
        num_heads: heads, a divisor of `embed_dim`.
        batch_size: sequences that are generated at once.
        max_length: the greatest length of a sequence.
        bias: as in `multi_head_attention`.
        rotary_base: as in `multi_head_attention`.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` has another shape
            or more than `max_length` positions.

    Source: Shazeer, 2019, https://arxiv.org/abs/1911.02150, section 2.3.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.cached_attention(8, 2, batch_size=1, max_length=16)
        >>> params, state = layer.init(random.key(0))
        >>> y, state = layer.apply(params, state, mx.ones((1, 3, 8)), train=False)
        >>> y, state = layer.apply(params, state, mx.ones((1, 1, 8)), train=False)
        >>> y.shape, state["length"].item()
        ((1, 1, 8), 4)
    """
    caller = "cached_attention"
    _check_sizes(caller, embed_dim, num_heads)
    check_positive(caller, batch_size=batch_size, max_length=max_length)
    shape = (batch_size, max_length, num_heads, embed_dim // num_heads)

    def init(key: Key, /) -> tuple[Params, State]:
        state = {
            "keys": mx.zeros(shape),
            "values": mx.zeros(shape),
            "length": mx.array(0, mx.int32),
        }
        return started((_init_projections(key, embed_dim, bias), state))

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool = NOT_GIVEN,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        check_train(train)
        x = to_input(x)
        _check_sequence(caller, "x", x, embed_dim)
        if x.shape[0] != batch_size or x.shape[1] > max_length:
            raise ValueError(
                f"{caller}: x must have shape ({batch_size}, L, {embed_dim}) with L at "
                f"most {max_length}, got {x.shape}"
            )
        check_state(caller, state, keys=shape, values=shape, length=())
        length = state["length"]
        _check_projections(caller, params, embed_dim, bias)
        heads = _project(params, (x, x, x), num_heads, bias)
        if rotary_base is not None:
            heads = _rotated(*heads, rotary_base, length)
        query, new_keys, new_values = heads
        keys = _put(state["keys"], new_keys, length)
        values = _put(state["values"], new_values, length)
        places = length + mx.arange(x.shape[1])[:, None]  # (L, 1)
        y = dot_product_attention(
            query,
            keys.astype(query.dtype),
            values.astype(query.dtype),
            mask=mx.arange(max_length) <= places,
        )
        moved = {"keys": keys, "values": values, "length": length + x.shape[1]}
        return _merge_heads(params, y, bias), moved

    return Layer(init, apply)


def _put(cache: Array, new: Array, start: Array) -> Array:
    """The cache with `new` at the places from `start` on."""
    return mx.slice_update(cache, new.astype(cache.dtype), start.reshape(1), axes=(1,))


def _init_projections(key: Key, embed_dim: int, bias: bool) -> Params:
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


def _project(
    params: Params, sequences: tuple[Array, Array, Array], num_heads: int, bias: bool
) -> tuple[Array, Array, Array]:
    """Query, key and value by heads: `(N, L, H, D)`."""
    weight, offset = params["in_proj_weight"], params["in_proj_bias"] if bias else None
    if all(x is sequences[0] for x in sequences):  # one product in place of three
        parts = list(mx.split(ops.linear(sequences[0], weight, offset), 3, axis=-1))
    else:
        offsets = [None] * 3 if offset is None else mx.split(offset, 3)
        parts = list(map(ops.linear, sequences, mx.split(weight, 3), offsets))
    count_multiply_adds(sum(part.size for part in parts) * weight.shape[-1])
    q, k, v = (mx.unflatten(part, -1, (num_heads, -1)) for part in parts)
    return q, k, v


def _rotated(
    query: Array, key: Array, value: Array, base: float, offset: int | Array
) -> tuple[Array, Array, Array]:
    query, key = (
        rotary_positions(x.transpose(0, 2, 1, 3), base=base, offset=offset)
        for x in (query, key)
    )
    return query.transpose(0, 2, 1, 3), key.transpose(0, 2, 1, 3), value


def _merge_heads(params: Params, y: Array, bias: bool) -> Array:
    out_proj = params["out_proj"]
    weight, offset = out_proj["weight"], out_proj["bias"] if bias else None
    y = ops.linear(mx.flatten(y, 2), weight, offset)
    count_multiply_adds(y.size * weight.shape[-1])
    return y


def _to_itself(x: Array) -> AttentionInputs:
    return AttentionInputs(x, x, x)


def _check_sequence(caller: str, name: str, x: Array, embed_dim: int) -> None:
    check_float(caller, **{name: x})
    if x.ndim != 3 or x.shape[-1] != embed_dim:
        raise ValueError(
            f"{caller}: {name} must have shape (N, L, {embed_dim}), got {x.shape}"
        )


def _check_projections(caller: str, params: Params, embed_dim: int, bias: bool) -> None:
    check_params(
        caller,
        params,
        in_proj_weight=(3 * embed_dim, embed_dim),
        in_proj_bias=(3 * embed_dim,) if bias else None,
    )
    check_params(
        f"{caller}: out_proj",
        expecting(params, "params")["out_proj"],
        weight=(embed_dim, embed_dim),
        bias=(embed_dim,) if bias else None,
    )


def _check_sizes(caller: str, embed_dim: int, num_heads: int) -> None:
    check_positive(caller, embed_dim=embed_dim, num_heads=num_heads)
    if embed_dim % num_heads:
        raise ValueError(
            f"{caller}: num_heads must divide embed_dim, got {num_heads} and "
            f"{embed_dim}"
        )
