"""Batch normalization, whose state is its running statistics."""

from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import ops
from lucid_fn.checks import check_bool, check_count
from lucid_fn.distributed.agreement import is_distributed
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.nn.core.checks import check_eps, check_last_axis
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.nn.norm import running_statistics
from lucid_fn.nn.norm.affine import init_affine, weight_and_bias
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
    """Batch normalization of each channel: `(..., num_features)` to the same shape.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`. In train mode `mean` and `var`
    (biased) are those of the batch, over all axes but the last, and they update the
    state: `running = (1 - momentum) * running + momentum * batch`, with the unbiased
    variance of the batch. In eval mode they are those of the state. No gradient flows
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
        track_running_stats: whether there is a state; without one, eval mode too
            normalizes by the statistics of the batch.
        group: processes that train together, as `distributed.init` returns it. Then
            `mean` and `var` are over the batches of all of them, as if one process had
            the whole batch ("sync batch norm"), at the cost of a small collective in
            each pass.

    Raises:
        TypeError: if `group` is not a group.
        ValueError: if an argument is out of range; on apply, if `x` has the wrong
            number of channels, if the state is missing, or if there is only one value
            per channel to normalize, whose variance is 0.

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
    momentum = running_statistics.check_momentum("batch_norm", momentum)
    eps = check_eps("batch_norm", eps)
    check_group("batch_norm", group)
    shape, has_bias = (num_features,), affine and bias

    def init(key: Key, /) -> tuple[Params, State]:
        params = init_affine(shape, affine, has_bias)
        if not track_running_stats:
            return started(params), {}
        return started((params, running_statistics.start(num_features)))

    def normalize(x: Array, scale: Array, shift: Array) -> tuple[Array, Array, Array]:
        """The output in train mode, and the mean and unbiased variance of the batch."""
        if is_distributed(group):
            y, mean, var, total = sync_batch_norm(x, scale, shift, eps=eps, group=group)
            return y, mean, var * (total / mx.maximum(total - 1, 1))
        count = running_statistics.values_per_channel("batch_norm", x)
        y, mean, var = ops.batch_norm(x, scale, shift, eps=eps)
        # An array, since compiled kernels would have a number as a constant: half a
        # second of compiler time for each size of layer.
        unbiased = np.full(num_features, count / max(count - 1, 1), np.float32)
        return y, mean, var * mx.array(unbiased)

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        check_last_axis("batch_norm", x, num_features, least_ndim=2)
        scale, shift = weight_and_bias(
            "batch_norm", params, shape, affine, has_bias, x.dtype
        )
        if not track_running_stats:
            return normalize(x, scale, shift)[0], state
        running_statistics.check("batch_norm", state, num_features)
        if not train:
            mean, var = state["running_mean"], state["running_var"]
            return ops.batch_norm_eval(x, scale, shift, mean, var, eps=eps), state
        y, mean, var = normalize(x, scale, shift)
        state = running_statistics.update(state, mean, var, momentum, empty=not x.size)
        return y, state

    return Layer(init, accepts_divided(apply))
