"""Linear and bilinear layers."""

import math
from typing import Any

from lucid_fn import ops
from lucid_fn.checks import check_bool
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import (
    QuantizableShape,
    check_last_axis,
    check_params,
    check_positive,
)
from lucid_fn.nn.core.layer import Layer, quantizable
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.initializers import Initializer
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.types import Array, Key, Params


def linear(
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
    bias_init: Initializer | None = None,
) -> Layer:
    """Linear layer, `x @ weight.T + bias`: `(..., in_features)` to
    `(..., out_features)`.

    Params: `weight` `(out_features, in_features)`, `bias` `(out_features,)`; both
    uniform in +-1/sqrt(in_features) by default, as in PyTorch.

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
    check_bool("linear", bias=bias)
    in_features, out_features = check_positive(
        "linear", in_features=in_features, out_features=out_features
    )
    shape = (out_features, in_features)
    bias_shape = (out_features,) if bias else None

    def init(key: Key) -> Params:
        return initializers.weight_and_bias(key, shape, bias, weight_init, bias_init)

    def forward(params: Params, x: Array) -> Array:
        check_last_axis("linear", x, in_features)
        check_params("linear", params, weight=QuantizableShape(shape), bias=bias_shape)
        y = ops.linear(x, params["weight"], params["bias"] if bias else None)
        count_multiply_adds(y.size * in_features)
        return y

    return quantizable(parametric(init, forward, examplewise=True), "weight")


def bilinear(
    in1_features: int,
    in2_features: int,
    out_features: int,
    *,
    bias: bool = True,
    weight_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer:
    """Bilinear layer, `y[k] = b @ weight[k] @ a + bias[k]`, of a pair `(a, b)`.

    The input is a tuple of arrays `(..., in1_features)` and `(..., in2_features)`, such
    as `parallel` returns; the output is `(..., out_features)`.

    Params: `weight` `(out_features, in2_features, in1_features)`, `bias`
    `(out_features,)`; both uniform in +-1/sqrt(in1_features) by default, as in PyTorch.
    PyTorch's weight has the axes of the inputs in the other order: `interop.torch`
    swaps them, as those of a `conv1d`.

    Args:
        in1_features: size of the last axis of the first input.
        in2_features: size of the last axis of the second input.
        out_features: size of the last axis of the output.
        bias: whether a bias is added.
        weight_init: draws the weight from a key and a shape; by default as above.
        bias_init: draws the bias; by default as above.

    Raises:
        TypeError: on apply, if the input is not a pair.
        ValueError: if a size is not positive; on apply, if an input has the wrong
            shape.

    Source: `torch.nn.Bilinear`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.bilinear(3, 4, 2)
        >>> params, state = layer.init(random.key(0))
        >>> pair = mx.ones((5, 3)), mx.ones((5, 4))
        >>> layer.apply(params, state, pair, train=False)[0].shape
        (5, 2)
    """
    check_bool("bilinear", bias=bias)
    sizes = {"in1_features": in1_features, "in2_features": in2_features}
    in1_features, in2_features, out_features = check_positive(
        "bilinear", **sizes, out_features=out_features
    )
    shape = (out_features, in2_features, in1_features)
    bias_shape = (out_features,) if bias else None

    bound = 1 / math.sqrt(in1_features)
    default = initializers.uniform(-bound, bound)

    def init(key: Key) -> Params:
        return initializers.weight_and_bias(
            key, shape, bias, weight_init or default, bias_init or default
        )

    def forward(params: Params, pair: Any) -> Array:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"bilinear: x must be a pair of arrays, got {type(pair).__name__}"
            )
        a, b = pair
        check_last_axis("bilinear", a, in1_features)
        check_last_axis("bilinear", b, in2_features)
        if a.shape[:-1] != b.shape[:-1]:
            raise ValueError(
                "bilinear: both inputs must have the same leading axes, got "
                f"{a.shape} and {b.shape}"
            )
        check_params("bilinear", params, weight=shape, bias=bias_shape)
        # All of `weight[k] @ a` in one product: (..., out, in2)
        rows = params["weight"].reshape(-1, in1_features)
        left = ops.linear(a, rows).reshape(*a.shape[:-1], out_features, in2_features)
        y: Array = (left @ b[..., None])[..., 0]
        count_multiply_adds(y.size * in2_features * (in1_features + 1))
        return add_bias(y, params["bias"]) if bias else y

    return parametric(init, forward)
