"""BERT: a bidirectional transformer encoder.

Devlin et al., 2018, "BERT: Pre-training of deep bidirectional transformers for language
understanding", https://arxiv.org/abs/1810.04805.
"""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import nn
from lucid_fn.checks import (
    check_array,
    check_bool,
    check_integer,
    check_same_shape,
    shape_error,
)
from lucid_fn.models.normal_init import normal_init
from lucid_fn.nn.attention.transformer_stacks import stack
from lucid_fn.nn.core.checks import (
    check_activation,
    check_eps,
    check_positive,
    check_rate,
)
from lucid_fn.types import Array, ArrayFn


class BertInputs(NamedTuple):
    """Tokens, the type (segment) of each of them, and the padding mask."""

    tokens: Array  # integers, (N, L)
    token_types: Array | None = None  # integers, (N, L); all 0 if None
    mask: Array | None = None  # (N, L), true or 1 where there is no padding


class BertOutput(NamedTuple):
    """Features of each token, and pooled features of the whole text."""

    sequence: Array  # (N, L, d_model)
    pooled: Array | None  # (N, d_model); None without a pooler


def bert(
    vocab_size: int = 30522,
    max_length: int = 512,
    *,
    num_layers: int = 12,
    num_heads: int = 12,
    d_model: int = 768,
    dim_feedforward: int = 3072,
    num_token_types: int = 2,
    rate: float = 0.1,
    activation: ArrayFn = nn.gelu,
    eps: float = 1e-12,
    pooler: bool = True,
) -> nn.Layer:
    """BERT: integers `(N, L)` or `models.BertInputs` to `models.BertOutput`.

    The sum of the embeddings of tokens, positions and token types is normalized; each
    block then computes `norm1(x + attention(x))` and `norm2(x + network(x))`. `pooled`
    is `tanh(pooler(sequence[:, 0]))`. The defaults are those of BERT base, which has
    109,482,240 parameters.

    Params: `word_embeddings`, `position_embeddings`, `token_type_embeddings`, `norm`,
    the blocks in `layers`, with `self_attn`, `norm1`, `linear1`, `linear2` and `norm2`,
    and `pooler`. Initial values are BERT's: normal with a standard deviation of 0.02,
    and biases of 0.

    Args:
        vocab_size: number of tokens.
        max_length: maximum length of a text.
        num_layers: number of blocks.
        num_heads: number of attention heads, a divisor of `d_model`.
        d_model: features of a token.
        dim_feedforward: features between the two linear layers of a block.
        num_token_types: number of token types.
        rate: probability of dropping an embedded feature, an output of a residual
            branch, or an attention weight; in [0, 1).
        activation: function between the two linear layers.
        eps: `eps` of the layer norms.
        pooler: whether the model has a pooler, a layer for features of the whole text.

    Raises:
        TypeError: if an argument is of the wrong type; on apply, if the tokens are not
            integers.
        ValueError: if an argument is out of range; on apply, if there are more than
            `max_length` tokens, shapes do not match, or dropout has no key.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import models, random
        >>> model = models.bert(
        ...     50, 16, num_layers=2, num_heads=2, d_model=8, dim_feedforward=16
        ... )
        >>> params, state = model.init(random.key(0))
        >>> y, state = model.apply(params, state, mx.array([[1, 2, 3]]), train=False)
        >>> y.sequence.shape, y.pooled.shape
        ((1, 3, 8), (1, 8))
    """
    caller = "bert"
    check_bool(caller, pooler=pooler)
    vocab_size, max_length, num_layers, num_heads, d_model = check_positive(
        caller,
        vocab_size=vocab_size,
        max_length=max_length,
        num_layers=num_layers,
        num_heads=num_heads,
        d_model=d_model,
    )
    dim_feedforward, num_token_types = check_positive(
        caller, dim_feedforward=dim_feedforward, num_token_types=num_token_types
    )
    rate, eps = check_rate(caller, rate), check_eps(caller, eps)
    check_activation(caller, activation)

    def block() -> nn.Layer:
        return _block(
            self_attn=nn.multi_head_attention(d_model, num_heads, rate=rate),
            drop1=nn.dropout(rate),
            norm1=nn.layer_norm(d_model, eps=eps),
            linear1=nn.linear(d_model, dim_feedforward),
            act=activation,
            linear2=nn.linear(dim_feedforward, d_model),
            drop2=nn.dropout(rate),
            norm2=nn.layer_norm(d_model, eps=eps),
        )

    def forward(
        inputs: Any,
        word_embeddings: ArrayFn,
        position_embeddings: ArrayFn,
        token_type_embeddings: ArrayFn,
        norm: ArrayFn,
        drop: ArrayFn,
        layers: ArrayFn,
        pooler: ArrayFn | None = None,
    ) -> BertOutput:
        tokens, types, mask = _check_inputs(inputs)
        x = position_embeddings(word_embeddings(tokens)) + token_type_embeddings(types)
        x = layers(nn.EncoderInputs(drop(norm(x)), mask))  # (N, L, d_model)
        return BertOutput(x, None if pooler is None else mx.tanh(pooler(x[:, 0])))

    children = {
        "word_embeddings": nn.embedding(vocab_size, d_model),
        "position_embeddings": nn.learned_positions(max_length, d_model),
        "token_type_embeddings": nn.embedding(num_token_types, d_model),
        "norm": nn.layer_norm(d_model, eps=eps),
        "drop": nn.dropout(rate),
        "layers": stack([block() for _ in range(num_layers)]),
    }
    if pooler:
        children["pooler"] = nn.linear(d_model, d_model)
    return normal_init(nn.compose(forward, examplewise=False, **children))


def _block(**children: nn.Layer | ArrayFn) -> nn.Layer:
    def forward(
        inputs: nn.EncoderInputs,
        self_attn: ArrayFn,
        drop1: ArrayFn,
        norm1: ArrayFn,
        linear1: ArrayFn,
        act: ArrayFn,
        linear2: ArrayFn,
        drop2: ArrayFn,
        norm2: ArrayFn,
    ) -> Any:
        x, mask = inputs
        x = norm1(x + drop1(self_attn(nn.AttentionInputs(x, x, x, mask))))
        return norm2(x + drop2(linear2(act(linear1(x)))))

    return nn.compose(forward, examplewise=True, **children)


def _check_inputs(inputs: Any) -> tuple[Array, Array, Array | None]:
    """Tokens, token types, and the attention mask."""
    inputs = inputs if isinstance(inputs, BertInputs) else BertInputs(inputs)
    tokens, types, mask = inputs
    check_integer("bert", tokens=tokens)
    if tokens.ndim != 2:
        raise shape_error("bert", "tokens", tokens, "(N, L)", axes=2)
    types = mx.zeros_like(tokens) if types is None else types
    for name, array in (("token_types", types), ("mask", mask)):
        if array is not None:
            check_array("bert", **{name: array})
            check_same_shape("bert", tokens=tokens, **{name: array})
    if mask is not None:
        mask = mask.astype(mx.bool_)[:, None, None]  # (N, 1, 1, L)
    return tokens, types, mask
