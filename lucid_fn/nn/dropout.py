"""Layers that drop values at random while training."""

from typing import Any

import mlx.core as mx

from lucid_fn import random
from lucid_fn.nn.checks import check_rate
from lucid_fn.nn.layer import Layer, to_input
from lucid_fn.types import Key, Params, State


def dropout(rate: float) -> Layer:
    """Zero with probability `rate`, else `x / (1 - rate)`; the identity in eval mode.

    Args:
        rate: probability of dropping a value, in [0, 1).

    Raises:
        ValueError: if `rate` is out of range; on apply, if `train` is true and there
            is no key.

    Source: Srivastava et al., 2014, "Dropout", https://jmlr.org/papers/v15/srivastava14a.html.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.dropout(0.5)
        >>> y, _ = layer.apply({}, {}, mx.ones(1000), train=True, key=random.key(0))
        >>> sorted(set(y.tolist()))
        [0.0, 2.0]
    """
    check_rate("dropout", rate)

    def init(key: Key, /) -> tuple[Params, State]:
        return {}, {}

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        x = to_input(x)
        if not train or rate == 0:
            return x, state
        if key is None:
            raise ValueError(
                "dropout: train=True needs a key, got None; call "
                "apply(params, state, x, train=True, key=key)"
            )
        kept = random.bernoulli(key, 1 - rate, x.shape)
        return mx.where(kept, x * (1 / (1 - rate)), mx.zeros_like(x)), state

    return Layer(init, apply)
