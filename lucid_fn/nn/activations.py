"""Activations with parameters.

Those without are plain functions of `lucid_fn.ops`, which every combinator takes as a
child; for other hyper-parameters than the default, `functools.partial` binds them.
"""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_count, check_number
from lucid_fn.nn.core.checks import check_last_axis, check_params
from lucid_fn.nn.core.layer import Layer, parametric
from lucid_fn.types import Array, Key, Params


def prelu(num_parameters: int = 1, *, init_value: float = 0.25) -> Layer:
    """Parametric ReLU, `max(x, 0) + weight * min(x, 0)`: `(..., C)` to the same.

    Params: `weight` `(num_parameters,)`, all of `init_value`. Leave it out of weight
    decay, which would turn it into a ReLU.

    Args:
        num_parameters: 1, for all channels, or the number of channels.
        init_value: what the weight starts from.

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
