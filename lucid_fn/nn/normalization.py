"""Layers that normalize."""

from typing import Any

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.nn.checks import check_positive
from lucid_fn.nn.layer import Layer, expects, to_input
from lucid_fn.types import Array, Key, Params, State


def batch_norm(
    num_features: int,
    *,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    affine: bool = True,
    track_running_stats: bool = True,
) -> Layer:
    """Normalizes each channel, the last axis: `(..., num_features)` to the same.

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
        track_running_stats: whether there is a state; without one, the batch's own
            statistics serve in eval mode too.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` has another number
            of channels, if the state is missing, or if there is one value a channel to
            normalize, whose variance is 0.

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
    check_positive("batch_norm", num_features=num_features)
    if momentum is not None and not 0 <= momentum <= 1:
        raise ValueError(
            f"batch_norm: momentum must be in [0, 1] or None, got {momentum}"
        )
    if not eps > 0:
        raise ValueError(f"batch_norm: eps must be positive, got {eps}")

    def init(key: Key, /) -> tuple[Params, State]:
        zeros, ones = mx.zeros((num_features,)), mx.ones((num_features,))
        params = {"weight": ones, "bias": zeros} if affine else {}
        if not track_running_stats:
            return params, {}
        return params, {
            "running_mean": zeros,
            "running_var": ones,
            "num_batches_tracked": mx.array(0, mx.int32),
        }

    def scale_and_shift(params: Params) -> tuple[Array, Array]:
        if not affine:
            return mx.ones((num_features,)), mx.zeros((num_features,))
        return params["weight"], params["bias"]

    def with_batch_statistics(
        params: Params, x: Array
    ) -> tuple[Array, Array, Array, int]:
        count = x.size // num_features
        if count < 2:
            raise ValueError(
                "batch_norm: training needs at least 2 values a channel, got "
                f"{count}, x of shape {x.shape}; use a larger batch, drop_last=True "
                "for the last one, or nn.frozen"
            )
        weight, bias = scale_and_shift(params)
        return (*ops.batch_norm(x, weight, bias, eps=eps), count)

    def moved(state: State, mean: Array, var: Array, count: int) -> State:
        """The running statistics, with those of a batch of `count` values."""
        batches = state["num_batches_tracked"] + 1
        rate = 1 / batches.astype(mx.float32) if momentum is None else momentum
        batch = {"running_mean": mean, "running_var": var * (count / (count - 1))}
        running = {
            name: (1 - rate) * state[name] + rate * mx.stop_gradient(value)
            for name, value in batch.items()
        }
        return {**running, "num_batches_tracked": batches}

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
        if x.ndim < 2 or x.shape[-1] != num_features:
            raise ValueError(
                f"batch_norm: x must have shape (N, ..., {num_features}), got {x.shape}"
            )
        with expects(params, "params"), expects(state, "state"):
            if not track_running_stats:
                return with_batch_statistics(params, x)[0], state
            if train:
                y, mean, var, count = with_batch_statistics(params, x)
                return y, moved(state, mean, var, count)
            weight, bias = scale_and_shift(params)
            mean, var = state["running_mean"], state["running_var"]
            return ops.batch_norm_eval(x, weight, bias, mean, var, eps=eps), state

    return Layer(init, apply)
