"""Dropout of values, of channels, and of residual branches (stochastic depth)."""

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_axes, shape_error
from lucid_fn.distributed.agreement import is_distributed
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.nn.core.checks import check_float, check_key, check_rate
from lucid_fn.nn.core.combinators import identity
from lucid_fn.nn.core.examplewise import over_examples
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.sharding import ShardSpec
from lucid_fn.types import Array, Key, Params

_SELU_MINIMUM = -1.7580993408473766  # the value of dropped elements


def dropout(rate: float, *, group: Group | None = None) -> Layer:
    """Dropout: 0 with probability `rate`, else `x / (1 - rate)`.

    The identity in eval mode.

    Args:
        rate: probability of dropping a value, in [0, 1).
        group: processes that have a part of the last axis each, as after a
            `column_parallel_linear`. Given the same key, all ranks draw for the whole
            axis, so that the result is that of one process.

    Raises:
        TypeError: if `group` is not a group.
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
    check_group("dropout", group)
    if not is_distributed(group):
        return _dropout_layer("dropout", rate, lambda x: x.shape)

    def whole_shape(x: Array) -> tuple[int, ...]:
        if x.ndim == 0:
            raise ValueError("dropout: x must have shape (..., features), got ()")
        return *x.shape[:-1], x.shape[-1] * group.size

    def own_shard(mask: Array) -> Array:
        return ShardSpec(mask.shape, mask.ndim - 1).shard(mask, group.rank, group.size)

    return _dropout_layer("dropout", rate, whole_shape, select=own_shard)


def dropout1d(rate: float) -> Layer:
    """Dropout of whole channels of sequences `(N, L, C)`.

    Neighbours in a sequence or an image are strongly correlated, so dropping single
    values would take little information away.

    Args:
        rate: probability of dropping a channel of an example, in [0, 1).

    Raises:
        ValueError: as `dropout`; on apply, if `x` has the wrong number of axes.

    Source: Tompson et al., 2015, https://arxiv.org/abs/1411.4280, section 3.2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.dropout1d(0.5)
        >>> y, _ = layer.apply(
        ...     {}, {}, mx.ones((1, 2, 4)), train=True, key=random.key(0)
        ... )
        >>> mx.array_equal(y[:, 0], y[:, 1]).item()
        True
    """
    return _channel_dropout(1, rate)


def dropout2d(rate: float) -> Layer:
    """Dropout of whole channels of images `(N, H, W, C)`.

    The arguments are those of `dropout1d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.dropout2d(0.5)
        >>> x = mx.ones((1, 4, 4, 8))
        >>> y, _ = layer.apply({}, {}, x, train=True, key=random.key(0))
        >>> len(set(y[..., 0].reshape(-1).tolist()))  # all of a channel, or nothing
        1
    """
    return _channel_dropout(2, rate)


def dropout3d(rate: float) -> Layer:
    """Dropout of whole channels of volumes `(N, D, H, W, C)`.

    The arguments are those of `dropout1d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.dropout3d(0.5)
        >>> x = mx.ones((1, 2, 4, 4, 8))
        >>> y, _ = layer.apply({}, {}, x, train=True, key=random.key(0))
        >>> len(set(y[..., 0].reshape(-1).tolist()))  # all of a channel, or nothing
        1
    """
    return _channel_dropout(3, rate)


def drop_path(rate: float) -> Layer:
    """Stochastic depth: dropout of whole examples, at the end of a residual branch.

    Args:
        rate: probability of dropping an example, in [0, 1).

    Raises:
        ValueError: as `dropout`; on apply, if `x` has no axis.

    Source: Huang et al., 2016, https://arxiv.org/abs/1603.09382, eq. 2, but the
    remaining examples are scaled in train mode, instead of all in eval mode.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> body = nn.serial(nn.linear(4, 4), nn.relu, nn.drop_path(0.2))
        >>> block = nn.residual(body)
        >>> params, state = block.init(random.key(0))
        >>> block.apply(params, state, mx.ones((2, 4)), train=False)[0].shape
        (2, 4)
    """

    def examples(x: Array) -> tuple[int, ...]:
        if x.ndim == 0:
            raise ValueError("drop_path: x must have shape (N, ...), got ()")
        return x.shape[0], *[1] * (x.ndim - 1)

    return _dropout_layer("drop_path", rate, examples)


def _channel_dropout(dims: int, rate: float) -> Layer:
    caller = f"dropout{dims}d"

    def channels(x: Array) -> tuple[int, ...]:
        check_axes(caller, x, dims)
        return x.shape[0], *[1] * dims, x.shape[-1]

    return _dropout_layer(caller, rate, channels)


def _dropout_layer(
    caller: str,
    rate: float,
    mask_shape: Callable[[Array], tuple[int, ...]],
    apply_mask: Callable[[Array, Array], Array] | None = None,
    *,
    select: Callable[[Array], Array] = identity,
) -> Layer:
    """The layer that drops values by a random mask, true where they are kept.

    Args:
        caller: public function that errors name.
        rate: probability of dropping.
        mask_shape: from `x` to the shape of the mask, which is broadcast.
        apply_mask: from `x` and the mask to the output; by default `drop`.
        select: from the whole mask to the part for `x`.
    """
    rate = check_rate(caller, rate)

    def default(x: Array, mask: Array) -> Array:
        return drop(x, mask, rate)

    def prepare(
        params: Params, x: Any, train: bool, key: Key | None
    ) -> tuple[Callable[..., Array], list[Any]]:
        check_float(caller, x=x)
        shape = mask_shape(x)
        if not train or rate == 0:
            return identity, [x]
        mask = random.bernoulli(check_key(caller, key), 1 - rate, shape)
        return apply_mask or default, [x, select(mask)]

    return over_examples(prepare)


def drop(x: Array, mask: Array, rate: float) -> Array:
    """`x / (1 - rate)` where `mask` is true, else 0."""
    return mx.where(mask, x * (1 / (1 - rate)), mx.zeros_like(x))


# ---- alpha dropout ----


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
    return _dropout_layer("alpha_dropout", rate, lambda x: x.shape, _alpha_mask(rate))


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

    return _dropout_layer("feature_alpha_dropout", rate, channels, _alpha_mask(rate))


def _alpha_mask(rate: float) -> Callable[[Array, Array], Array]:
    def apply_mask(x: Array, mask: Array) -> Array:
        scale = 1 / math.sqrt((1 - rate) * (1 + rate * _SELU_MINIMUM**2))
        dropped = mx.array(_SELU_MINIMUM, x.dtype)
        return mx.where(mask, x, dropped) * scale - scale * rate * _SELU_MINIMUM

    return apply_mask
