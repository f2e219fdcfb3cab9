"""Transformer encoders and decoders: stacks of layers."""

from typing import Any

from lucid_fn.checks import check_count, check_type
from lucid_fn.nn.attention.transformer import DecoderInputs, EncoderInputs, block
from lucid_fn.nn.core.combinators import identity
from lucid_fn.nn.core.layer import Layer
from lucid_fn.types import ArrayFn


def transformer_encoder(
    layer: Layer, num_layers: int, *, norm: Layer | ArrayFn = identity
) -> Layer:
    """Transformer encoder: `num_layers` copies of `layer`, then `norm`.

    Each copy has its own params.

    The input is an array `(N, L, d_model)` or `nn.EncoderInputs(x, mask)`, with a mask
    for all layers; the output is `(N, L, d_model)`.

    Params: `layers.0`, `layers.1`, ... and `norm`, as in PyTorch.

    Args:
        layer: a `transformer_encoder_layer`, or any layer with the same inputs.
        num_layers: number of copies.
        norm: final norm, which layers with `norm_first` need.

    Raises:
        ValueError: if `num_layers` is not positive.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1; as
    `torch.nn.TransformerEncoder`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> block = nn.transformer_encoder_layer(8, 2, norm_first=True)
        >>> model = nn.transformer_encoder(block, 3, norm=nn.layer_norm(8))
        >>> params, state = model.init(random.key(0))
        >>> list(params["layers"]), model.apply(
        ...     params, state, mx.ones((1, 5, 8)), train=False
        ... )[0].shape
        (['0', '1', '2'], (1, 5, 8))
    """
    num_layers = check_count("transformer_encoder", "num_layers", num_layers)

    def forward(inputs: Any, layers: ArrayFn, norm: ArrayFn) -> Any:
        masked = isinstance(inputs, EncoderInputs)
        return norm(layers(inputs if masked else EncoderInputs(inputs)))

    return block(forward, layers=stack([layer] * num_layers), norm=norm)


def transformer_decoder(
    layer: Layer, num_layers: int, *, norm: Layer | ArrayFn = identity
) -> Layer:
    """Transformer decoder: `num_layers` copies of `layer`, then `norm`.

    Each copy has its own params and attends to the same memory. `layer` determines
    whether it is causal: `nn.transformer_decoder_layer(..., causal=False)`.

    The input is `nn.DecoderInputs(x, memory, mask, memory_mask)`; the output is `(N, L,
    d_model)`.

    Params: `layers.0`, `layers.1`, ... and `norm`, as in PyTorch.

    Args:
        layer: a `transformer_decoder_layer`, or any layer with the same inputs.
        num_layers: number of copies.
        norm: final norm, which layers with `norm_first` need.

    Raises:
        TypeError: on apply, if the input is not `nn.DecoderInputs`.
        ValueError: if `num_layers` is not positive.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1; as
    `torch.nn.TransformerDecoder`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> model = nn.transformer_decoder(nn.transformer_decoder_layer(8, 2), 2)
        >>> params, state = model.init(random.key(0))
        >>> inputs = nn.DecoderInputs(mx.ones((1, 3, 8)), mx.ones((1, 5, 8)))
        >>> model.apply(params, state, inputs, train=False)[0].shape
        (1, 3, 8)
    """
    num_layers = check_count("transformer_decoder", "num_layers", num_layers)

    def forward(inputs: Any, layers: ArrayFn, norm: ArrayFn) -> Any:
        words = "nn.DecoderInputs(x, memory)"
        check_type("transformer_decoder", "x", inputs, DecoderInputs, words)
        return norm(layers(inputs))

    return block(forward, layers=stack([layer] * num_layers), norm=norm)


def stack(layers: list[Layer]) -> Layer:
    """A chain of the layers, each of which gets the masks and the memory as well."""

    def forward(inputs: Any, /, **children: ArrayFn) -> Any:
        for child in children.values():
            inputs = inputs._replace(x=child(inputs))
        return inputs.x

    return block(forward, **{str(i): layer for i, layer in enumerate(layers)})
