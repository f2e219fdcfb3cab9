"""Layers that mix the last axis."""

from lucid_fn import ops
from lucid_fn.nn import initializers
from lucid_fn.nn.checks import check_last_axis, check_params, check_positive
from lucid_fn.nn.initializers import Initializer
from lucid_fn.nn.layer import Layer, parametric
from lucid_fn.nn.recording import count_multiply_adds
from lucid_fn.types import Array, Key, Params


def linear(
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
    bias_init: Initializer | None = None,
) -> Layer:
    """`x @ weight.T + bias`: `(..., in_features)` to `(..., out_features)`.

    Params: `weight` `(out_features, in_features)`, `bias` `(out_features,)`; both
    uniform in +-1/sqrt(in_features) unless given otherwise, PyTorch's default.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias: whether a bias is added.
        weight_init: draws the weight from a key and a shape.
        bias_init: draws the bias; by default as above.

    Raises:
        TypeError: if a size is not an integer; on apply, if `x` is not an array.
        ValueError: if a size is not positive; on apply, if
            `x.shape[-1] != in_features`, or if params have other shapes.

    Example:
        >>> from lucid_fn import nn, random
        >>> params, _ = nn.linear(84, 10).init(random.key(0))
        >>> {name: array.shape for name, array in params.items()}
        {'weight': (10, 84), 'bias': (10,)}
    """
    in_features, out_features = check_positive(
        "linear", in_features=in_features, out_features=out_features
    )
    shape = (out_features, in_features)
    bias_shape = (out_features,) if bias else None

    def init(key: Key) -> Params:
        return initializers.weight_and_bias(key, shape, bias, weight_init, bias_init)

    def forward(params: Params, x: Array) -> Array:
        check_last_axis("linear", x, in_features)
        check_params("linear", params, weight=shape, bias=bias_shape)
        y = ops.linear(x, params["weight"], params["bias"] if bias else None)
        count_multiply_adds(y.size * in_features)
        return y

    return parametric(init, forward, examplewise=True)
