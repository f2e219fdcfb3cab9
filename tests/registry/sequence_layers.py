"""The layers of sequences: embedding, positions, attention, recurrence."""

from functools import partial

from lucid_fn import nn
from tests.registry.layer_case import (
    COUNT,
    EMPTY,
    EVAL,
    EXAMPLES,
    REAL,
    SEQUENCE,
    SLOPE,
    integers,
    layer,
    mask,
    normal,
    several,
)

SEQUENCE_LAYERS = [
    layer("embedding_bag", partial(nn.embedding_bag, 9, 4), integers(9, 3, 5), REAL),
    layer(
        "embedding_bag-max",
        partial(nn.embedding_bag, 9, 4, mode="max", padding_idx=0),
        integers(9, 3, 5),
        SLOPE,
        REAL,
    ),
    layer("embedding", partial(nn.embedding, 9, 4), integers(9, 3, 5), REAL),
    layer(
        "embedding-padding",
        partial(nn.embedding, 9, 4, padding_idx=0),
        integers(9, 3, 5),
        SLOPE,
        REAL,
    ),
    layer(
        "tied_embedding",
        lambda: nn.tied_embedding(nn.linear(4, 4), 9, 4),
        integers(9, 3, 5),
        REAL,
    ),
    layer("learned_positions", partial(nn.learned_positions, 9, 4), SEQUENCE),
    layer(
        "learned_positions-cached",
        partial(nn.learned_positions, 9, 4, cached=True),
        SEQUENCE,
        EVAL,
    ),
    layer("positional_encoding", partial(nn.positional_encoding, 4), SEQUENCE),
    layer("multi_head_attention", partial(nn.multi_head_attention, 4, 2), SEQUENCE),
    layer(
        "multi_head_attention-causal-rotary",
        partial(nn.multi_head_attention, 4, 2, causal=True, rotary_base=100.0),
        SEQUENCE,
    ),
    layer(
        "multi_head_attention-masked",
        partial(nn.multi_head_attention, 4, 2, bias=False),
        several(
            nn.AttentionInputs,
            normal(3, 5, 4),
            normal(3, 7, 4),
            normal(3, 7, 4),
            mask(3, 1, 5, 7),
        ),
    ),
    layer(
        "multi_head_attention-dropout",
        partial(nn.multi_head_attention, 4, 2, causal=True, rate=0.2),
        SEQUENCE,
        EXAMPLES,
    ),
    layer(
        "multi_head_attention-widths",
        partial(nn.multi_head_attention, 4, 2, kdim=3, vdim=5),
        several(nn.AttentionInputs, normal(3, 5, 4), normal(3, 7, 3), normal(3, 7, 5)),
    ),
    layer(
        "cached_attention",
        partial(nn.cached_attention, 4, 2, batch_size=3, max_length=8),
        SEQUENCE,
        EXAMPLES,
        EVAL,
        EMPTY,  # the size of the batch is given
        COUNT,
    ),
    layer(
        "cached_attention-rotary",
        partial(
            nn.cached_attention, 4, 1, batch_size=3, max_length=8, rotary_base=100.0
        ),
        SEQUENCE,
        EXAMPLES,
        EVAL,
        EMPTY,
        COUNT,
    ),
    layer(
        "transformer_encoder_layer",
        partial(
            nn.transformer_encoder_layer,
            4,
            2,
            dim_feedforward=8,
            rate=0.0,
            activation=nn.gelu,
            norm_first=True,
        ),
        SEQUENCE,
    ),
    layer(
        "multi_head_attention-weights",
        partial(nn.multi_head_attention, 4, 2, return_weights=True),
        SEQUENCE,
    ),
    layer(
        "transformer_encoder_layer-cached",
        partial(
            nn.transformer_encoder_layer,
            4,
            2,
            dim_feedforward=8,
            rate=0.0,
            activation=nn.gelu,
            causal=True,
            bias=False,
            cache=(3, 8),
        ),
        SEQUENCE,
        EXAMPLES,
        EVAL,
        EMPTY,
        COUNT,
    ),
    layer(
        "transformer_decoder_layer",
        partial(
            nn.transformer_decoder_layer, 4, 2, dim_feedforward=8, activation=nn.silu
        ),
        several(nn.DecoderInputs, normal(3, 5, 4), normal(3, 7, 4)),
        EXAMPLES,
    ),
    layer(
        "transformer_encoder",
        lambda: nn.transformer_encoder(
            nn.transformer_encoder_layer(4, 2, dim_feedforward=8, activation=nn.gelu),
            2,
            norm=nn.layer_norm(4),
        ),
        several(nn.EncoderInputs, normal(3, 7, 4), mask(3, 1, 7, 7)),
        EXAMPLES,
    ),
    layer(
        "transformer_decoder",
        lambda: nn.transformer_decoder(
            nn.transformer_decoder_layer(
                4, 2, dim_feedforward=8, rate=0.0, activation=nn.silu
            ),
            2,
        ),
        several(nn.DecoderInputs, normal(3, 5, 4), normal(3, 7, 4)),
    ),
    layer("rnn", partial(nn.rnn, 4, 3), SEQUENCE),
    layer("gru", partial(nn.gru, 4, 3, num_layers=2, bidirectional=True), SEQUENCE),
    layer("lstm", partial(nn.lstm, 4, 3, num_layers=2), SEQUENCE),
    layer(
        "lstm-carried",
        partial(nn.lstm, 4, 3, bias=False),
        several(
            nn.RecurrentInputs,
            normal(3, 4, 4),
            several(nn.LSTMCarry, normal(3, 1, 3), normal(3, 1, 3)),
        ),
    ),
    layer(
        "lstm-lengths",
        partial(nn.lstm, 4, 3, num_layers=2, bidirectional=True),
        lambda rng: (
            nn.RecurrentInputs(SEQUENCE(rng)[0], lengths=integers(8, 3)(rng)[0]),
        ),
    ),
    layer(
        "lstm-projected",
        partial(nn.lstm, 4, 3, proj_size=2),
        SEQUENCE,
        proj_size="at least 0 and less than hidden_size, 3",
    ),
    layer(
        "lstm-dropout",
        partial(nn.lstm, 4, 3, num_layers=2, bidirectional=True, rate=0.3),
        SEQUENCE,
        EXAMPLES,
    ),
    layer("rnn_cell", partial(nn.rnn_cell, 4, 3), normal(3, 4)),
    layer("gru_cell", partial(nn.gru_cell, 4, 3, bias=False), normal(3, 4)),
    layer(
        "lstm_cell",
        partial(nn.lstm_cell, 4, 3),
        several(
            nn.SequenceAndCarry,
            normal(3, 4),
            several(nn.LSTMCarry, normal(3, 3), normal(3, 3)),
        ),
    ),
]
