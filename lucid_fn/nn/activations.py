"""Activations with params or random draws.

All others are plain functions of `lucid_fn.ops`, which every combinator accepts as a
child; `functools.partial` sets their hyperparameters.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn import ops, random
from lucid_fn.checks import check_count, check_number
from lucid_fn.nn.core.checks import (
    check_float,
    check_key,
    check_last_axis,
    check_params,
)
from lucid_fn.nn.core.examplewise import over_examples
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import parametric
from lucid_fn.types import Array, Key, Params


def prelu(num_parameters: int = 1, *, init_value: float = 0.25) -> Layer:
    """Parametric ReLU, `max(x, 0) + weight * min(x, 0)`: `(..., C)` to the same.

    Params: `weight` `(num_parameters,)`, initially `init_value`. Exclude it from weight
    decay, which would turn the layer into a ReLU.

    Args:
        num_parameters: 1, for all channels, or the number of channels.
        init_value: initial value of the weight.

    Raises:
        ValueError: if `num_parameters` is not positive; on apply, if it is neither 1
            nor the number of channels.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.prelu()
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.array([-1.0, 2.0]), train=False)[0]
        array([-0.25, 2], dtype=float32)
    """
    num_parameters = check_count("prelu", "num_parameters", num_parameters)
    init_value = check_number("prelu", "init_value", init_value)

    def init(key: Key) -> Params:
        return {"weight": mx.full((num_parameters,), init_value)}

    def forward(params: Params, x: Array) -> Array:
        check_params("prelu", params, weight=(num_parameters,))
        if num_parameters > 1:
            check_last_axis("prelu", x, num_parameters)
        return ops.prelu(x, params["weight"])

    return parametric(init, forward, examplewise=True)


def rrelu(lower: float = 1 / 8, upper: float = 1 / 3) -> Layer:
    """Randomized leaky ReLU: `x` if it is positive, else `slope * x`.

    In train mode the slope of each element is drawn uniformly from `[lower, upper)`; in
    eval mode it is their mean, `(lower + upper) / 2`.

    Args:
        lower: smallest slope.
        upper: largest slope, at least `lower`.

    Raises:
        TypeError: on apply, if `x` is not of a float dtype.
        ValueError: if `upper` is below `lower`; on apply, if `train` is true and there
            is no key.

    Source: Xu et al., 2015, https://arxiv.org/abs/1505.00853, section 2.4;
    `torch.nn.RReLU`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer, x = nn.rrelu(0.25, 0.75), mx.array([-1.0, 2.0])
        >>> layer.apply({}, {}, x, train=False)[0]
        array([-0.5, 2], dtype=float32)
        >>> y, _ = layer.apply({}, {}, x, train=True, key=random.key(0))
        >>> -0.75 <= y[0].item() <= -0.25, y[1].item()
        (True, 2.0)
    """
    lower = check_number("rrelu", "lower", lower)
    upper = check_number("rrelu", "upper", upper, at_least=lower)

    def prepare(
        params: Params, x: Any, train: bool, key: Key | None
    ) -> tuple[Callable[..., Array], list[Any]]:
        check_float("rrelu", x=x)
        if not train:
            return lambda x: ops.leaky_relu(x, (lower + upper) / 2), [x]
        key = check_key("rrelu", key)
        return _leaky, [x, random.uniform(key, x.shape, low=lower, high=upper)]

    return over_examples(prepare)


def _leaky(x: Array, slope: Array) -> Array:
    return mx.where(x > 0, x, (x * slope).astype(x.dtype))  # rounded once
