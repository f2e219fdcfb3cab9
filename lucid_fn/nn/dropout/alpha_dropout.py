"""Alpha dropout, for self-normalizing networks with `selu`."""

import math
from collections.abc import Callable

import mlx.core as mx

from lucid_fn.checks import shape_error
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.dropout.dropout import dropout_layer
from lucid_fn.types import Array

_SELU_MINIMUM = -1.7580993408473766  # the value of dropped elements


def alpha_dropout(rate: float) -> Layer:
    """Alpha dropout, for networks of `selu`: it keeps a mean of 0 and a variance of 1.

    A dropped value becomes the minimum of `selu`, `s = -1.7581`; then all are scaled by
    `a = ((1 - rate) * (1 + rate * s^2))^(-1/2)` and shifted by `-a * rate * s`. The
    identity in eval mode.

    Args:
        rate: probability of dropping a value, in [0, 1).

    Raises:
        ValueError: as `dropout`.

    Source: Klambauer et al., 2017, https://arxiv.org/abs/1706.02515, section 3.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> x = random.normal(random.key(0), (10000,))
        >>> layer = nn.alpha_dropout(0.3)
        >>> y, _ = layer.apply({}, {}, x, train=True, key=random.key(1))
        >>> abs(mx.mean(y).item()) < 0.05, abs(mx.var(y).item() - 1) < 0.05
        (True, True)
    """
    return dropout_layer("alpha_dropout", rate, lambda x: x.shape, _alpha_mask(rate))


def feature_alpha_dropout(rate: float) -> Layer:
    """Alpha dropout of whole channels of `(N, ..., C)`: see `alpha_dropout`.

    Args:
        rate: probability of dropping a channel of an example, in [0, 1).

    Raises:
        ValueError: as `dropout`; on apply, if `x` has fewer than two axes.

    Source: `torch.nn.FeatureAlphaDropout`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.feature_alpha_dropout(0.5)
        >>> x = mx.ones((1, 2, 4))
        >>> y, _ = layer.apply({}, {}, x, train=True, key=random.key(0))
        >>> mx.array_equal(y[:, 0], y[:, 1]).item()
        True
    """

    def channels(x: Array) -> tuple[int, ...]:
        if x.ndim < 2:
            raise shape_error("feature_alpha_dropout", "x", x, "(N, ..., C)")
        return x.shape[0], *[1] * (x.ndim - 2), x.shape[-1]

    return dropout_layer("feature_alpha_dropout", rate, channels, _alpha_mask(rate))


def _alpha_mask(rate: float) -> Callable[[Array, Array], Array]:
    def apply_mask(x: Array, mask: Array) -> Array:
        scale = 1 / math.sqrt((1 - rate) * (1 + rate * _SELU_MINIMUM**2))
        dropped = mx.array(_SELU_MINIMUM, x.dtype)
        return mx.where(mask, x, dropped) * scale - scale * rate * _SELU_MINIMUM

    return apply_mask
