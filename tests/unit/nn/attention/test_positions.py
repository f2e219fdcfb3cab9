"""Positions against plain transcriptions of the papers' equations."""

import math
from functools import partial

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, random


def test_sinusoidal_positions_are_the_papers():
    y = nn.sinusoidal_positions(50, 12)
    for t in (0, 1, 7, 49):
        for i in range(6):
            angle = t / 10000 ** (2 * i / 12)
            assert y[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert y[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


FAR = [0, 5, 5000, 2**24 + 1, 2**31 - 7]


@pytest.mark.parametrize("offset", FAR)
@pytest.mark.parametrize("as_array", [False, True])
def test_sinusoidal_positions_are_exact_far_away(offset, as_array):
    given = mx.array(offset) if as_array else offset
    y = nn.sinusoidal_positions(3, 64, offset=given)
    angles = (offset + np.arange(3))[:, None] / 10000.0 ** (np.arange(0, 64, 2) / 64)
    exact = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(3, 64)
    np.testing.assert_allclose(y, exact, atol=1e-6)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_rotary_positions_round_half_precision_once(key, dtype):
    x = random.normal(key, (2, 6, 8)).astype(dtype)
    y = nn.rotary_positions(x, offset=5000)
    assert y.dtype == dtype
    exact = nn.rotary_positions(x.astype(mx.float32), offset=5000)
    assert mx.array_equal(y, exact.astype(dtype))


def test_the_positional_encoding_adds_sinusoidal_positions(key):
    layer = nn.positional_encoding(6, base=50.0)
    x = random.normal(key, (2, 5, 6))
    y, _ = layer.apply({}, {}, x, train=True)
    assert mx.allclose(y - x, nn.sinusoidal_positions(5, 6, base=50.0), atol=1e-6)
    assert (
        layer.apply({}, {}, x.astype(mx.bfloat16), train=True)[0].dtype == mx.bfloat16
    )


LAYERS = {
    "learned": partial(nn.learned_positions, 7, 6),
    "sinusoidal": partial(nn.positional_encoding, 6),
}


@pytest.mark.parametrize("name", LAYERS)
def test_pieces_are_at_their_positions(name, key):
    layer = LAYERS[name](cached=True)
    params, state = layer.init(key)
    x = random.normal(key, (2, 7, 6))
    expected, _ = LAYERS[name]().apply(params, {}, x, train=False)
    pieces = []
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        y, state = layer.apply(params, state, x[:, start:stop], train=False)
        pieces.append(y)
    assert mx.allclose(mx.concatenate(pieces, axis=1), expected, atol=1e-6)
    assert state["length"].item() == 7


def test_learned_positions_beyond_the_last_are_nan(key):
    layer = nn.learned_positions(4, 3, cached=True)
    params, state = layer.init(key)
    _, state = layer.apply(params, state, mx.zeros((1, 3, 3)), train=False)
    y, state = layer.apply(params, state, mx.zeros((1, 3, 3)), train=False)
    assert mx.array_equal(y[0, 0], params["weight"][3])
    assert mx.all(mx.isnan(y[0, 1:]))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("cached", [False, True])
def test_positions_refuse_integers_and_take_no_positions(name, cached, key):
    layer = LAYERS[name](cached=cached)
    params, state = layer.init(key)
    with pytest.raises(TypeError, match=r"x must be of a float dtype, got .*astype"):
        layer.apply(params, state, mx.ones((2, 3, 6), mx.int32), train=False)
    y, _ = layer.apply(params, state, mx.zeros((2, 0, 6)), train=False)
    assert y.shape == (2, 0, 6)


@pytest.mark.parametrize("offset", [0, 5, 5000, 2**24 + 1])
def test_rotary_positions_are_the_papers(key, offset):
    x = random.normal(key, (2, 3, 6, 8))
    y = np.array(nn.rotary_positions(x, base=50.0, offset=offset))
    left, right = np.split(np.array(x, np.float64), 2, axis=-1)
    point = left + 1j * right
    angles = (offset + np.arange(6))[:, None] / 50.0 ** (2 * np.arange(4) / 8)
    turned = point * np.exp(1j * angles)
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_products_depend_on_the_distance_alone(key):
    query, memory = random.normal(key, (2, 1, 1, 8))

    def product(i, j):
        turned = [
            nn.rotary_positions(x[None], offset=at)
            for x, at in ((query, i), (memory, j))
        ]
        return mx.sum(turned[0] * turned[1]).item()

    assert product(3, 1) == pytest.approx(product(13, 11), abs=1e-5)
    assert product(3, 1) != pytest.approx(product(3, 2), abs=1e-3)


def test_an_offset_may_be_an_array(key):
    x = random.normal(key, (2, 3, 4))
    y = nn.rotary_positions(x, offset=mx.array(3))
    assert mx.allclose(y, nn.rotary_positions(x, offset=3), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.sinusoidal_positions(4, 3), "features must be even, got 3"),
        (lambda: nn.sinusoidal_positions(0, 4), "length must be at least 1, got 0"),
        (
            lambda: nn.sinusoidal_positions(4, 4, base=1.0),
            "base must be above 1 and finite",
        ),
        (lambda: nn.rotary_positions(mx.ones((2, 3, 5))), "D must be even, got 5"),
        (lambda: nn.rotary_positions(mx.ones((3, 4))), r"shape \(N, ..., L, D\), got"),
        (
            lambda: nn.multi_head_attention(6, 2, rotary_base=100.0),
            "which rotary positions rotate in pairs, must be even, got 3",
        ),
        (lambda: nn.positional_encoding(5), "embedding_dim must be even, got 5"),
        (
            lambda: nn.rotary_positions(mx.ones((1, 3, 4)), base=0.5),
            "base must be above 1",
        ),
    ],
)
def test_arguments_out_of_range_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.sinusoidal_positions(2, 4, offset=1.5),
            "sinusoidal_positions: offset must be an integer, got 1.5",
        ),
        (
            lambda: nn.rotary_positions(mx.ones((1, 2, 4)), offset=mx.array(1.5)),
            "rotary_positions: offset must be integers, got",
        ),
        (
            lambda: nn.sinusoidal_positions(2, 4, base="1e4"),
            "base must be a number, got '1e4'",
        ),
        (
            lambda: nn.multi_head_attention(4, 2, rotary_base="1e4"),
            "multi_head_attention: rotary_base must be a number",
        ),
        (
            lambda: nn.rotary_positions(mx.ones((1, 2, 4), mx.int32)),
            "rotary_positions: x must be of a float dtype",
        ),
    ],
)
def test_arguments_of_the_wrong_type_are_errors(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_offsets_out_of_range_or_of_another_shape_are_errors():
    with pytest.raises(ValueError, match="offset must be below 2\\*\\*31"):
        nn.sinusoidal_positions(2, 4, offset=2**31)
    with pytest.raises(ValueError, match=r"offset must have shape \(\), got \(2,\)"):
        nn.sinusoidal_positions(2, 4, offset=mx.array([1, 2]))


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (1, [2**-8]),
        (4, [2**-2, 2**-4, 2**-6, 2**-8]),
        # Those of 4 heads, then the first and the third of 8, as in the paper's code.
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
    ],
)
def test_alibi_slopes_are_the_papers(heads, slopes):
    bias = nn.alibi_bias(heads, 5)
    for head, slope in enumerate(slopes):
        for i in range(5):
            for j in range(5):
                assert bias[head, i, j].item() == pytest.approx(-slope * abs(i - j))


def test_the_last_alibi_query_stands_at_the_last_key():
    assert mx.array_equal(nn.alibi_bias(2, 2, keys=5), nn.alibi_bias(2, 5)[:, 3:])


def test_alibi_is_a_mask_of_attention(key):
    x = random.normal(key, (2, 5, 4, 3))
    y = nn.dot_product_attention(x, x, x, mask=nn.alibi_bias(4, 5), causal=True)
    scores = mx.einsum("nlhd,nshd->nhls", x, x) / 3**0.5 + nn.alibi_bias(4, 5)
    earlier = mx.tril(mx.ones((5, 5)))
    weights = mx.softmax(mx.where(earlier, scores, -math.inf), axis=-1)
    expected = mx.einsum("nhls,nshd->nlhd", weights, x)
    assert mx.allclose(y, expected, atol=1e-5)


def test_alibi_sizes_out_of_range_are_errors():
    with pytest.raises(ValueError, match="alibi_bias: num_heads must be at least 1"):
        nn.alibi_bias(0, 3)
    with pytest.raises(ValueError, match="alibi_bias: keys must be at least length"):
        nn.alibi_bias(2, 3, keys=2)
