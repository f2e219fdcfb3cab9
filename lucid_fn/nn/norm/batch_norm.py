"""Batch normalization, whose running statistics are a state."""

from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import ops
from lucid_fn.checks import check_bool, check_count, check_number
from lucid_fn.distributed.agreement import several
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.nn.core.checks import check_eps, check_last_axis, check_params
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.nn.norm import running_statistics
from lucid_fn.nn.norm.sync_batch_norm import sync_batch_norm
from lucid_fn.ops.seam import accepts_divided
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State


def batch_norm(
    num_features: int,
    *,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    affine: bool = True,
    bias: bool = True,
    track_running_stats: bool = True,
    group: Group | None = None,
) -> Layer:
    """Batch normalization of each channel, the last axis: `(..., num_features)` to the
    same.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`. In train mode `mean` and `var`
    (biased) are those of the batch, over all axes but the last, and the state moves to
    them: `running = (1 - momentum) * running + momentum * batch`, where the batch's
    variance is unbiased. In eval mode they are those of the state. No gradient flows
    into the state.

    Params: `weight` `(num_features,)`, ones, and `bias` `(num_features,)`, zeros.
    State: `running_mean`, zeros, `running_var`, ones, and `num_batches_tracked`, int32.

    Args:
        num_features: channels of the input.
        momentum: weight of the new value, in [0, 1]; `None` for the mean of all batches
            so far.
        eps: added to the variance; positive.
        affine: whether there are a weight and a bias.
        bias: whether there is a bias beside the weight.
        track_running_stats: whether there is a state; without one, the batch's own
            statistics serve in eval mode too.
        group: processes that train together, as `distributed.init` returns it. Then
            `mean` and `var` are those of the batches of all of them, as if one process
            had the whole batch ("sync batch norm"), at the price of a small collective
            in each pass.

    Raises:
        TypeError: if `group` is not a group.
        ValueError: if an argument is out of range; on apply, if `x` has the wrong
            number of channels, if the state is missing, or if there is one value a
            channel to normalize, whose variance is 0.

    Source: Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167, algorithms 1
    and 2; the running statistics are those of `torch.nn.BatchNorm2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.batch_norm(1)
        >>> params, state = layer.init(random.key(0))
        >>> x = mx.array([[0.0], [2.0]])
        >>> y, state = layer.apply(params, state, x, train=True)
        >>> state["running_mean"], state["running_var"]
        (array([0.1], dtype=float32), array([1.1], dtype=float32))
    """
    check_bool(
        "batch_norm", affine=affine, bias=bias, track_running_stats=track_running_stats
    )
    num_features = check_count("batch_norm", "num_features", num_features)
    if momentum is not None:
        momentum = check_number(
            "batch_norm", "momentum", momentum, at_least=0, at_most=1
        )
    eps = check_eps("batch_norm", eps)
    check_group("batch_norm", group)

    def init(key: Key, /) -> tuple[Params, State]:
        shape = (num_features,)
        params = {"weight": mx.ones(shape)} if affine else {}
        params |= {"bias": mx.zeros(shape)} if affine and bias else {}
        if not track_running_stats:
            return started(params), {}
        return started((params, running_statistics.start(num_features)))

    def scale_and_shift(params: Params, x: Any) -> tuple[Array, Array]:
        shape = (num_features,)
        check_params(
            "batch_norm",
            params,
            weight=shape if affine else None,
            bias=shape if affine and bias else None,
        )
        weight = params["weight"] if affine else mx.ones(shape, x.dtype)
        return weight, params["bias"] if affine and bias else mx.zeros(shape, x.dtype)

    def by_batch(params: Params, x: Array) -> tuple[Array, Array, Array]:
        if several(group):
            return by_all(params, x, group)
        count = x.size // num_features
        if count == 1:
            raise ValueError(
                "batch_norm: training needs at least 2 values a channel, got "
                f"1, x of shape {x.shape}; use a larger batch, drop_last=True "
                "for the last one, or nn.frozen"
            )
        y, mean, var = ops.batch_norm(x, *scale_and_shift(params, x), eps=eps)
        # An array, since a number would be a constant in the kernels that are compiled:
        # half a second of compiler time for each size of layer.
        unbiased = np.full(num_features, count / max(count - 1, 1), np.float32)
        return y, mean, var * mx.array(unbiased)

    def by_all(params: Params, x: Array, group: Group) -> tuple[Array, Array, Array]:
        y, mean, var, count = sync_batch_norm(
            x, *scale_and_shift(params, x), eps=eps, group=group
        )
        return y, mean, var * (count / mx.maximum(count - 1, 1))

    def by_state(params: Params, state: State, x: Array) -> Array:
        mean, var = state["running_mean"], state["running_var"]
        return ops.batch_norm_eval(x, *scale_and_shift(params, x), mean, var, eps=eps)

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        check_last_axis("batch_norm", x, num_features, least_ndim=2)
        if not track_running_stats:
            return by_batch(params, x)[0], state
        running_statistics.check("batch_norm", state, num_features)
        if not train:
            return by_state(params, state, x), state
        y, mean, var = by_batch(params, x)
        return y, running_statistics.move(state, mean, var, momentum, empty=not x.size)

    return Layer(init, accepts_divided(apply))
