"""Attention, transformer blocks and recurrent layers against PyTorch's own."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn

torch = pytest.importorskip("torch")
from tests.parity.layouts import (  # noqa: E402  # needs torch
    assert_close,
    grads_of,
    params_of,
    to_mlx,
)

N, L, S, D, H = 3, 6, 8, 12, 4


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def flat(x):
    return to_mlx(x, moved=False)


def redrawn(module):
    """The module, with biases and norms that are not zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return module


def check(layer, module, inputs, call):
    """Output and gradients; `call` runs the module on its input arrays."""
    params = params_of(module, moved=False)
    their_y = call(module)
    g = drawn(9, *their_y.shape)
    their_y.backward(torch.tensor(g))

    def loss(params):
        y, _ = layer.apply(params, {}, inputs, train=False)
        y = y.sequence if isinstance(y, nn.SequenceAndCarry) else y
        return mx.sum(y * mx.array(g)), y

    (_, y), grads = lf.value_and_grad(loss, has_aux=True)(params)
    assert_close(y, flat(their_y))
    assert_close(grads, grads_of(module, moved=False))


@pytest.mark.parametrize("bias", [True, False])
def test_cross_attention_with_a_mask(bias):
    query, memory = drawn(0, N, L, D), drawn(1, N, S, D)
    kept = np.random.default_rng(2).random((N, S)) < 0.7
    kept[:, 0] = True
    theirs = redrawn(torch.nn.MultiheadAttention(D, H, bias=bias, batch_first=True))
    inputs = nn.AttentionInputs(
        mx.array(query),
        mx.array(memory),
        mx.array(memory),
        mx.array(kept[:, None, None]),
    )
    q, m = torch.tensor(query), torch.tensor(memory)
    check(
        nn.multi_head_attention(D, H, bias=bias),
        theirs,
        inputs,
        lambda module: module(q, m, m, key_padding_mask=torch.tensor(~kept))[0],
    )


@pytest.mark.parametrize(("kdim", "vdim"), [(5, None), (None, 7), (5, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_keys_and_values_of_other_widths(kdim, vdim, bias):
    widths = {"kdim": kdim, "vdim": vdim}
    arrays = drawn(0, N, L, D), drawn(1, N, S, kdim or D), drawn(2, N, S, vdim or D)
    theirs = torch.nn.MultiheadAttention(D, H, bias=bias, batch_first=True, **widths)
    tensors = [torch.tensor(array) for array in arrays]
    check(
        nn.multi_head_attention(D, H, bias=bias, **widths),
        redrawn(theirs),
        nn.AttentionInputs(*map(mx.array, arrays)),
        lambda module: module(*tensors)[0],
    )


def test_causal_self_attention():
    x = drawn(0, N, L, D)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(L)
    t = torch.tensor(x)
    check(
        nn.multi_head_attention(D, H, causal=True),
        redrawn(torch.nn.MultiheadAttention(D, H, batch_first=True)),
        mx.array(x),
        lambda module: module(t, t, t, attn_mask=causal)[0],
    )


def test_a_float_mask_is_added():
    x, mask = drawn(0, N, L, D), drawn(1, L, L)
    t = torch.tensor(x)
    inputs = nn.AttentionInputs(*[mx.array(x)] * 3, mx.array(mask))
    check(
        nn.multi_head_attention(D, H),
        redrawn(torch.nn.MultiheadAttention(D, H, batch_first=True)),
        inputs,
        lambda module: module(t, t, t, attn_mask=torch.tensor(mask))[0],
    )


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("bias", [False, True])
def test_transformer_encoder_layer(norm_first, activation, bias):
    x = drawn(0, N, L, D)
    options = {"dim_feedforward": 20, "norm_first": norm_first, "bias": bias}
    theirs = torch.nn.TransformerEncoderLayer(
        D, H, dropout=0.0, batch_first=True, activation=activation, **options
    )
    layer = nn.transformer_encoder_layer(
        D, H, rate=0.0, activation=getattr(nn, activation), **options
    )
    t = torch.tensor(x)
    check(layer, redrawn(theirs), mx.array(x), lambda module: module(t))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_transformer_decoder_layer(norm_first, causal, bias):
    x, memory = drawn(0, N, L, D), drawn(1, N, S, D)
    options = {"dim_feedforward": 20, "norm_first": norm_first, "bias": bias}
    theirs = torch.nn.TransformerDecoderLayer(
        D, H, dropout=0.0, batch_first=True, **options
    )
    layer = nn.transformer_decoder_layer(D, H, rate=0.0, causal=causal, **options)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(L) if causal else None
    t, m = torch.tensor(x), torch.tensor(memory)
    check(
        layer,
        redrawn(theirs),
        nn.DecoderInputs(mx.array(x), mx.array(memory)),
        lambda module: module(t, m, tgt_mask=mask),
    )


@pytest.mark.parametrize("norm", [False, True])
def test_stacks_of_transformer_layers(norm):
    x, memory = drawn(0, N, L, D), drawn(1, N, S, D)
    t, m = torch.tensor(x), torch.tensor(memory)
    options = {"dim_feedforward": 20}
    torch_options = {"dropout": 0.0, "batch_first": True, **options}
    kept = np.random.default_rng(2).random((N, L)) < 0.7
    kept[:, 0] = True
    theirs = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(D, H, **torch_options),
        3,
        norm=torch.nn.LayerNorm(D) if norm else None,
        enable_nested_tensor=False,
    )
    layer = nn.transformer_encoder(
        nn.transformer_encoder_layer(D, H, rate=0.0, **options),
        3,
        norm=nn.layer_norm(D) if norm else nn.identity,
    )
    inputs = nn.EncoderInputs(mx.array(x), mx.array(kept[:, None, None]))
    padding = torch.tensor(~kept)
    check(
        layer,
        redrawn(theirs),
        inputs,
        lambda module: module(t, src_key_padding_mask=padding),
    )
    decoder = torch.nn.TransformerDecoder(
        torch.nn.TransformerDecoderLayer(D, H, **torch_options),
        2,
        norm=torch.nn.LayerNorm(D) if norm else None,
    )
    layer = nn.transformer_decoder(
        nn.transformer_decoder_layer(D, H, rate=0.0, **options),
        2,
        norm=nn.layer_norm(D) if norm else nn.identity,
    )
    causal = torch.nn.Transformer.generate_square_subsequent_mask(L)
    check(
        layer,
        redrawn(decoder),
        nn.DecoderInputs(mx.array(x), mx.array(memory)),
        lambda module: module(t, m, tgt_mask=causal),
    )


CELLS = {
    "rnn_cell": torch.nn.RNNCell,
    "gru_cell": torch.nn.GRUCell,
    "lstm_cell": torch.nn.LSTMCell,
}


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_cells(name):
    x, h, c = drawn(0, N, D), drawn(1, N, 5), drawn(2, N, 5)
    is_lstm = name == "lstm_cell"
    carry = nn.LSTMCarry(mx.array(h), mx.array(c)) if is_lstm else mx.array(h)
    theirs = (torch.tensor(h), torch.tensor(c)) if is_lstm else torch.tensor(h)

    def call(module):
        after = module(torch.tensor(x), theirs)
        return after[0] if is_lstm else after

    check(
        getattr(nn, name)(D, 5),
        redrawn(CELLS[name](D, 5)),
        nn.SequenceAndCarry(mx.array(x), carry),
        call,
    )


RECURRENT = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
FORMS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "bias": False},
]


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("form", FORMS, ids=["plain", "both-ways", "no-bias"])
def test_recurrent_layers(name, form):
    x = drawn(0, N, L, D)
    theirs = redrawn(RECURRENT[name](D, 5, batch_first=True, **form))
    layer = getattr(nn, name)(D, 5, **form)
    check(layer, theirs, mx.array(x), lambda module: module(torch.tensor(x))[0])


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("form", FORMS[:2], ids=["plain", "both-ways"])
def test_recurrent_layers_go_on_from_a_carry(name, form):
    x = drawn(0, N, L, D)
    theirs = RECURRENT[name](D, 5, batch_first=True, **form)
    layer = getattr(nn, name)(D, 5, **form)
    depth = form.get("num_layers", 1) * (2 if form.get("bidirectional") else 1)
    starts = [drawn(i, N, depth, 5) for i in (1, 2)]
    their_starts = tuple(torch.tensor(a.swapaxes(0, 1).copy()) for a in starts)
    ours = [mx.array(a) for a in starts]
    is_lstm = name == "lstm"
    carry = nn.LSTMCarry(*ours) if is_lstm else ours[0]
    (y, carry), _ = layer.apply(
        params_of(theirs), {}, nn.RecurrentInputs(mx.array(x), carry), train=False
    )
    their_y, ends = theirs(
        torch.tensor(x), their_starts if is_lstm else their_starts[0]
    )
    assert_close(y, flat(their_y))
    for ours, end in zip(
        carry if is_lstm else [carry], ends if is_lstm else [ends], strict=True
    ):
        assert_close(ours, flat(end).swapaxes(0, 1))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_activation_of_a_plain_recurrent_layer(activation):
    x = drawn(0, N, L, D)
    theirs = redrawn(torch.nn.RNN(D, 5, nonlinearity=activation, batch_first=True))
    layer = nn.rnn(D, 5, activation=getattr(nn, activation))
    check(layer, theirs, mx.array(x), lambda module: module(torch.tensor(x))[0])
