"""Transformer encoder and decoder layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from lucid_fn.checks import check_bool, check_type
from lucid_fn.distributed.agreement import is_distributed
from lucid_fn.distributed.group import Group
from lucid_fn.nn.attention.cached_attention import cached_attention
from lucid_fn.nn.attention.multi_head_attention import (
    AttentionInputs,
    multi_head_attention,
)
from lucid_fn.nn.attention.positions import check_base
from lucid_fn.nn.core.checks import (
    check_activation,
    check_eps,
    check_positive,
    check_rate,
)
from lucid_fn.nn.core.compose import compose
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.dropout import dropout
from lucid_fn.nn.norm.layer_norm import layer_norm
from lucid_fn.nn.tensor_parallel import column_parallel_linear, row_parallel_linear
from lucid_fn.ops import relu
from lucid_fn.types import Array, ArrayFn


class EncoderInputs(NamedTuple):
    """A sequence and the mask of its self-attention."""

    x: Array  # (N, L, d_model)
    mask: Array | None = None  # broadcasts to (N, num_heads, L, L); true means attend


class DecoderInputs(NamedTuple):
    """A sequence, the encoder output that it attends to, and the masks for both."""

    x: Array  # (N, L, d_model)
    memory: Array  # (N, S, d_model)
    mask: Array | None = None  # broadcasts to (N, num_heads, L, L); true means attend
    memory_mask: Array | None = None  # broadcasts to (N, num_heads, L, S)


def block(forward: Callable[..., Any], **children: Any) -> Layer:
    """`compose` of a `forward` that treats the examples of a batch independently."""
    return compose(forward, examplewise=True, **children)


def transformer_encoder_layer(
    d_model: int,
    num_heads: int,
    *,
    dim_feedforward: int = 2048,
    rate: float = 0.1,
    activation: ArrayFn = relu,
    eps: float = 1e-5,
    norm_first: bool = False,
    causal: bool = False,
    bias: bool = True,
    rotary_base: float | None = None,
    cache: tuple[int, int] | None = None,
    group: Group | None = None,
) -> Layer:
    """Transformer encoder layer: self-attention and a feed-forward network.

    `norm1(x + attention(x))`, then `norm2(x + linear2(activation(linear1(x))))`; with
    `norm_first`, `x + attention(norm1(x))`, then
    `x + linear2(activation(linear1(norm2(x))))`.

    The input is an array `(N, L, d_model)` or `nn.EncoderInputs(x, mask)`; the output
    is `(N, L, d_model)`. With `causal=True` it is the block of a language model; with a
    `cache` as well, it decodes step by step with the same params, and has the state of
    `cached_attention`.

    Params: PyTorch's `self_attn`, `linear1`, `linear2`, `norm1` and `norm2`.

    Args:
        d_model: features of input and output.
        num_heads: number of attention heads, a divisor of `d_model`.
        dim_feedforward: features between the two linear layers.
        rate: probability of dropping an attention weight, an activation between the
            linear layers, or an output of a residual branch; in [0, 1).
        activation: function between the linear layers.
        eps: `eps` of the layer norms.
        norm_first: whether the norms come before attention and feed-forward network
            (pre-norm), instead of after each residual sum.
        causal: whether to mask later positions.
        bias: whether attention, linear layers and norms have biases.
        rotary_base: as in `multi_head_attention`.
        cache: `(batch_size, max_length)` of a `cached_attention` in place of
            `multi_head_attention`, for a causal layer; it accepts no mask, and drops no
            attention weights.
        group: processes over which the heads and the features between the linear layers
            are sharded (tensor parallelism); both must be multiples of their number.
            Inputs and output are the same on all ranks, and so must be the key. Not
            with a `cache`.

    Raises:
        TypeError: if `group` is not a group.
        ValueError: if an argument is out of range; on apply, if shapes do not match, if
            dropout has no key, or if a layer with a cache gets a mask.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1;
    `norm_first`: Xiong et al., 2020, https://arxiv.org/abs/2002.04745. Names and
    numbers are those of `torch.nn.TransformerEncoderLayer`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> block = nn.transformer_encoder_layer(8, 2, dim_feedforward=16)
        >>> params, state = block.init(random.key(0))
        >>> block.apply(params, state, mx.ones((1, 3, 8)), train=False)[0].shape
        (1, 3, 8)
    """
    caller = "transformer_encoder_layer"
    check_bool(caller, norm_first=norm_first, causal=causal, bias=bias)
    check_activation(caller, activation)
    sizes = {"num_heads": num_heads, "dim_feedforward": dim_feedforward}
    check_positive(caller, d_model=d_model, **sizes)
    rate, eps = check_rate(caller, rate), check_eps(caller, eps)
    if rotary_base is not None:
        check_base(caller, rotary_base, "rotary_base")
    options: Any = {"bias": bias, "group": group}
    self_attention = _self_attention(
        caller, d_model, num_heads, causal, rate, bias, rotary_base, cache, group
    )

    def forward(
        inputs: Any,
        self_attn: ArrayFn,
        dropout1: ArrayFn,
        norm1: ArrayFn,
        linear1: ArrayFn,
        activation: ArrayFn,
        dropout: ArrayFn,
        linear2: ArrayFn,
        dropout2: ArrayFn,
        norm2: ArrayFn,
    ) -> Any:
        x, mask = inputs if isinstance(inputs, EncoderInputs) else (inputs, None)
        _check_mask(caller, mask, cache)

        def attend(x: Array) -> Any:
            return dropout1(self_attn(x if cache else AttentionInputs(x, x, x, mask)))

        def feed_forward(x: Array) -> Any:
            return dropout2(linear2(dropout(activation(linear1(x)))))

        x = _branch(x, attend, norm1, norm_first)
        return _branch(x, feed_forward, norm2, norm_first)

    return block(
        forward,
        self_attn=self_attention,
        dropout1=dropout(rate),
        norm1=layer_norm(d_model, eps=eps, bias=bias),
        linear1=column_parallel_linear(d_model, dim_feedforward, **options),
        activation=activation,
        dropout=dropout(rate, group=group),
        linear2=row_parallel_linear(dim_feedforward, d_model, **options),
        dropout2=dropout(rate),
        norm2=layer_norm(d_model, eps=eps, bias=bias),
    )


def transformer_decoder_layer(
    d_model: int,
    num_heads: int,
    *,
    dim_feedforward: int = 2048,
    rate: float = 0.1,
    activation: ArrayFn = relu,
    eps: float = 1e-5,
    norm_first: bool = False,
    causal: bool = True,
    bias: bool = True,
    rotary_base: float | None = None,
    cache: tuple[int, int] | None = None,
    group: Group | None = None,
) -> Layer:
    """Transformer decoder layer: self- and cross-attention, and a feed-forward network.

    Three residual branches, as in `transformer_encoder_layer`. The input is
    `nn.DecoderInputs(x, memory, mask, memory_mask)`; the output is `(N, L, d_model)`.

    The self-attention is causal unless `causal=False` is given, unlike that of
    `torch.nn.TransformerDecoderLayer`, which is causal only with a `tgt_mask`.

    Params: PyTorch's `self_attn`, `multihead_attn`, `linear1`, `linear2`, `norm1`,
    `norm2` and `norm3`.

    Args:
        d_model: features of inputs and output.
        num_heads: number of heads of both attentions, a divisor of `d_model`.
        dim_feedforward: features between the two linear layers.
        rate: as in `transformer_encoder_layer`.
        activation: function between the linear layers.
        eps: `eps` of the layer norms.
        norm_first: as in `transformer_encoder_layer`.
        causal: whether the self-attention masks later positions; the cross-attention
            never does.
        bias: whether attentions, linear layers and norms have biases.
        rotary_base: as in `multi_head_attention`, for the self-attention.
        cache: as in `transformer_encoder_layer`, for the self-attention; pass the same
            memory at each step.
        group: as in `transformer_encoder_layer`.

    Raises:
        TypeError: on apply, if the input is not `nn.DecoderInputs`.
        ValueError: as `transformer_encoder_layer`.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1. Names
    and numbers are those of `torch.nn.TransformerDecoderLayer`, with a causal mask for
    `causal=True`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> block = nn.transformer_decoder_layer(8, 2, dim_feedforward=16)
        >>> params, state = block.init(random.key(0))
        >>> inputs = nn.DecoderInputs(mx.ones((1, 3, 8)), mx.ones((1, 5, 8)))
        >>> block.apply(params, state, inputs, train=False)[0].shape
        (1, 3, 8)
    """
    caller = "transformer_decoder_layer"
    check_bool(caller, norm_first=norm_first, causal=causal, bias=bias)
    check_activation(caller, activation)
    sizes = {"num_heads": num_heads, "dim_feedforward": dim_feedforward}
    check_positive(caller, d_model=d_model, **sizes)
    rate, eps = check_rate(caller, rate), check_eps(caller, eps)
    if rotary_base is not None:
        check_base(caller, rotary_base, "rotary_base")
    options: Any = {"bias": bias, "group": group}
    self_attention = _self_attention(
        caller, d_model, num_heads, causal, rate, bias, rotary_base, cache, group
    )

    def forward(
        inputs: DecoderInputs,
        self_attn: ArrayFn,
        dropout1: ArrayFn,
        norm1: ArrayFn,
        multihead_attn: ArrayFn,
        dropout2: ArrayFn,
        norm2: ArrayFn,
        linear1: ArrayFn,
        activation: ArrayFn,
        dropout: ArrayFn,
        linear2: ArrayFn,
        dropout3: ArrayFn,
        norm3: ArrayFn,
    ) -> Any:
        words = "nn.DecoderInputs(x, memory)"
        check_type(caller, "x", inputs, DecoderInputs, words)
        x, memory, mask, memory_mask = inputs
        _check_mask(caller, mask, cache)

        def attend(x: Array) -> Any:
            return dropout1(self_attn(x if cache else AttentionInputs(x, x, x, mask)))

        def attend_to_memory(x: Array) -> Any:
            cross_inputs = AttentionInputs(x, memory, memory, memory_mask)
            return dropout2(multihead_attn(cross_inputs))

        def feed_forward(x: Array) -> Any:
            return dropout3(linear2(dropout(activation(linear1(x)))))

        x = _branch(x, attend, norm1, norm_first)
        x = _branch(x, attend_to_memory, norm2, norm_first)
        return _branch(x, feed_forward, norm3, norm_first)

    return block(
        forward,
        self_attn=self_attention,
        dropout1=dropout(rate),
        norm1=layer_norm(d_model, eps=eps, bias=bias),
        multihead_attn=multi_head_attention(d_model, num_heads, rate=rate, **options),
        dropout2=dropout(rate),
        norm2=layer_norm(d_model, eps=eps, bias=bias),
        linear1=column_parallel_linear(d_model, dim_feedforward, **options),
        activation=activation,
        dropout=dropout(rate, group=group),
        linear2=row_parallel_linear(dim_feedforward, d_model, **options),
        dropout3=dropout(rate),
        norm3=layer_norm(d_model, eps=eps, bias=bias),
    )


def _branch(x: Array, body: ArrayFn, norm: ArrayFn, norm_first: bool) -> Any:
    """A residual branch `body`, with its norm before `body` or after the sum."""
    return x + body(norm(x)) if norm_first else norm(x + body(x))


def _self_attention(
    caller: str,
    d_model: int,
    num_heads: int,
    causal: bool,
    rate: float,
    bias: bool,
    rotary_base: float | None,
    cache: tuple[int, int] | None,
    group: Group | None,
) -> Layer:
    options: Any = {"bias": bias, "rotary_base": rotary_base}
    if cache is None:
        return multi_head_attention(
            d_model, num_heads, causal=causal, rate=rate, group=group, **options
        )
    if is_distributed(group):
        raise ValueError(
            f"{caller}: group must be None for a layer with a cache, got a group of "
            f"{group.size}; decode with the params of nn.unshard_params on one process"
        )
    if not causal:
        raise ValueError(
            f"{caller}: causal must be True for a layer with a cache, got {causal}"
        )
    if not isinstance(cache, tuple) or len(cache) != 2:
        raise ValueError(
            f"{caller}: cache must be (batch_size, max_length), got {cache!r}"
        )
    batch_size, max_length = cache
    return cached_attention(
        d_model, num_heads, batch_size=batch_size, max_length=max_length, **options
    )


def _check_mask(caller: str, mask: Array | None, cache: tuple[int, int] | None) -> None:
    if cache is not None and mask is not None:
        raise ValueError(
            f"{caller}: mask must be None for a layer with a cache, got an array; it "
            "attends to all cached positions"
        )
