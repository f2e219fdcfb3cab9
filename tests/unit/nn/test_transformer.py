"""Transformer blocks: what is not a comparison with PyTorch."""

import mlx.core as mx
import pytest

from lucid_fn import nn, random, tree


def encoder(**options):
    return nn.transformer_encoder_layer(8, 2, dim_feedforward=12, **options)


def test_names_are_pytorchs(key):
    torch = pytest.importorskip("torch")
    params, _ = encoder().init(key)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 12)
    shapes = {path: leaf.shape for path, leaf in tree.named_leaves(params).items()}
    assert shapes == {n: tuple(p.shape) for n, p in theirs.named_parameters()}


def test_a_mask_hides_positions(key):
    layer = encoder()
    params, state = layer.init(key)
    x = random.normal(key, (1, 4, 8))
    mask = mx.array([True, True, False, False])
    short, _ = layer.apply(params, state, x[:, :2], train=False)
    y, _ = layer.apply(params, state, nn.EncoderInputs(x, mask), train=False)
    assert mx.allclose(y[:, :2], short, atol=1e-5)


def test_dropout_is_active_in_training_alone(key):
    layer = encoder(rate=0.5)
    params, state = layer.init(key)
    x = random.normal(key, (1, 4, 8))
    runs = [
        layer.apply(params, state, x, train=True, key=k)[0] for k in random.split(key)
    ]
    assert not mx.allclose(runs[0], runs[1])
    with pytest.raises(ValueError, match="train=True needs a key") as error:
        layer.apply(params, state, x, train=True)
    assert "in layer self_attn" in error.value.__notes__


def test_a_decoder_needs_a_memory(key):
    layer = nn.transformer_decoder_layer(8, 2, dim_feedforward=12)
    message = r"x must be nn.DecoderInputs\(x, memory\), got array"
    with pytest.raises(TypeError, match=message):
        layer.apply(*layer.init(key), mx.ones((1, 3, 8)), train=False)


def test_a_stack_of_blocks_is_a_repeat(key):
    model = nn.repeat(encoder(causal=True, rotary_base=100.0), 3)
    params, state = model.init(key)
    y, _ = model.apply(params, state, mx.ones((1, 4, 8)), train=False)
    assert y.shape == (1, 4, 8)
    assert not mx.array_equal(
        params["0"]["linear1"]["weight"], params["1"]["linear1"]["weight"]
    )


def test_stacks_have_params_of_their_own(key):
    block = nn.transformer_encoder_layer(4, 2, dim_feedforward=8)
    params, _ = nn.transformer_encoder(block, 2, norm=nn.layer_norm(4)).init(key)
    assert list(params) == ["layers", "norm"]
    first, second = (params["layers"][i]["linear1"]["weight"] for i in "01")
    assert not mx.array_equal(first, second)


def test_a_stack_without_layers_is_an_error():
    block = nn.transformer_encoder_layer(4, 2, dim_feedforward=8)
    for make in nn.transformer_encoder, nn.transformer_decoder:
        with pytest.raises(
            ValueError, match=f"{make.__name__}: num_layers must be at least 1"
        ):
            make(block, 0)


def test_a_decoder_without_memory_is_an_error(key):
    model = nn.transformer_decoder(nn.transformer_decoder_layer(4, 2), 1)
    with pytest.raises(
        TypeError, match=r"transformer_decoder: x must be nn.DecoderInputs\(x, memory\)"
    ):
        model.apply(*model.init(key), mx.ones((1, 2, 4)), train=False)
