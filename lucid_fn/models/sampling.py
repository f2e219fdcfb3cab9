"""Sampling of the next token from the logits of a language model."""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.types import Array, Key


def next_tokens(
    logits: Array,
    key: Key | None,
    temperature: Array | None,
    top_k: int | None,
    top_p: Array | None,
) -> Array:
    """A token for each row of logits `(N, V)`: int32, `(N,)`.

    It is drawn from `softmax(logits / temperature)`, restricted to the `top_k` largest
    logits, and among these to the smallest set with a total probability of at least
    `top_p`. Without a temperature it is the argmax. It is -1 if a logit is NaN.
    """
    logits = logits.astype(mx.float32)
    if temperature is None or key is None:
        tokens = mx.argmax(logits, axis=-1)
    else:
        tokens = _draw(logits / temperature, key, top_k, top_p)
    has_no_nan = mx.all(logits == logits, axis=-1)
    return mx.where(has_no_nan, tokens.astype(mx.int32), -1)


def _draw(logits: Array, key: Key, top_k: int | None, top_p: Array | None) -> Array:
    if (top_k is None or top_k >= logits.shape[-1]) and top_p is None:
        return random.categorical(key, logits)
    if top_k is None or top_k >= logits.shape[-1]:
        order = mx.argsort(-logits, axis=-1)  # (N, V)
    else:
        order = mx.argpartition(-logits, top_k - 1, axis=-1)[:, :top_k]  # (N, top_k)
    logits = mx.take_along_axis(logits, order, axis=-1)
    if top_p is not None:
        if top_k is not None:  # argpartition does not sort them
            ranks = mx.argsort(-logits, axis=-1)
            order = mx.take_along_axis(order, ranks, axis=-1)
            logits = mx.take_along_axis(logits, ranks, axis=-1)
        logits = mx.where(_nucleus(logits, top_p), logits, -mx.inf)
    drawn = random.categorical(key, logits)
    return mx.take_along_axis(order, drawn[:, None], axis=-1)[:, 0]


def _nucleus(logits: Array, top_p: Array) -> Array:
    """Which of sorted logits are in the smallest set with a probability of `top_p`."""
    probabilities = mx.softmax(logits, axis=-1)
    before = mx.cumsum(probabilities, axis=-1, inclusive=False)
    return mx.logical_or(before < top_p, mx.arange(logits.shape[-1]) == 0)
