"""Batch renormalization: batch norm whose train mode is close to its eval mode."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_count, check_number
from lucid_fn.nn.core.checks import check_eps, check_last_axis, check_params
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.nn.norm import running_statistics
from lucid_fn.nn.norm.affine import init_affine
from lucid_fn.numerics import widen
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State


def batch_renorm(
    num_features: int,
    *,
    r_max: float = 3.0,
    d_max: float = 5.0,
    momentum: float | None = 0.01,
    eps: float = 1e-5,
) -> Layer:
    """Batch renormalization of each channel: `(..., num_features)` to the same shape.

    In train mode `y = ((x - mean) / std * r + d) * weight + bias` with the batch's
    `mean` and `std = sqrt(var + eps)`, `r = clip(std / running_std, 1 / r_max, r_max)`
    and `d = clip((mean - running_mean) / running_std, -d_max, d_max)`, through which no
    gradient flows. Where nothing is clipped, that is the output of eval mode. Eval
    mode and the update of the state are those of `batch_norm`.

    Params and state: those of `batch_norm`. They do not depend on the limits, so
    training can begin with `r_max=1` and `d_max=0`, which is `batch_norm`, and go on
    with a layer of wider limits.

    Args:
        num_features: channels of the input.
        r_max: limit of `r`, at least 1.
        d_max: limit of `d`, at least 0.
        momentum: weight of the new value, in [0, 1]; `None` for the mean of all batches
            so far.
        eps: added to the variance; positive.

    Raises:
        TypeError: on apply, if `x` is not of a float dtype.
        ValueError: if an argument is out of range; on apply, if `x` has the wrong
            number of channels, or only one value per channel to train on.

    Source: Ioffe, 2017, https://arxiv.org/abs/1702.03275, algorithm 1, with a running
    variance in place of a running standard deviation.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.batch_renorm(1)
        >>> params, state = layer.init(random.key(0))
        >>> x = mx.array([[1.0], [3.0]])
        >>> layer.apply(params, state, x, train=True)[0].squeeze()  # mean 0, variance 1
        array([0.999995, 2.99998], dtype=float32)
    """
    caller = "batch_renorm"
    num_features = check_count(caller, "num_features", num_features)
    r_max = check_number(caller, "r_max", r_max, at_least=1)
    d_max = check_number(caller, "d_max", d_max, at_least=0)
    momentum = running_statistics.check_momentum(caller, momentum)
    eps = check_eps(caller, eps)
    shape = (num_features,)

    def init(key: Key, /) -> tuple[Params, State]:
        params = init_affine(shape, True, True)
        return started((params, running_statistics.start(num_features)))

    def correction(
        state: State, x: Array, mean: Array, var: Array
    ) -> tuple[Array, Array]:
        """`r` and `d`; 1 and 0 where there are no statistics yet, or no batch."""
        if not x.size or running_statistics.estimating():
            return mx.ones(shape), mx.zeros(shape)
        running_std = mx.sqrt(state["running_var"] + eps)
        r = mx.clip(mx.sqrt(var + eps) / running_std, 1 / r_max, r_max)
        d = mx.clip((mean - state["running_mean"]) / running_std, -d_max, d_max)
        return mx.stop_gradient(r), mx.stop_gradient(d)

    @as_apply
    def apply(
        params: Params, state: State, x: Array, train: bool, key: Key | None
    ) -> tuple[Array, State]:
        check_last_axis(caller, x, num_features, least_ndim=2)
        check_params(caller, params, weight=shape, bias=shape)
        running_statistics.check(caller, state, num_features)
        weight, bias = params["weight"], params["bias"]
        if not train:
            mean, var = state["running_mean"], state["running_var"]
            return ops.batch_norm_eval(x, weight, bias, mean, var, eps=eps), state
        count = running_statistics.values_per_channel(caller, x)
        one, zero = mx.ones(shape), mx.zeros(shape)
        normal, mean, var = ops.batch_norm(widen(x), one, zero, eps=eps)
        r, d = correction(state, x, mean, var)
        dtype = mx.result_type(x, weight)
        weight, bias = widen(weight), widen(bias)
        y = normal * (r * weight) + (d * weight + bias)
        unbiased = var * (count / max(count - 1, 1))
        state = running_statistics.update(
            state, mean, unbiased, momentum, empty=not count
        )
        return y.astype(dtype), state

    return Layer(init, apply)
