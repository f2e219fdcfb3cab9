"""Instance normalization, with running statistics on request."""

from typing import Any

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_bool, check_count
from lucid_fn.nn.core.checks import check_last_axis
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.nn.norm import running_statistics
from lucid_fn.nn.norm.affine import weight_and_bias
from lucid_fn.nn.norm.group_norm import group_norm_layer
from lucid_fn.numerics import widen
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State


def instance_norm(
    num_features: int,
    *,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    affine: bool = False,
    bias: bool = True,
    track_running_stats: bool = False,
) -> Layer:
    """Instance normalization: `(N, ..., num_features)` to the same shape.

    Each channel of each example is normalized by its own mean and variance, as by
    `group_norm` with as many groups as channels; by default without params or state.
    With running statistics, training updates the state by the means over the batch of
    the examples' means and (unbiased) variances, and eval mode normalizes by the state,
    as `batch_norm` does.

    Args:
        num_features: channels of the input.
        momentum: weight of the new value, in [0, 1]; `None` for the mean of all batches
            so far.
        eps: added to the variance; positive.
        affine: whether there are a weight and a bias.
        bias: whether there is a bias beside the weight.
        track_running_stats: whether there is a state.

    Raises:
        ValueError: as `group_norm`, or if `momentum` is out of range; on apply, if the
            state is missing.

    Source: Ulyanov et al., 2016, https://arxiv.org/abs/1607.08022, eq. 4; the running
    statistics are those of `torch.nn.InstanceNorm2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([[[1.0], [3.0]]])
        >>> nn.instance_norm(1).apply({}, {}, x, train=True)[0].squeeze()
        array([-0.999995, 0.999995], dtype=float32)
    """
    caller = "instance_norm"
    check_bool(
        caller, affine=affine, bias=bias, track_running_stats=track_running_stats
    )
    num_features = check_count(caller, "num_features", num_features)
    momentum = running_statistics.check_momentum(caller, momentum)
    stateless = group_norm_layer(
        caller, num_features, num_features, eps, affine, bias, least_ndim=3
    )
    if not track_running_stats:
        return stateless

    def init(key: Key, /) -> tuple[Params, State]:
        params, _ = stateless.init(key)
        return params, started(running_statistics.start(num_features))

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        check_last_axis(caller, x, num_features, least_ndim=3)
        running_statistics.check(caller, state, num_features)
        if not train:
            scale, shift = weight_and_bias(
                caller, params, (num_features,), affine, affine and bias, x.dtype
            )
            mean, var = state["running_mean"], state["running_var"]
            return ops.batch_norm_eval(x, scale, shift, mean, var, eps=eps), state
        y, _ = stateless.apply(params, {}, x, train=True)
        mean, var = _statistics(x)
        state = running_statistics.update(state, mean, var, momentum, empty=not x.size)
        return y, state

    return Layer(init, apply)


def _statistics(x: Array) -> tuple[Array, Array]:
    """The means over the batch of the examples' means and unbiased variances."""
    wide = mx.stop_gradient(widen(x))
    axes = tuple(range(1, x.ndim - 1))
    count = wide[..., 0].size // max(len(x), 1)
    mean = ops.mean(wide, axis=axes, keepdims=True)  # (N, 1, ..., C)
    squares = ops.sum(mx.square(wide - mean), axis=axes)  # (N, C)
    return (
        ops.mean(mean.reshape(len(x), x.shape[-1]), axis=0),
        ops.mean(squares, axis=0) / max(count - 1, 1),
    )
