"""Blocks of transformers."""

from typing import Any, NamedTuple

from lucid_fn.nn.combinators import compose
from lucid_fn.nn.dropout import dropout
from lucid_fn.nn.layer import Layer
from lucid_fn.nn.linear import linear
from lucid_fn.nn.multi_head_attention import AttentionInputs, multi_head_attention
from lucid_fn.nn.normalization import layer_norm
from lucid_fn.ops import relu
from lucid_fn.types import Array, ArrayFn


class EncoderInputs(NamedTuple):
    """A sequence, with the mask of its attention."""

    x: Array  # (N, L, d_model)
    mask: Array | None = None  # broadcasts to (N, num_heads, L, L); true is attended to


class DecoderInputs(NamedTuple):
    """A sequence, the encoded one that it attends to, and the masks of both."""

    x: Array  # (N, L, d_model)
    memory: Array  # (N, S, d_model)
    mask: Array | None = None  # broadcasts to (N, num_heads, L, L); true is attended to
    memory_mask: Array | None = None  # broadcasts to (N, num_heads, L, S)


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
    rotary_base: float | None = None,
) -> Layer:
    """Self-attention and a network of two linear layers, each as a residual branch.

    `norm1(x + attention(x))`, then `norm2(x + linear2(activation(linear1(x))))`; with
    `norm_first`, `x + attention(norm1(x))`, then `x + network(norm2(x))`.

    The input is an array `(N, L, d_model)` or `nn.EncoderInputs(x, mask)`; the output
    is `(N, L, d_model)`. A causal one is the block of a language model.

    Params: PyTorch's `self_attn`, `linear1`, `linear2`, `norm1` and `norm2`.

    Args:
        d_model: features of input and output.
        num_heads: heads of the attention, a divisor of `d_model`.
        dim_feedforward: features between the two linear layers.
        rate: probability of dropping a value, after each branch, between the linear
            layers, and of the attention's weights; in [0, 1).
        activation: function between the linear layers.
        eps: that of the layer norms.
        norm_first: whether branches begin with the norm, in place of it after the sum.
        causal: whether no position attends to later ones.
        rotary_base: as in `multi_head_attention`.

    Raises:
        ValueError: if an argument is out of range; on apply, if shapes do not fit, or
            if dropout has no key.

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

        def attend(x: Array) -> Any:
            return dropout1(self_attn(AttentionInputs(x, x, x, mask)))

        def feed_forward(x: Array) -> Any:
            return dropout2(linear2(dropout(activation(linear1(x)))))

        x = _branch(x, attend, norm1, norm_first)
        return _branch(x, feed_forward, norm2, norm_first)

    return compose(
        forward,
        examplewise=True,
        self_attn=multi_head_attention(
            d_model, num_heads, causal=causal, rate=rate, rotary_base=rotary_base
        ),
        dropout1=dropout(rate),
        norm1=layer_norm(d_model, eps=eps),
        linear1=linear(d_model, dim_feedforward),
        activation=activation,
        dropout=dropout(rate),
        linear2=linear(dim_feedforward, d_model),
        dropout2=dropout(rate),
        norm2=layer_norm(d_model, eps=eps),
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
) -> Layer:
    """Self-attention, attention to an encoded sequence, and two linear layers.

    Three residual branches, as in `transformer_encoder_layer`. The input is
    `nn.DecoderInputs(x, memory, mask, memory_mask)`; the output is `(N, L, d_model)`.

    Params: PyTorch's `self_attn`, `multihead_attn`, `linear1`, `linear2`, `norm1`,
    `norm2` and `norm3`.

    Args:
        d_model: features of inputs and output.
        num_heads: heads of both attentions, a divisor of `d_model`.
        dim_feedforward: features between the two linear layers.
        rate: probability of dropping a value, as in `transformer_encoder_layer`.
        activation: function between the linear layers.
        eps: that of the layer norms.
        norm_first: whether branches begin with the norm, in place of it after the sum.

    Raises:
        ValueError: as `transformer_encoder_layer`.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1. Names
    and numbers are those of `torch.nn.TransformerDecoderLayer` with a causal mask.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> block = nn.transformer_decoder_layer(8, 2, dim_feedforward=16)
        >>> params, state = block.init(random.key(0))
        >>> inputs = nn.DecoderInputs(mx.ones((1, 3, 8)), mx.ones((1, 5, 8)))
        >>> block.apply(params, state, inputs, train=False)[0].shape
        (1, 3, 8)
    """

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
        if not isinstance(inputs, DecoderInputs):
            raise TypeError(
                "transformer_decoder_layer: x must be nn.DecoderInputs(x, memory), got "
                f"{type(inputs).__name__}"
            )
        x, memory, mask, memory_mask = inputs

        def attend(x: Array) -> Any:
            return dropout1(self_attn(AttentionInputs(x, x, x, mask)))

        def attend_to_memory(x: Array) -> Any:
            crossed = AttentionInputs(x, memory, memory, memory_mask)
            return dropout2(multihead_attn(crossed))

        def feed_forward(x: Array) -> Any:
            return dropout3(linear2(dropout(activation(linear1(x)))))

        x = _branch(x, attend, norm1, norm_first)
        x = _branch(x, attend_to_memory, norm2, norm_first)
        return _branch(x, feed_forward, norm3, norm_first)

    return compose(
        forward,
        examplewise=True,
        self_attn=multi_head_attention(d_model, num_heads, causal=True, rate=rate),
        dropout1=dropout(rate),
        norm1=layer_norm(d_model, eps=eps),
        multihead_attn=multi_head_attention(d_model, num_heads, rate=rate),
        dropout2=dropout(rate),
        norm2=layer_norm(d_model, eps=eps),
        linear1=linear(d_model, dim_feedforward),
        activation=activation,
        dropout=dropout(rate),
        linear2=linear(dim_feedforward, d_model),
        dropout3=dropout(rate),
        norm3=layer_norm(d_model, eps=eps),
    )


def _branch(x: Array, body: ArrayFn, norm: ArrayFn, norm_first: bool) -> Any:
    """`x` plus a branch, with a norm before or after."""
    return x + body(norm(x)) if norm_first else norm(x + body(x))
