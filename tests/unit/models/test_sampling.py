import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import random
from lucid_fn.models.sampling import next_tokens

PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.25, 0.2])
DRAWS = 40_000


def frequencies(temperature, top_k=None, top_p=None):
    logits = mx.broadcast_to(mx.log(mx.array(PROBABILITIES)), (DRAWS, 5))
    top_p = None if top_p is None else mx.array(top_p)
    drawn = next_tokens(logits, random.key(0), mx.array(temperature), top_k, top_p)
    return np.bincount(np.array(drawn), minlength=5) / DRAWS


def expected(temperature, kept):
    weights = np.where(np.isin(np.arange(5), kept), PROBABILITIES, 0)
    weights = weights ** (1 / temperature)
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "kept"),
    [
        (1.0, None, None, [0, 1, 2, 3, 4]),
        (0.5, None, None, [0, 1, 2, 3, 4]),
        (2.0, None, None, [0, 1, 2, 3, 4]),
        (1.0, 3, None, [1, 3, 4]),
        (0.7, 2, None, [1, 3]),
        (1.0, 1, None, [1]),
        (1.0, 5, None, [0, 1, 2, 3, 4]),
        (1.0, 99, None, [0, 1, 2, 3, 4]),
        (1.0, None, 0.5, [1, 3]),
        (1.0, None, 0.7, [1, 3, 4]),
        (1.0, None, 1e-6, [1]),
        (1.0, None, 1.0, [0, 1, 2, 3, 4]),
        (1.0, 3, 0.7, [1, 3]),  # of 0.85 in all, 0.65 are 0.76
        (1.0, 4, 0.96, [1, 2, 3, 4]),
    ],
)
def test_frequencies_are_the_probabilities(temperature, top_k, top_p, kept):
    want = expected(temperature, kept)
    found = frequencies(temperature, top_k, top_p)
    assert not found[want == 0].any()
    # Five standard deviations of each frequency.
    assert (np.abs(found - want) <= 5 * np.sqrt(want * (1 - want) / DRAWS)).all()


def test_a_high_temperature_needs_more_tokens_for_a_probability():
    want = PROBABILITIES**0.5 / (PROBABILITIES**0.5).sum()  # 0.30, 0.24, 0.21, ...
    assert want[[1, 3]].sum() < 0.55 < want[[1, 3, 4]].sum()
    assert set(np.flatnonzero(frequencies(2.0, None, 0.55))) == {1, 3, 4}


def test_no_more_than_k_of_equal_logits_are_drawn():
    drawn = next_tokens(mx.zeros((2000, 8)), random.key(0), mx.array(1.0), 3, None)
    assert len(set(drawn.tolist())) == 3
    drawn = next_tokens(
        mx.zeros((2000, 8)), random.key(0), mx.array(1.0), None, mx.array(0.5)
    )
    assert len(set(drawn.tolist())) == 4


def test_without_a_temperature_it_is_the_largest():
    logits = random.normal(random.key(0), (7, 11))
    drawn = next_tokens(logits, None, None, 3, None)
    assert drawn.dtype == mx.int32
    assert mx.array_equal(drawn, mx.argmax(logits, axis=-1).astype(mx.int32))


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_drawn_from_in_float32(dtype):
    logits = random.normal(random.key(0), (500, 40)).astype(dtype)
    options = random.key(1), mx.array(0.8), None, mx.array(0.9)
    wide = next_tokens(logits.astype(mx.float32), *options)
    assert mx.array_equal(next_tokens(logits, *options), wide)


def test_nan_among_the_logits_gives_no_token():
    logits = mx.zeros((3, 4))
    logits = mx.where(mx.arange(12).reshape(3, 4) == 5, mx.nan, logits)
    for options in ((None, None, None, None), (random.key(0), mx.array(1.0), 2, None)):
        drawn = next_tokens(logits, *options)
        assert [token >= 0 for token in drawn.tolist()] == [True, False, True]
